"""`send` loses nothing, says what was refused and where it stood, and never blocks."""

import gzip
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from leanbase_relay.sink import Sink
from tests.support.process import COMMAND, RelayProcess, relay_command
from tests.support.waiting import eventually

pytestmark = pytest.mark.process


def line(number: int, **members: object) -> bytes:
    event = {"event": "seen", "distinct_id": f"u{number}", **members}
    return json.dumps(event).encode() + b"\n"


def test_lines_from_stdin_are_stored(short_dir: Path) -> None:
    with RelayProcess(short_dir) as relay:
        done = relay.command("send", stdin=b"".join(line(n) for n in range(5000)))

        assert relay.status()["totals"]["accepted"] == 5000

    assert (done.returncode, done.stdout) == (0, "stored 5,000, refused 0\n")
    assert done.stderr == ""


def test_refused_lines_are_named_by_their_file(short_dir: Path) -> None:
    """Blank lines count, files without a last newline and packed ones too."""
    first, second = short_dir / "a.jsonl", short_dir / "b.jsonl.gz"
    first.write_bytes(line(1) + b"\n" + b"no json\n" + line(2).rstrip())
    second.write_bytes(gzip.compress(line(3) + b'{"event":"x"}\n'))
    with RelayProcess(short_dir) as relay:
        done = relay.command("send", first, second, "-", stdin=b"\n{}\n")

    assert done.returncode == 4
    assert done.stdout == "stored 3, refused 3\n"
    places = [told.split(": ")[0] for told in done.stderr.splitlines()]
    assert places == [f"{first}:3", f"{second}:2", "stdin:2"]


def test_of_many_refused_lines_twenty_are_shown(short_dir: Path) -> None:
    with RelayProcess(short_dir) as relay:
        done = relay.command("send", stdin=b"{}\n" * 3000)

    shown = done.stderr.splitlines()
    assert done.returncode == 4
    assert len(shown) == 21
    assert shown[-1] == "… and 2,980 more"


def test_an_import_travels_as_one_and_apart_from_the_others(short_dir: Path) -> None:
    lines = b"".join(line(number) for number in range(3))
    with Sink() as sink, RelayProcess(short_dir, sink.url) as relay:
        done = relay.command("send", "--historical-migration", stdin=lines)
        assert done.stdout == "stored 3, refused 0\n"
        relay.command("send", stdin=line(3))

        assert sink.wait_for(4, within_seconds=10)
    rows = [row for request in sink.requests for row in request.rows]
    assert [row.historical for row in rows] == [True, True, True, False]
    assert all("historical_migration" not in one for one in sink.events)


def test_a_project_is_put_into_each_event(short_dir: Path) -> None:
    """However the line begins; what is no object is refused as it is."""
    projects = {"shop": {"api_key": "phc_shop"}}
    lines = line(1) + b' { "event":"x","distinct_id":"b"}\n' + b"[]\n" + line(2)
    with (
        Sink() as sink,
        RelayProcess(short_dir, sink.url, {"projects": projects}) as relay,
    ):
        done = relay.command("send", "--project", "shop", stdin=lines)
        assert sink.wait_for(3, within_seconds=5)

        totals = relay.status()["projects"]["shop"]["totals"]

    assert done.stdout == "stored 3, refused 1\n"
    assert totals["accepted"] == 3
    assert {row.api_key for row in sink.rows.values()} == {"phc_shop"}
    assert all("project" not in event for event in sink.events)


def test_events_are_sent_as_they_come_through_a_pipe(short_dir: Path) -> None:
    with (
        RelayProcess(short_dir) as relay,
        subprocess.Popen(
            [COMMAND, "send", "--socket", relay.socket],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as sending,
    ):
        assert sending.stdin is not None
        sending.stdin.write(line(1))
        sending.stdin.flush()
        eventually(lambda: relay.status()["totals"]["accepted"] == 1)

        told, _ = sending.communicate(line(2))

    assert told == b"stored 2, refused 0\n"


def test_without_a_daemon_it_says_so(short_dir: Path) -> None:
    done = relay_command("send", "--socket", short_dir / "none.sock", stdin=line(1))

    assert done.returncode == 3
    assert done.stderr.startswith("Error: no relay listens on ")


def test_a_relay_that_dies_meanwhile_is_not_taken_for_success(short_dir: Path) -> None:
    with (
        RelayProcess(short_dir) as relay,
        subprocess.Popen(
            [COMMAND, "send", "--socket", relay.socket],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as sending,
    ):
        assert sending.stdin is not None
        sending.stdin.write(line(1))
        sending.stdin.flush()
        eventually(lambda: relay.status()["totals"]["accepted"] == 1)
        relay.kill()

        _, complaint = sending.communicate(line(2))

    assert sending.returncode == 1
    assert b"went away: 1 lines are stored" in complaint


def test_who_may_not_send_is_told_so(short_dir: Path) -> None:
    somebody_else = {"socket": {"allow_uids": [os.getuid() + 1]}}
    with RelayProcess(short_dir, settings=somebody_else) as relay:
        done = relay.command("send", stdin=line(1))

    assert done.returncode == 1
    assert "is not in socket.allow_uids" in done.stderr


def test_what_is_no_socket_is_no_relay(short_dir: Path) -> None:
    place = short_dir / "plain"
    place.touch()

    assert relay_command("send", "--socket", place).returncode == 3
    assert relay_command("send", "--socket", place / "x").returncode == 1


def test_a_broken_gzip_file_is_named(short_dir: Path) -> None:
    broken = short_dir / "a.jsonl.gz"
    broken.write_bytes(gzip.compress(line(1) * 1000)[:-20])
    with RelayProcess(short_dir) as relay:
        done = relay.command("send", broken)

    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {broken}: not readable as gzip")


def test_a_missing_file_is_a_wrong_command_line(short_dir: Path) -> None:
    assert relay_command("send", short_dir / "none.jsonl").returncode == 2


def has_left(child: subprocess.Popen[bytes]) -> bool:
    """After a Ctrl-C, or one more: the first may come just before a blocking read."""
    child.send_signal(signal.SIGINT)
    try:
        child.wait(0.2)
    except subprocess.TimeoutExpired:
        return False
    return True


def test_ctrl_c_ends_it_as_a_shell_expects(short_dir: Path) -> None:
    with (
        RelayProcess(short_dir) as relay,
        subprocess.Popen(
            [COMMAND, "send", "--socket", relay.socket], stdin=subprocess.PIPE
        ) as sending,
    ):
        assert sending.stdin is not None
        sending.stdin.write(line(1))
        sending.stdin.flush()
        eventually(lambda: relay.status()["totals"]["accepted"] == 1)

        eventually(lambda: has_left(sending))

    assert sending.returncode == 130
