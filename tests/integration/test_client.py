"""The client and a relay that is there: real socket, real store."""

import gc
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from leanbase_relay import client
from leanbase_relay.client import Client, NotKept, Outcome
from tests.support.clock import FakeClock
from tests.support.intake import FULL, RunningIntake
from tests.support.stranger import Stranger


@pytest.fixture
def relay(short_dir: Path) -> Iterator[RunningIntake]:
    with RunningIntake(short_dir) as relay:
        yield relay


@pytest.fixture
def spool(short_dir: Path) -> Path:
    path = short_dir / "spool"
    path.mkdir()
    return path


def of(relay: RunningIntake, spool: Path | None = None, **settings: Any) -> Client:
    return Client(
        socket_path=relay.path,
        spool_path=spool,
        **{"timeout_seconds": 20.0, "rest_seconds": 0.0, **settings},
    )


def spooled(spool: Path) -> list[dict[str, Any]]:
    """The events in the files, in no order; nothing else is there."""
    files = list(spool.iterdir())
    assert all(file.name.endswith(".jsonl") for file in files), files
    lines = b"".join(file.read_bytes() for file in files).splitlines()
    return [json.loads(line) for line in lines]


def test_what_the_relay_refuses_is_kept_there_and_not_spooled(
    relay: RunningIntake, spool: Path
) -> None:
    outcome = of(relay, spool).capture("", "e")

    assert (outcome.became, outcome.reason) == ("refused", "distinct_id: empty")
    assert not outcome.is_kept
    assert spooled(spool) == []
    (letter,) = relay.letters()
    assert json.loads(letter.line)["uuid"] == outcome.uuid


def test_a_person_without_an_id_is_refused_and_not_made_up(
    relay: RunningIntake,
) -> None:
    """A random one would be accepted, and dropped upstream without a word."""
    nobody: Any = None

    outcome = of(relay).identify(nobody, {"plan": "pro"})

    assert (outcome.became, outcome.reason) == ("refused", "distinct_id: missing")


def test_a_connection_serves_many_events_even_after_a_refusal(
    relay: RunningIntake,
) -> None:
    client = of(relay)

    became = [client.capture(name, "e").became for name in ("a", "b", "", "c")]

    assert became == ["stored", "stored", "refused", "stored"]
    assert relay.in_loop(lambda: len(relay.intake._connections)) == 1


def test_a_connection_that_the_relay_closed_is_replaced(
    short_dir: Path, spool: Path
) -> None:
    with RunningIntake(short_dir) as relay:
        client = of(relay, spool)
        assert client.capture("a", "e").became == "stored"
    (short_dir / "relay.sock").unlink()

    with RunningIntake(short_dir) as relay:
        assert client.capture("b", "e").became == "stored"

    assert spooled(spool) == []


def test_threads_share_a_client(relay: RunningIntake) -> None:
    client = of(relay)
    told: list[Outcome] = []

    def produce() -> None:
        told.extend(client.capture("u", "e") for _ in range(20))

    threads = [threading.Thread(target=produce) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {outcome.became for outcome in told} == {"stored"}
    uuids = {json.loads(event)["uuid"] for event in relay.backlog()}
    assert uuids == {outcome.uuid for outcome in told}
    assert len(uuids) == 240
    assert len(client._idle) <= 8


def test_a_client_that_is_dropped_closes_its_connections(relay: RunningIntake) -> None:
    """Warnings are errors here, of sockets left open too."""
    client = of(relay)
    client.capture("u", "e")
    sock = client._idle[0]._socket

    del client
    gc.collect()

    assert sock.fileno() == -1


class TestAReplyThatDoesNotCome:
    """The event is spooled, as it was: it may be in the relay as well."""

    def test_in_time(self, relay: RunningIntake, spool: Path) -> None:
        client = of(relay, spool, timeout_seconds=0.05)

        relay.hold()
        outcome = client.capture("u", "e", {"n": 1})
        relay.let_go()
        relay.writer.apply(lambda _: None).wait()

        assert outcome.became == "spooled"
        assert outcome.reason.endswith("no answer in time")
        (in_spool,) = spooled(spool)
        assert [json.loads(event) for event in relay.backlog()] == [in_spool]

    def test_a_relay_that_is_late_is_left_alone_for_a_while(
        self, relay: RunningIntake, spool: Path
    ) -> None:
        client = of(relay, spool, timeout_seconds=0.05, rest_seconds=60.0)
        relay.hold()
        client.capture("u", "e")
        relay.let_go()

        outcome = client.capture("u", "e")

        assert outcome.became == "spooled"
        assert "a moment ago" in outcome.reason
        assert len(relay.backlog()) == 1

    def test_then_it_is_asked_again(self, relay: RunningIntake, spool: Path) -> None:
        client = of(relay, spool, timeout_seconds=0.05)
        relay.hold()
        client.capture("u", "e")
        relay.let_go()
        relay.writer.apply(lambda _: None).wait()
        client._timeout_seconds = 20.0

        assert client.capture("u", "e").became == "stored"

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (None, "hung up"),
            (b"", "hung up"),
            (b'{"stored":0,"refused":0}\n', "hung up"),
            (b'{"stored":1,"ref', "hung up"),
            (b'{"error":"no"}\n', "the relay says: no"),
            (b"HTTP/1.1 400 Bad Request\r\n", "no relay"),
            (b"[1]\n" * 10, "hung up"),
            (b"x" * (client.MAX_REPLY_BYTES + 1), "no relay"),
        ],
    )
    def test_because_something_else_is_said(
        self, short_dir: Path, spool: Path, answer: bytes | None, reason: str
    ) -> None:
        path = short_dir / "relay.sock"
        with Stranger(path, [answer]) as stranger:
            outcome = Client(socket_path=path, spool_path=spool).capture("u", "e")

        assert outcome.became == "spooled"
        assert reason in outcome.reason or "reset" in outcome.reason
        (in_spool,) = spooled(spool)
        assert in_spool["uuid"] == outcome.uuid
        assert stranger.lines == ([] if answer is None else [line_of(spool)])

    def test_is_not_the_same_as_a_refusal_without_a_reason(
        self, short_dir: Path, spool: Path
    ) -> None:
        path = short_dir / "relay.sock"
        with Stranger(path, [b'{"stored":0,"refused":1}\n']):
            outcome = Client(socket_path=path, spool_path=spool).capture("u", "e")

        assert (outcome.became, outcome.reason) == ("refused", "no reason given")


def line_of(spool: Path) -> bytes:
    (file,) = spool.iterdir()
    return file.read_bytes()


class TestARelayThatCannotTakeIt:
    """Nothing was accepted, so that the spool directory is the overflow."""

    def kept(self, relay: RunningIntake, spool: Path, reason: str) -> None:
        outcome = of(relay, spool).capture("u", "e")

        assert outcome.became == "spooled"
        assert outcome.reason.startswith(f"the relay says: {reason}")
        assert [event["uuid"] for event in spooled(spool)] == [outcome.uuid]
        assert relay.backlog() == []

    def test_because_the_store_is_full(self, short_dir: Path, spool: Path) -> None:
        with RunningIntake(short_dir, limits=FULL) as relay:
            self.kept(relay, spool, "store full")

    def test_because_the_disk_says_no(self, relay: RunningIntake, spool: Path) -> None:
        relay.store.error = sqlite3.OperationalError("disk I/O error")

        self.kept(relay, spool, "store unavailable: disk I/O error")

        relay.store.error = None

    def test_because_it_is_stopping(self, relay: RunningIntake, spool: Path) -> None:
        relay.writer.finish()
        relay._threads[0].join()

        self.kept(relay, spool, "the relay is stopping")

    def test_because_it_may_not_be_asked(self, short_dir: Path, spool: Path) -> None:
        with RunningIntake(short_dir, allow_uids=(4711,)) as relay:
            self.kept(relay, spool, f"uid {os.getuid()} is not in socket.allow_uids")


def test_an_app_that_needs_the_event_can_have_an_exception(
    relay: RunningIntake,
) -> None:
    client = of(relay)

    stored = client.capture("u", "e")
    assert stored.or_raise() is stored
    with pytest.raises(NotKept, match=r"is refused: distinct_id: empty"):
        client.capture("", "e").or_raise()


def test_time_is_the_moment_of_the_call(short_dir: Path) -> None:
    before = datetime.now(UTC)  # noqa: TID251 - the client has no clock to fake
    with RunningIntake(short_dir, clock=FakeClock()) as relay:
        of(relay).capture("u", "e")
        (event,) = relay.backlog()

    stamp = datetime.fromisoformat(json.loads(event)["timestamp"])
    assert before <= stamp <= datetime.now(UTC)  # noqa: TID251
