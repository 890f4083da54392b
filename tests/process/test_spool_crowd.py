"""A spool directory with very many files, and with names that nobody should choose."""

import json
import os
from pathlib import Path

import pytest

from benchmarks.process import look
from leanbase_relay.sink import Sink
from tests.support.intake import event
from tests.support.load import Metronome, Probe
from tests.support.process import RelayProcess, Settings
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

MOST_RSS_MB = 150
STOP_SECONDS = 10.0
LONGEST_SECONDS = 0.25


def spooling(relay_directory: Path) -> Settings:
    spool = {"path": str(relay_directory / "spool"), "scan_interval": "200ms"}
    return {"spool": spool, "log": {"level": "warning"}}


def fill(spool: Path, files: int) -> None:
    """So many files of one event each."""
    spool.mkdir()
    for number in range(files):
        (spool / f"{number:06}.jsonl").write_bytes(event(number))


many = pytest.mark.parametrize(
    "files", [3_000, pytest.param(100_000, marks=pytest.mark.slow)]
)


@many
def test_very_many_files_are_all_taken_in_bounded_memory(
    short_dir: Path, files: int
) -> None:
    """So is one that comes among them; and by the socket nobody waits for them."""
    spool = short_dir / "spool"
    fill(spool, files)
    with RelayProcess(short_dir, settings=spooling(short_dir)) as relay:
        with Metronome(short_dir) as metronome, Probe(relay.socket) as probe:
            (spool / "late.tmp").write_bytes(event(files))
            (spool / "late.tmp").rename(spool / "late.jsonl")
            eventually(lambda: not os.listdir(spool), within=400)  # noqa: PTH208
        longest = max(LONGEST_SECONDS, 5 * metronome.worst_seconds)
        assert probe.worst_seconds < longest

        taken = relay.status()["totals"]["accepted"] - len(probe.seconds)
        assert taken == files + 1
        assert look(relay.pid).rss_max_mb < MOST_RSS_MB
        assert relay.stop() == 0


@many
def test_a_stop_in_the_middle_of_very_many_files_comes_in_time_and_loses_none(
    short_dir: Path, files: int
) -> None:
    fill(short_dir / "spool", files)
    with (
        Sink(keep="counts") as sink,
        RelayProcess(short_dir, sink.url, spooling(short_dir)) as relay,
    ):
        eventually(lambda: relay.status()["totals"]["accepted"] > 0)
        assert relay.stop(within=STOP_SECONDS) == 0
        left = len(os.listdir(short_dir / "spool"))  # noqa: PTH208
        assert left > 0

        relay.start()
        eventually(lambda: sink.counts.rows == files, within=400)
        assert relay.stop() == 0
    assert sink.counts.duplicates == 0


NAMES = [
    b"a\nb.jsonl",
    b"\x1b[31mred\x1b]0;title\x07.jsonl",
    b"\xff\xfe.jsonl",
    "\u202egnp.jsonl".encode(),
    b'it\'s "quoted".jsonl',
    b"-rf ~.jsonl",
    b"a\r\tb.jsonl",
]
IGNORED = [b"\x1b[2Jnot\nmine", b"\xff.txt"]


def test_names_of_files_neither_break_a_line_nor_command_a_terminal(
    short_dir: Path,
) -> None:
    """In the log, in dead letters and in the status, on the screen and as JSON."""
    spool = os.fsencode(short_dir / "spool")
    os.mkdir(spool)  # noqa: PTH102 - bytes
    for name in [*NAMES, *IGNORED]:
        with open(os.path.join(spool, name), "wb") as file:  # noqa: PTH118, PTH123
            file.write(event(1) + b"bad\n")
    settings = {**spooling(short_dir), "log": {"level": "info"}}
    with RelayProcess(short_dir, settings=settings) as relay:
        eventually(lambda: relay.status()["totals"]["accepted"] == len(NAMES))
        eventually(lambda: relay.status()["spool"]["ignored_files"] == len(IGNORED))
        eventually(lambda: "never take" in str(relay.status()["problems"]))
        shown = relay.command("status")
        _, look = relay.status_command()
        letters = relay.command("dead-letters", "list")
        as_json = relay.command("dead-letters", "list", "--json")
        assert relay.stop() == 0

    for text in (shown.stdout, letters.stdout, relay.log, *look["problems"]):
        lines = text.split("\n")
        assert [line for line in lines if not line.isprintable()] == []
    assert " file_taken " in relay.log
    origins = {letter["origin"] for letter in json.loads(as_json.stdout)}
    assert len(origins) == len(NAMES)
    assert all(origin.isprintable() for origin in origins)
