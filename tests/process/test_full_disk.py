"""A relay whose disk is full: nothing new is promised, what is stored goes on."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from leanbase_relay.sink import Fault, Script, Sink
from tests.support.intake import Client, event
from tests.support.process import RelayProcess
from tests.support.root import small_disk
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

MIB = 1 << 20


@pytest.fixture
def disk(short_dir: Path) -> Iterator[Path]:
    """A small disk of its own."""
    with small_disk(short_dir / "disk", "64m") as path:
        yield path


def noise(number: int) -> bytes:
    """An event that does not compress."""
    return event(number, properties={"x": os.urandom(200_000).hex()})


@pytest.mark.parametrize("meanwhile", ["runs on", "is stopped", "is killed"])
def test_a_full_disk_refuses_delivers_and_mends_itself(
    short_dir: Path, disk: Path, meanwhile: str
) -> None:
    """Steps: an outage fills the disk; it ends; the rest is let go; a new event.

    A relay that was started again once took new events into what the reserve had left,
    and no acknowledgement could be written any more.
    """
    settings = {
        "store": {"path": str(disk / "relay.db")},
        "retry": {"first_delay": "100ms", "max_delay": "500ms"},
    }
    down = Script().then_always(Fault.answer(503, "busy"))
    ballast = disk / "ballast"
    ballast.write_bytes(b"\0" * 20 * MIB)
    with (
        Sink(script=down) as sink,
        RelayProcess(short_dir, sink.url, settings) as relay,
    ):
        stored = fill(relay)
        assert stored > 5
        if meanwhile != "runs on":
            relay.stop() if meanwhile == "is stopped" else relay.kill()
            relay.start()
            stored += fill(relay, first=1000)
        code, look = relay.status_command()
        assert (code, look["state"]) == (1, "degraded")
        assert any("the disk is full" in problem for problem in look["problems"])

        sink.follow(Script())
        eventually(lambda: relay.status()["backlog"]["events"] == 0, within=30)
        assert len(sink.rows) == stored == relay.status()["totals"]["delivered"]
        assert sink.counts.duplicates == 0

        ballast.unlink()
        eventually(lambda: relay.status()["state"] == "idle", within=20)
        with Client(relay.socket) as client:
            client.send(event(5_000))
            assert client.reply() == {"stored": 1, "refused": 0}
        eventually(lambda: len(sink.rows) == stored + 1)
        assert relay.stop() == 0


def fill(relay: RelayProcess, *, first: int = 0) -> int:
    """Send until an event is refused; how many were stored."""
    with Client(relay.socket) as client:
        for number in range(200):
            client.send(noise(first + number))
            reply = client.reply()
            if "error" in reply:
                assert reply["error"].startswith("store unavailable: "), json.dumps(
                    reply
                )
                return number
    pytest.fail("the disk never was full")
