"""A machine that learns the time after it took events."""

import json
import socket
from contextlib import closing

import pytest

from leanbase_relay.sink import Fault, Script, Sink
from leanbase_relay.store.chunk import Chunk
from tests.support.lane import BUSY, LaneClock, Relay, uuid

IN_1970 = "1970-01-01T00:16:40.000Z"
YEARS_SECONDS = 56 * 365 * 86_400.0
IN_2025 = "2025-12-18T00:16:40.000Z"


class Nobody:
    """An upstream that nobody listens for."""

    def __init__(self) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"


@pytest.fixture
def clock(relay: Relay) -> LaneClock:
    """As wrong as the clock that the events were taken by."""
    clock = LaneClock()
    for each in (relay.writer_clock, clock):
        each.wall_offset = 0.0
    return clock


def event(number: int, stamp: str = IN_1970) -> bytes:
    return b'{"event":"e","distinct_id":"u","uuid":"%b","timestamp":"%b"}' % (
        uuid(number).encode(),
        stamp.encode(),
    )


def take(relay: Relay, *, ours: int = 2) -> None:
    """An event that an app stamped, and some that the relay stamped."""
    events = [event(0, "2026-03-01T12:00:00Z"), *map(event, range(1, 1 + ours))]
    chunk = Chunk("default", 1 + ours, b",".join(events), stamped=((1, ours),))
    relay.submit(chunk)


def set_clock(clock: LaneClock, by: float = YEARS_SECONDS) -> None:
    clock.wall_offset += by


def stamps(sink: Sink) -> list[list[str]]:
    return [[one["timestamp"] for one in request.events] for request in sink.requests]


def test_a_clock_that_is_set_before_the_first_attempt_puts_the_stamps_right(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    take(relay)
    set_clock(clock)

    relay.lane(sink, clock).run()

    assert stamps(sink) == [["2026-03-01T12:00:00Z", IN_2025, IN_2025]]


def test_they_are_kept_as_they_were_sent(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    """Put right on the disk, too: the next life sends the same."""
    take(relay)
    set_clock(clock)
    sink.follow(Script().then(BUSY))
    clock.meanwhile = [clock.stop]
    relay.lane(sink, clock).run()
    later = LaneClock()
    later.wall_offset = clock.wall_offset
    set_clock(later, 3600)

    relay.lane(sink, later).run()

    first, second = stamps(sink)
    assert first == second == ["2026-03-01T12:00:00Z", IN_2025, IN_2025]


def test_after_an_attempt_that_left_the_machine_they_stay(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    """The upstream may have stored them, and tells duplicates by the stamp."""
    take(relay)
    sink.follow(Script().then(Fault.cut_off()))
    clock.meanwhile = [lambda: None, lambda: set_clock(clock)]

    relay.lane(sink, clock).run()

    first, second = stamps(sink)
    assert first == second


def test_after_a_crash_as_well(relay: Relay, sink: Sink, clock: LaneClock) -> None:
    take(relay)
    sink.follow(Script().then(Fault.cut_off()))
    clock.meanwhile = [lambda: None, clock.stop]
    relay.lane(sink, clock).run()
    assert relay.settled().frozen_chunk == 1
    next_life = LaneClock()
    next_life.wall_offset = 0.0
    set_clock(next_life)

    relay.lane(sink, next_life).run()

    first, second = stamps(sink)
    assert first == second


def test_attempts_that_reached_nobody_do_not_count(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    """A ship that starts without clock and network gets both an hour later."""
    take(relay)
    lane = relay.lane(Nobody(), clock)
    online = relay.upstream(sink.url, clock)
    clock.meanwhile = [
        *[lambda: None] * 3,
        lambda: set_clock(clock),
        lambda: lane.reconfigure(online, lane._settings),
    ]

    lane.run()

    assert stamps(sink) == [["2026-03-01T12:00:00Z", IN_2025, IN_2025]]


def test_a_batch_under_way_is_begun_anew_when_the_clock_is_set(
    relay: Relay, clock: LaneClock
) -> None:
    take(relay)
    nobody = Nobody()
    lane = relay.lane(nobody, clock)

    def come_online() -> None:
        set_clock(clock)
        house = Sink(nobody.port, clock=clock)
        relay.house.enter_context(house)
        houses.append(house)

    houses: list[Sink] = []
    clock.meanwhile = [lambda: None, lambda: None, come_online]

    lane.run()

    (house,) = houses
    assert stamps(house) == [["2026-03-01T12:00:00Z", IN_2025, IN_2025]]


def test_without_stamps_of_ours_nothing_is_written_before_an_attempt(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(3)
    set_clock(clock)

    relay.lane(sink, clock).run()

    assert relay.settled().frozen_chunk == 0
    assert json.loads(sink.requests[0].body)["batch"][0]["timestamp"] == (
        "2026-03-01T12:00:00Z"
    )


def test_a_part_of_a_chunk_that_was_sent_leaves_the_rest_as_it_is(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    take(relay, ours=3)
    lane = relay.lane(sink, clock, max_events=2)
    assert lane.step()
    set_clock(clock)

    lane.run()

    assert stamps(sink) == [["2026-03-01T12:00:00Z", IN_1970], [IN_1970, IN_1970]]


def test_what_an_earlier_attempt_may_have_brought_stays_as_it_is(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    """Steps: an answer of 503; nobody listens; the clock is set; all is well."""
    take(relay)
    sink.follow(Script().then(BUSY))
    lane = relay.lane(sink, clock)

    def goes() -> None:
        lane.upstream.url = Nobody().url

    def comes_back() -> None:
        set_clock(clock)
        lane.upstream.url = sink.url

    clock.meanwhile = [lambda: None, goes, comes_back]
    lane.run()

    first, second = stamps(sink)
    assert first == second
