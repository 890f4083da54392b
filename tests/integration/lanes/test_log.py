"""A bad hour is some lines of log, not thousands: the operator is to read them."""

import pytest

from leanbase_relay.sink import Fault, Script, Sink
from tests.support.lane import BUSY, LaneClock, Relay

HOUR_SECONDS = 3600.0
MOST_LINES = 40
WRONG_KEY = Fault.answer(401, "API key is not valid")


def lines(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records]


def test_an_hour_without_an_upstream_is_two_lines(
    relay: Relay, sink: Sink, clock: LaneClock, log: pytest.LogCaptureFixture
) -> None:
    """1. It answers 503 for more than an hour. 2. It is well again."""
    tries = 60
    sink.follow(Script().then(*[BUSY] * tries))
    lane = relay.lane(sink, clock)
    relay.add(10)
    before = clock.now

    lane.flush()
    assert lane.step()

    assert clock.now - before > HOUR_SECONDS
    begun, ended = lines(log)
    assert begun.startswith("lane_backing_off project=default backlog=10 times=1 ")
    assert ended.startswith(f"lane_recovered project=default after_attempts={tries} ")


def test_a_refusal_is_no_recovery(
    relay: Relay, sink: Sink, clock: LaneClock, log: pytest.LogCaptureFixture
) -> None:
    """1. It is busy. 2. It is there again, and refuses. 3. It takes something."""
    lane = relay.lane(sink, clock)
    sink.follow(Script().then(BUSY))
    relay.add(1, poison=(0,))
    lane.flush()
    assert lane.step()
    assert lane.status().state == "idle"
    said = [line.split()[0] for line in lines(log)]
    assert said == ["lane_backing_off", "event_buried"]

    relay.add(1)
    lane.flush()
    assert lane.step()

    assert lines(log)[-1].startswith("lane_recovered project=default after_attempts=1 ")


def test_an_hour_of_an_upstream_that_comes_and_goes_is_a_page(
    relay: Relay, sink: Sink, clock: LaneClock, log: pytest.LogCaptureFixture
) -> None:
    """Each batch fails once, by turns for want of health and for a wrong key."""
    lane = relay.lane(sink, clock, max_delay_seconds=1.0)
    end = clock.now + HOUR_SECONDS
    batches = 0
    while clock.now < end:
        sink.follow(Script().then(BUSY if batches % 2 else WRONG_KEY))
        relay.add(1)
        lane.flush()
        assert lane.step()
        batches += 1
        clock.now += 20

    assert batches > 100
    said = lines(log)
    assert 8 <= len(said) < MOST_LINES, said
    assert sum(line.startswith("lane_recovered") for line in said) * 2 == len(said)
