"""The guard over the life of a lane: restarts, SIGHUPs, flushes, attempts used up."""

import pytest

from leanbase_relay.forward.guard import MOST_IN_A_ROW
from leanbase_relay.sink import Fault, Script, Sink
from tests.support.lane import BUSY, LaneClock, Relay, uuids

REFUSES = Script().then_always(Fault.answer(400, "no such plan"))


def held_by_the_guard(
    relay: Relay, sink: Sink, clock: LaneClock, **how: object
) -> None:
    """A life of a lane that ends when it is held."""
    lane = relay.lane(sink, clock, **how)  # type: ignore[arg-type]
    clock.meanwhile = [lambda: None, clock.stop]
    lane.run()
    assert lane.status().state == "held"


def test_a_restart_lets_nothing_more_go(relay: Relay, clock: LaneClock) -> None:
    """A service manager that restarts each minute must not bury a backlog by it."""
    relay.add(100)
    with Sink(script=REFUSES, clock=clock) as sink:
        held_by_the_guard(relay, sink, clock)
        assert relay.settled().dead == MOST_IN_A_ROW

        for _ in range(3):
            held_by_the_guard(relay, sink, LaneClock())

    assert relay.settled().dead == MOST_IN_A_ROW


def test_after_a_restart_one_delivery_begins_the_count_anew(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    sent = relay.add(100)
    sink.follow(REFUSES)
    held_by_the_guard(relay, sink, clock)
    sink.follow(Script())

    relay.lane(sink, LaneClock()).run()

    assert uuids(sink.events) == sent[MOST_IN_A_ROW:]
    assert relay.settled().dead_in_a_row == 0


def test_a_restart_with_another_upstream_counts_anew(
    relay: Relay, clock: LaneClock
) -> None:
    relay.add(100)
    with Sink(script=REFUSES, clock=clock) as wrong:
        held_by_the_guard(relay, wrong, clock)
    with Sink(script=REFUSES, clock=clock) as other:
        held_by_the_guard(relay, other, LaneClock())

    assert relay.settled().dead == 2 * MOST_IN_A_ROW


@pytest.mark.parametrize(
    ("how", "more"),
    [
        ({}, 0),
        ({"timeout_seconds": 77.0}, 0),
        ({"key": "phc_other"}, MOST_IN_A_ROW),
        ({"protocol": "v1"}, MOST_IN_A_ROW),
    ],
)
def test_a_sighup_counts_anew_only_if_the_upstream_changed(
    relay: Relay, clock: LaneClock, how: dict[str, object], more: int
) -> None:
    relay.add(100)
    with Sink(script=REFUSES, clock=clock) as sink:
        lane = relay.lane(sink, clock)
        changed = relay.upstream(sink.url, clock, **how)  # type: ignore[arg-type]
        clock.meanwhile = [
            lambda: None,
            lambda: lane.reconfigure(changed, lane._settings),
            clock.stop,
        ]
        lane.run()

    assert relay.settled().dead == MOST_IN_A_ROW + more


def test_a_flush_is_remembered_by_the_next_life(relay: Relay, clock: LaneClock) -> None:
    relay.add(100)
    with Sink(script=REFUSES, clock=clock) as sink:
        lane = relay.lane(sink, clock)
        clock.meanwhile = [lambda: None, clock.stop]
        lane.run()
        lane.flush()
        relay.settled()

        held_by_the_guard(relay, sink, LaneClock())

    assert relay.settled().dead == 2 * MOST_IN_A_ROW


def test_attempts_that_are_used_up_are_told_in_the_letter(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(2)
    sink.follow(Script().then(*[Fault.answer(503, "busy")] * 3))

    relay.lane(sink, clock, max_attempts=3).run()

    assert [letter[2] for letter in relay.letters()] == [
        "given up after 3 attempts (retry.max_attempts): answered 503 (busy)"
    ] * 2


def test_where_nothing_is_taken_attempts_that_are_used_up_bury_no_more(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    """An outage is not to turn a whole backlog into dead letters.

    1. A batch is given up, and it has more than twenty. 2. The next one is held.
    3. The upstream is well again.
    """
    sent = relay.add(90)
    sink.follow(Script().then(*[BUSY] * 9))
    lane = relay.lane(sink, clock, max_events=30, max_attempts=2)

    lane.run()

    assert uuids(sink.events) == sent[30:]
    assert (relay.settled().dead, relay.settled().delivered) == (30, 60)
    assert "and so 30 events before it" in (lane.status().last_error or "")
    assert clock.waits.count(300.0) == 6
