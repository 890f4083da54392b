"""`import` takes what other programs wrote down; both feeds say where to go on."""

import base64
import gzip
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from leanbase_relay.sink import Sink
from tests.support.process import COMMAND, RelayProcess
from tests.support.waiting import eventually
from tests.unit.test_foreign import ROW, UUID

pytestmark = pytest.mark.process

# What the SDK's file consumer writes: a captured event, an identify and an alias.
LIB = b'"$lib":"posthog-php","$lib_version":"4.6.2","$lib_consumer":"File"'
PHP_LOG = b"\n".join(
    (
        b'{"properties":{%b,"url":"https:\\/\\/x","total":1.10},"distinct_id":"user-1",'
        b'"event":"order placed","groups":[],"uuid":"%b",'
        b'"timestamp":"2026-03-01T12:00:00.123456+00:00"}' % (LIB, UUID.encode()),
        b'{"$set":[],"properties":{%b},"distinct_id":"user-1","event":"$identify",'
        b'"timestamp":"2026-03-01T12:00:01+00:00"}' % LIB,
        b'{"event":"$create_alias","properties":{"distinct_id":"user-1","alias":"old",'
        b'%b},"distinct_id":null,"timestamp":"2026-03-01T12:00:02+00:00"}' % LIB,
        b"",
        b"",
    )
)


def line(number: int, **members: object) -> bytes:
    event = {"event": "seen", "distinct_id": f"u{number}", **members}
    return json.dumps(event).encode() + b"\n"


def test_a_log_of_the_php_sdk_may_be_imported_twice(short_dir: Path) -> None:
    """The upstream keeps one of each, since both have the same identity."""
    log = short_dir / "posthog.log"
    log.write_bytes(PHP_LOG)
    with Sink() as sink, RelayProcess(short_dir, sink.url) as relay:
        for _ in range(2):
            done = relay.command("import", log)
            assert (done.stdout, done.returncode) == ("stored 3, refused 0\n", 0)
        relay.command("flush", "--wait", "10")

        assert len(sink.events) == 6
        assert len(sink.rows) == 3
    placed = next(one for one in sink.events if one["event"] == "order placed")
    assert placed["timestamp"] == "2026-03-01T12:00:00.123456+00:00"
    alias = next(one for one in sink.events if one["event"] == "$create_alias")
    assert alias["distinct_id"] == "user-1"


def test_an_export_of_posthog_is_sent_as_it_once_came(short_dir: Path) -> None:
    projects = {"projects": {"shop": {"api_key": "phc_shop"}}}
    export = short_dir / "events.jsonl.gz"
    export.write_bytes(gzip.compress(json.dumps(ROW).encode() + b"\nbroken\n"))
    with Sink() as sink, RelayProcess(short_dir, sink.url, projects) as relay:
        done = relay.command(
            "import", "--project", "shop", "--historical-migration", export
        )
        assert sink.wait_for(1, within_seconds=10)

    (row,) = sink.rows.values()
    assert (row.historical, row.api_key) == (True, "phc_shop")
    (event,) = sink.events
    assert event["uuid"] == UUID
    assert event["properties"]["$elements_chain"] == ROW["elements_chain"]
    assert event.keys() == {
        *("event", "distinct_id", "timestamp", "properties", "uuid")
    }
    assert done.returncode == 4
    assert done.stderr.startswith(f"{export}:2: ")


def test_one_goes_on_with_the_line_that_is_named(short_dir: Path) -> None:
    """Refused lines are named by their place in the whole file."""
    first, second = short_dir / "a.jsonl", short_dir / "b.jsonl"
    first.write_bytes(b"".join(map(line, range(9))) + b"bad\n")
    second.write_bytes(b"bad\n" + line(10))
    with RelayProcess(short_dir) as relay:
        done = relay.command("send", "--from", "8", first, second)
        totals = relay.status()["totals"]

    assert done.stdout == "stored 3, refused 2\n"
    told = [one.split(": ")[0] for one in done.stderr.splitlines()]
    assert told == [f"{first}:10", f"{second}:1"]
    assert totals["accepted"] == 3


def test_a_relay_that_goes_away_is_no_reason_to_begin_anew(short_dir: Path) -> None:
    """1. Three lines, one blank, are settled. 2. The relay falls. 3. One goes on."""
    file = short_dir / "it's a pipe"
    with (
        RelayProcess(short_dir) as relay,
        subprocess.Popen(
            [COMMAND, "send", "--socket", relay.socket],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        ) as sending,
    ):
        assert sending.stdin is not None
        lines = line(1) + b"\n" + line(2) + line(3)
        sending.stdin.write(line(1) + b"\n" + line(2))
        sending.stdin.flush()
        eventually(lambda: relay.status()["totals"]["accepted"] == 2)
        relay.kill()
        _, complaint = sending.communicate(line(3))

        relay.start()
        file.write_bytes(lines)
        assert complaint.decode().endswith(
            f"Go on with: leanbase-relay send --socket {relay.socket} --from 4 -\n"
        )
        done = relay.command("send", "--from", "4", file)
        assert done.stdout == "stored 1, refused 0\n"
        assert relay.status()["totals"]["accepted"] == 3


def test_ctrl_c_says_where_to_go_on(short_dir: Path) -> None:
    with (
        RelayProcess(short_dir) as relay,
        subprocess.Popen(
            [
                *(COMMAND, "import", "-c", str(relay.config), "--project", "default"),
                *("--historical-migration", "--from", "5"),
            ],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        ) as sending,
    ):
        assert sending.stdin is not None
        sending.stdin.write(b"".join(map(line, range(7))))
        sending.stdin.flush()
        eventually(lambda: relay.status()["totals"]["accepted"] == 3)
        sending.send_signal(signal.SIGINT)
        try:
            _, complaint = sending.communicate(timeout=1)
        except subprocess.TimeoutExpired:  # it came just before a blocking read
            sending.send_signal(signal.SIGINT)
            _, complaint = sending.communicate(timeout=10)

    assert sending.returncode == 130
    assert (
        f"Go on with: leanbase-relay import --config {relay.config} --project default "
        "--historical-migration --from 8 -\n"
    ) in complaint.decode()


def test_a_broken_file_is_settled_as_far_as_it_goes(short_dir: Path) -> None:
    broken = short_dir / "a.jsonl.gz"
    text = b"".join(map(line, range(5000)))
    broken.write_bytes(gzip.compress(text)[:-20])
    with RelayProcess(short_dir) as relay:
        done = relay.command("send", broken)
        accepted = relay.status()["totals"]["accepted"]

    assert done.returncode == 1
    assert accepted > 1000
    error, go_on = done.stderr.splitlines()
    assert "not readable as gzip" in error
    again = f"leanbase-relay send --config {relay.config} --from {accepted + 1}"
    assert go_on == f"Go on with: {again} {broken}"


@pytest.mark.slow
def test_a_store_that_is_full_ends_it_where_it_was_full(short_dir: Path) -> None:
    """1. It fills. 2. The feed stops, and says so. 3. There is room. 4. One goes on."""
    file = short_dir / "large.jsonl"
    with file.open("wb") as writing:
        for number in range(60_000):
            noise = base64.b64encode(os.urandom(600)).decode()
            uuid = f"01890a5d-ac96-774b-bcce-{number:012}"
            writing.write(line(number, uuid=uuid, properties={"noise": noise}))
    settings = {"store": {"max_bytes": "32MiB"}}
    settings["dead_letters"] = {"max_bytes": "1MiB"}
    with Sink() as sink, RelayProcess(short_dir, settings=settings) as relay:
        done = relay.command("send", file)
        accepted = relay.status()["totals"]["accepted"]

        *_, why, go_on = done.stderr.splitlines()
        assert done.returncode == 4
        assert why == "The relay takes no more: store full."
        number = int(go_on.split("--from ")[1].split()[0])
        assert number <= accepted + 1
        told = re.fullmatch(r"stored ([0-9,]+), refused ([0-9,]+)\n", done.stdout)
        assert told is not None
        stored, refused = (int(count.replace(",", "")) for count in told.groups())
        assert stored == accepted
        assert stored + refused < 60_000, "it went on to the end"

        relay.configure(sink.url, settings)
        relay.signal(signal.SIGHUP)
        relay.command("flush", "--wait", "15")
        for _ in range(20):  # while the sink is slower than we are
            done = relay.command("send", "--from", str(number), file)
            relay.command("flush", "--wait", "15")
            if done.returncode == 0:
                break
            number = int(done.stderr.splitlines()[-1].split("--from ")[1].split()[0])

        assert done.returncode == 0, done.stderr
        assert len(sink.rows) == 60_000
