"""The client and a relay that is away: files in the spool directory, or the truth."""

import json
import logging
import os
import resource
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from leanbase_relay.client import Client, Outcome
from tests.support.spool import SpoolHouse
from tests.support.tracing import can_trace

PATIENCE_SECONDS = 20.0


@pytest.fixture
def spool(short_dir: Path) -> Path:
    path = short_dir / "spool"
    path.mkdir()
    return path


def away(short_dir: Path, spool: Path | None) -> Client:
    return Client(socket_path=short_dir / "relay.sock", spool_path=spool)


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_event_becomes_a_file_that_the_relay_may_read(
    short_dir: Path, spool: Path
) -> None:
    before = os.umask(0o077)
    try:
        outcome = away(short_dir, spool).capture("u", "e")
    finally:
        os.umask(before)

    assert outcome.became == "spooled"
    assert outcome.is_kept
    assert outcome.reason == f"{short_dir}/relay.sock: No such file or directory"
    (file,) = spool.iterdir()
    assert file.suffix == ".jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    content = file.read_bytes()
    assert content.count(b"\n") == 1
    assert json.loads(content)["uuid"] == outcome.uuid


def test_the_relay_takes_it_as_it_is(short_dir: Path) -> None:
    with SpoolHouse(short_dir) as house:
        client = away(short_dir, house.path)
        outcomes = [
            client.capture("u", "e", {"n": 1}),
            client.capture("u", "e", {"n": 2}, timestamp=1772366400),
        ]
        house.settle()

        events = {event["properties"]["n"]: event for event in house.events()}
        assert house.names() == []
        assert house.letters() == []
    assert [events[n]["uuid"] for n in (1, 2)] == [each.uuid for each in outcomes]
    assert events[2]["timestamp"] == "2026-03-01T12:00:00Z"


def test_a_socket_that_a_crash_left_behind_is_no_relay(
    short_dir: Path, spool: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(short_dir / "relay.sock"))

    outcome = away(short_dir, spool).capture("u", "e")

    assert outcome.became == "spooled"
    assert outcome.reason.endswith("Connection refused")


def test_a_relay_with_too_many_before_us_is_not_waited_for(
    short_dir: Path, spool: Path
) -> None:
    """The connection waits in the kernel, and no longer than was said."""
    path = short_dir / "relay.sock"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as other:
        busy.bind(str(path))
        busy.listen(0)
        other.connect(str(path))  # it has one place
        client = Client(
            socket_path=path, spool_path=spool, connect_timeout_seconds=0.02
        )

        first, second = client.capture("u", "e"), client.capture("u", "e")

    assert (first.became, second.became) == ("spooled", "spooled")
    assert first.reason.endswith("no answer in time")
    assert second.reason.endswith("a moment ago")


def test_it_waits_for_its_turn_where_others_are_before_it(short_dir: Path) -> None:
    path = short_dir / "relay.sock"
    told: list[Outcome] = []
    client = Client(
        socket_path=path,
        spool_path=None,
        connect_timeout_seconds=PATIENCE_SECONDS,
        timeout_seconds=PATIENCE_SECONDS,
    )
    thread = threading.Thread(target=lambda: told.append(client.capture("u", "e")))
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as other:
        busy.bind(str(path))
        busy.listen(0)
        other.connect(str(path))  # it has one place
        thread.start()
        thread.join(0.1)
        assert thread.is_alive(), "it was turned away"
        busy.accept()[0].close()
        connection, _ = busy.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b'{"stored":1,"refused":0}\n')
        thread.join()

    assert [outcome.became for outcome in told] == ["stored"]


@pytest.mark.parametrize(
    ("path", "why"), [("/" + "a" * 200, "too long"), ("/\ud800", "surrogates")]
)
def test_a_path_that_no_socket_can_have_is_as_good_as_no_relay(
    spool: Path, path: str, why: str
) -> None:
    spooled = Client(socket_path=path, spool_path=spool).capture("u", "e")
    lost = Client(socket_path=path, spool_path="/a\0b").capture("u", "e")

    assert (spooled.became, lost.became) == ("spooled", "lost")
    assert why in spooled.reason
    assert "null" in lost.reason


def test_a_file_that_cannot_be_written_leaves_nothing_behind(
    short_dir: Path, spool: Path
) -> None:
    with file_size_limit(10):
        outcome = away(short_dir, spool).capture("u", "e")

    assert outcome.became == "lost"
    assert outcome.reason.endswith(f"; {spool}: File too large")
    assert list(spool.iterdir()) == []


class TestALoss:
    """Neither way is open."""

    def lost(self, outcome: Outcome, reason: str) -> None:
        assert outcome.became == "lost"
        assert not outcome.is_kept
        assert outcome.reason.endswith(reason)

    def test_is_told_with_both_reasons(self, short_dir: Path) -> None:
        client = away(short_dir, short_dir / "nowhere")

        self.lost(
            client.capture("u", "e"),
            f"/relay.sock: No such file or directory; {short_dir}/nowhere: No such "
            "file or directory",
        )

    def test_is_told_where_there_is_no_spool(self, short_dir: Path) -> None:
        self.lost(away(short_dir, None).capture("u", "e"), "No such file or directory")

    def test_is_logged_when_it_begins_and_when_it_ends(
        self, short_dir: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        spool = short_dir / "spool"
        client = away(short_dir, spool)
        with caplog.at_level(logging.ERROR):
            outcomes = [client.capture("secret-1", "e") for _ in range(3)]
            spool.mkdir()
            client.capture("u", "e")
            client.capture("u", "e")

        assert [outcome.became for outcome in outcomes] == ["lost"] * 3
        begun, ended = [record.getMessage() for record in caplog.records]
        assert begun == (
            f"event_lost uuid={outcomes[0].uuid} reason={outcomes[0].reason}"
        )
        assert ended == "events_lost count=3"
        assert "secret" not in caplog.text

    def test_is_seen_by_an_app_that_has_set_up_no_logging(
        self, short_dir: Path
    ) -> None:
        script = (
            "from leanbase_relay.client import Client; import sys\n"
            "Client(socket_path=sys.argv[1], spool_path=None).capture('u', 'e')"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, short_dir / "none"],
            capture_output=True,
            check=True,
        )

        assert b"event_lost uuid=" in done.stderr


@pytest.mark.process
@pytest.mark.skipif(
    not can_trace(),
    reason="NOT TESTED: that a spool file is synced before it has its name; needs "
    "strace (apt install strace) and the right to trace",
)
def test_a_file_is_synced_before_it_has_its_name_and_the_name_after(
    short_dir: Path, spool: Path
) -> None:
    script = (
        "from leanbase_relay.client import Client; import sys\n"
        "Client(socket_path=sys.argv[1], spool_path=sys.argv[2]).capture('u', 'e')"
    )
    calls = "--trace=fsync,rename,renameat,renameat2"
    trace = short_dir / "trace"
    subprocess.run(
        [
            *("strace", "-f", "-y", "-o", trace, calls),
            *(sys.executable, "-c", script, short_dir / "none", spool),
        ],
        check=True,
    )

    lines = [line for line in trace.read_text().splitlines() if str(spool) in line]
    synced, renamed, named = lines
    assert "fsync(" in synced
    assert ".tmp>" in synced
    assert "rename" in renamed
    assert "fsync(" in named
    assert f"<{spool}>" in named
