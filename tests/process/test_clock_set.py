"""A wall clock that is set while the relay runs: nothing storms, stalls or lies."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from leanbase_relay.clock import SystemClock
from leanbase_relay.sink import Fault, Script, Sink
from tests.support.faketime import WallClock
from tests.support.intake import Client, event
from tests.support.process import RelayProcess, Settings
from tests.support.waiting import eventually, paced

pytestmark = pytest.mark.process

DAY = 86_400.0
SANE_SECONDS = 120.0
SOON_SECONDS = 5.0
SETTINGS: Settings = {"retry": {"first_delay": "100ms", "max_delay": "400ms"}}
DOWN = Script().then_always(Fault.answer(503, "busy"))
UNSTAMPED = {"timestamp": None}


def since_1970() -> float:
    return SystemClock().wall() - 20


def send(relay: RelayProcess, *lines: bytes) -> None:
    with Client(relay.socket) as client:
        assert client.send_all(b"".join(lines))[-1]["stored"] == len(lines)


def await_rows(sink: Sink, count: int) -> None:
    eventually(lambda: len(sink.rows) == count, within=SOON_SECONDS)


def check_times(look: dict[str, Any]) -> None:
    """Whatever the clock was, all this happened in the last two minutes."""
    age = look["backlog"]["oldest_age_seconds"]
    assert age is None or 0 <= age < SANE_SECONDS
    assert 0 <= look["uptime_seconds"] < SANE_SECONDS
    for project in look["projects"].values():
        wait = project["upstream"]["next_attempt_in_seconds"]
        assert wait is None or 0 <= wait < SANE_SECONDS


def ago(look: dict[str, Any], what: str, *, offset: float) -> float:
    """How long ago that was, by the clock as it is set."""
    told = look["projects"]["default"]["upstream"][what]
    now = SystemClock().wall() + offset
    return now - datetime.fromisoformat(told).timestamp()


def test_a_day_forward_and_back_delays_nothing_and_shows_in_no_age(
    short_dir: Path,
) -> None:
    """Each time the clock is set: while idle, while an event waits, and afterwards."""
    wall = WallClock(short_dir)
    with (
        Sink() as sink,
        RelayProcess(short_dir, sink.url, SETTINGS, environ=wall.environ) as relay,
    ):
        sent = 0
        for offset in (DAY, -DAY, 0.0):
            sink.follow(DOWN)
            send(relay, event(sent), event(sent + 1, **UNSTAMPED))
            eventually(lambda: relay.status()["state"] == "backing_off")
            wall.set(offset)
            check_times(relay.status())
            assert 0 <= ago(relay.status(), "last_error_at", offset=offset) < 60

            sink.follow(Script())
            sent += 2
            await_rows(sink, sent)
            eventually(lambda: relay.status()["state"] == "idle", SOON_SECONDS)
            assert 0 <= ago(relay.status(), "last_success_at", offset=offset) < 60
        assert relay.status()["problems"] == []
        assert relay.stop(within=10) == 0
    assert sink.counts.duplicates == 0


def test_a_machine_that_learns_the_time_late_stamps_what_came_before(
    short_dir: Path,
) -> None:
    """Steps: it starts in 1970, without network; events come; the clock is set, the
    network comes. What the app stamped stays."""
    wall = WallClock(short_dir, -since_1970())
    with Sink() as reserved:
        url = reserved.url
    with RelayProcess(short_dir, url, SETTINGS, environ=wall.environ) as relay:
        send(relay, event(1), event(2, **UNSTAMPED))
        eventually(lambda: relay.status()["state"] == "backing_off")
        assert relay.log.startswith("1970-01-01T00:00:")
        check_times(relay.status())

        wall.set(0)
        check_times(relay.status())
        send(relay, event(3, **UNSTAMPED))
        _, stopped = relay.status_command()
        check_times(stopped)
        with Sink(urlsplit(url).port or 0) as sink:
            await_rows(sink, 3)
            eventually(lambda: relay.status()["state"] == "idle")
            check_times(relay.status())
            assert relay.status()["problems"] == []
            assert relay.stop(within=10) == 0

    stamps = {
        event["properties"]["n"]: datetime.fromisoformat(event["timestamp"])
        for event in sink.events
    }
    assert stamps[1] == datetime(2026, 3, 1, 12, 0, 0, 123_000, tzinfo=UTC)
    now = datetime.fromtimestamp(SystemClock().wall(), UTC)
    for number in (2, 3):
        assert 0 <= (now - stamps[number]).total_seconds() < SANE_SECONDS
    assert "stamps_put_right" in relay.log


@pytest.mark.slow
def test_a_clock_that_is_set_all_the_time_makes_no_storm(short_dir: Path) -> None:
    """An hour's delays in ten seconds would be thousands of requests."""
    wall = WallClock(short_dir)
    settings: Settings = {"retry": {"first_delay": "1s", "max_delay": "2s"}}
    with (
        Sink(script=DOWN) as sink,
        RelayProcess(short_dir, sink.url, settings, environ=wall.environ) as relay,
    ):
        offsets = (DAY, -DAY, -since_1970(), 0.0)
        for number in paced(every=0.1, during=10):
            wall.set(offsets[number % len(offsets)])
            send(relay, event(number, **UNSTAMPED))
            check_times(relay.status())
        assert len(sink.requests) < 40

        wall.set(0)
        sink.follow(Script())
        await_rows(sink, number + 1)
        assert relay.stop(within=10) == 0
    assert sink.counts.duplicates == 0
