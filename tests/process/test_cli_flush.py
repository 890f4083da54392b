"""`flush` sends now, and its exit code tells whether all of it went."""

import signal
from pathlib import Path

import pytest

from leanbase_relay.sink import Fault, Script, Sink
from tests.support.process import RelayProcess
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

PATIENT = {"batch": {"max_wait": "1h"}}
EVENT = b'{"event":"seen","distinct_id":"u1"}\n'


def test_a_flush_does_not_wait_for_a_full_batch(short_dir: Path) -> None:
    with Sink() as sink, RelayProcess(short_dir, sink.url, PATIENT) as relay:
        relay.command("send", stdin=EVENT * 3)
        done = relay.command("flush", "--wait", "5")

        assert sink.counts.events == 3

    assert (done.returncode, done.stdout) == (0, "The backlog is empty.\n")


def test_without_waiting_it_only_says_what_is_sent(short_dir: Path) -> None:
    with Sink() as sink, RelayProcess(short_dir, sink.url, PATIENT) as relay:
        relay.command("send", stdin=EVENT * 3)
        done = relay.command("flush")

        assert sink.wait_for(3, within_seconds=5)

    assert (done.returncode, done.stdout) == (0, "Sending 3 events.\n")


def test_time_that_is_up_is_a_failure(short_dir: Path) -> None:
    script = Script().then_always(Fault.answer(503))
    with Sink(script=script) as sink, RelayProcess(short_dir, sink.url) as relay:
        relay.command("send", stdin=EVENT)
        done = relay.command("flush", "--wait", "0.3")

    assert done.returncode == 1
    assert done.stderr.startswith("1 event left.\n")
    assert "503" in done.stderr


def test_a_hold_ends_the_waiting_after_its_attempt(short_dir: Path) -> None:
    keys = frozenset({"phc_other"})
    with Sink(known_keys=keys) as sink, RelayProcess(short_dir, sink.url) as relay:
        relay.command("send", stdin=EVENT)
        eventually(lambda: relay.status()["state"] == "held")
        attempts = sink.counts.requests
        done = relay.command("flush", "--wait", "15")

        assert sink.counts.requests > attempts

    assert done.returncode == 1
    assert "held" in done.stderr


def test_a_hold_that_a_flush_mends_is_a_success(short_dir: Path) -> None:
    script = Script().then(Fault.answer(401))
    with Sink(script=script) as sink, RelayProcess(short_dir, sink.url) as relay:
        relay.command("send", stdin=EVENT)
        eventually(lambda: relay.status()["state"] == "held")

        done = relay.command("flush", "--wait", "15")

    assert done.returncode == 0


def test_a_hanging_daemon_is_named(short_dir: Path) -> None:
    with RelayProcess(short_dir) as relay:
        relay.signal(signal.SIGSTOP)

        done = relay.command("flush")

    assert done.returncode == 1
    assert "does not answer within a second" in done.stderr


def test_without_a_daemon_it_says_so(short_dir: Path) -> None:
    assert RelayProcess(short_dir).command("flush").returncode == 3
