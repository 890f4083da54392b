"""`peek`, `export` and `query`, with the relay running and stopped."""

import csv
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.intake import event
from tests.support.process import RelayProcess

pytestmark = pytest.mark.process


@pytest.fixture(params=["running", "stopped"])
def relay(request: pytest.FixtureRequest, short_dir: Path) -> Iterator[RelayProcess]:
    """A relay that has twelve events, and cannot deliver them."""
    with RelayProcess(short_dir) as relay:
        relay.command("send", stdin=b"".join(event(number) for number in range(12)))
        if request.param == "stopped":
            assert relay.stop() == 0
        yield relay


def test_peek_shows_the_oldest_as_they_are(relay: RelayProcess) -> None:
    done = relay.command("peek", "-n", "3")

    assert done.returncode == 0, done.stderr
    assert done.stdout.encode() == b"".join(event(number) for number in range(3))


def test_peek_shows_ten_unless_told_otherwise(relay: RelayProcess) -> None:
    assert len(relay.command("peek").stdout.splitlines()) == 10
    assert relay.command("peek", "--project", "shop").stdout == ""


def test_export_writes_all_and_takes_nothing_out(
    relay: RelayProcess, short_dir: Path
) -> None:
    packed = short_dir / "all.jsonl.gz"

    done = relay.command("export", "-o", packed)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "exported 12\n")
    everything = b"".join(event(number) for number in range(12))
    assert gzip.decompress(packed.read_bytes()) == everything
    assert relay.command("export").stdout.encode() == everything
    again = relay.command("export", "-o", packed)
    assert again.returncode == 1
    assert "is there already" in again.stderr


def test_export_may_be_of_one_name(relay: RelayProcess) -> None:
    assert relay.command("export", "--event", "nothing").stdout == ""
    named = relay.command("export", "--event", "order placed")
    assert len(named.stdout.splitlines()) == 12


def test_export_and_peek_may_be_of_a_time(relay: RelayProcess) -> None:
    def lines(*arguments: str) -> int:
        return len(relay.command(*arguments).stdout.splitlines())

    assert lines("export", "--newer-than", "1h") == 12
    assert lines("export", "--older-than", "1h") == 0
    assert lines("peek", "--older-than", "1h") == 0
    assert lines("peek", "--event", "order placed", "--newer-than", "1h") == 10
    assert relay.command("export", "--newer-than", "soon").returncode == 2


def test_query_answers_in_json_lines_or_csv(relay: RelayProcess) -> None:
    question = "select event, count(*) as n from events group by 1"

    done = relay.command("query", question)
    as_csv = relay.command("query", "--csv", question)

    assert json.loads(done.stdout) == {"event": "order placed", "n": 12}
    assert list(csv.reader(io.StringIO(as_csv.stdout))) == [
        ["event", "n"],
        ["order placed", "12"],
    ]


def test_a_statement_that_writes_is_refused(relay: RelayProcess) -> None:
    done = relay.command("query", "delete from events")

    assert done.returncode == 2
    assert "only questions (select …)" in done.stderr
    assert len(relay.command("export").stdout.splitlines()) == 12


@pytest.mark.parametrize(
    "arguments",
    [
        ["peek", "--project", "\udcff"],
        ["export", "--project", "\udcff"],
        ["export", "--event", "\udcff"],
        ["query", "select '\udcff'"],
    ],
)
def test_bytes_that_are_no_text_are_a_wrong_command_line(
    short_dir: Path, arguments: list[str]
) -> None:
    done = RelayProcess(short_dir).command(*arguments)

    assert done.returncode == 2
    assert "is not UTF-8" in done.stderr


def test_before_there_is_a_store_there_is_nothing_to_see(short_dir: Path) -> None:
    relay = RelayProcess(short_dir)

    assert relay.command("peek").stdout == ""
    assert relay.command("query", "select count(*) as n from events").stdout == (
        '{"n": 0}\n'
    )
