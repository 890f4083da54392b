"""What a lane makes of `flush`, SIGHUP and purge while it waits."""

from itertools import pairwise

import pytest

from leanbase_relay.sink import Fault, Limits, Request, Script, Sink
from leanbase_relay.store.backlog import Share
from leanbase_relay.store.store import Store
from tests.support.lane import BUSY, LaneClock, Relay, uuids


def purge(relay: Relay, upto: int) -> None:
    def give_up(store: Store) -> None:
        store.purge(Share(upto=upto), max_chunks=9, max_bytes=1 << 20)

    relay.writer.apply(give_up).wait()


# Retry-After.


def test_a_retry_after_is_of_no_account_for_another_upstream(
    relay: Relay, clock: LaneClock
) -> None:
    sent = relay.add(3)
    patience = Script().then_always(Fault.answer(429, retry_after=3000))
    with Sink(script=patience, clock=clock) as old, Sink(clock=clock) as new:
        lane = relay.lane(old, clock)
        other = relay.upstream(new.url, clock)
        clock.meanwhile = [
            lambda: None,
            lambda: lane.reconfigure(other, lane._settings),
        ]
        lane.run()

        assert uuids(new.events) == sent
        assert new.requests[0].at == old.requests[0].at
        assert old.counts.requests == 1


def test_a_sighup_that_changes_nothing_does_not_shorten_a_retry_after(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(1)
    sink.follow(Script().then(Fault.answer(503, retry_after=30)))
    lane = relay.lane(sink, clock)
    same = relay.upstream(sink.url, clock)
    clock.meanwhile = [lambda: None, lambda: lane.reconfigure(same, lane._settings)]

    lane.run()

    first, second = sink.requests
    assert 30 <= second.at - first.at < 31


def test_who_flushes_is_told_how_long_the_upstream_wants_to_be_left_alone(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(1)
    sink.follow(Script().then(Fault.answer(503, retry_after=30)))
    lane = relay.lane(sink, clock)
    told = [lane.flush()]
    clock.meanwhile = [lambda: told.append(lane.flush())]

    lane.run()

    assert told == [0.0, pytest.approx(30)]
    assert lane.flush() == 0.0


# Flush and SIGHUP.


def test_a_sighup_that_changes_nothing_cuts_no_request(
    relay: Relay, clock: LaneClock
) -> None:
    """It comes while the upstream has the request; cut, it would go twice."""
    sent = relay.add(3)

    def sighup(_: Request) -> None:
        same = relay.upstream(sink.url, clock)
        (lane,) = relay.lanes
        lane.reconfigure(same, lane._settings)

    with Sink(clock=clock, on_request=sighup) as sink:
        relay.lane(sink, clock).run()

        assert uuids(sink.events) == sent
        assert sink.counts.requests == 1


def test_a_flush_is_for_what_is_there_and_not_for_what_comes_later(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    """1. A flush. 2. An event that came later waits for company, as any other does."""
    relay.add(1)
    lane = relay.lane(sink, clock, max_wait_seconds=60.0)
    lane.flush()
    assert lane.step()
    relay.settled()
    relay.writer_clock.now = clock.now

    relay.add(1)

    assert not lane.step()
    assert sink.counts.requests == 1


def test_a_flush_of_long_ago_shortens_no_backoff(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(1)
    lane = relay.lane(sink, clock)
    lane.flush()
    sink.follow(Script().then(Fault.answer(401)))

    lane.run()

    first, second = sink.requests
    assert second.at - first.at == 300


# What an upstream taught.


SMALL = Limits(wire_bytes=2000)


def test_a_limit_that_another_upstream_taught_is_forgotten(
    relay: Relay, clock: LaneClock
) -> None:
    """Behind a proxy with a small limit; then straight to the upstream."""
    relay.add(128)
    learnt = []
    with Sink(limits=SMALL, clock=clock) as small, Sink(clock=clock) as large:
        lane = relay.lane(small, clock, compression="none")
        other = relay.upstream(large.url, clock, compression="none")

        def change() -> None:
            learnt.append(lane.status().learnt_bytes)
            relay.add(128)
            lane.reconfigure(other, lane._settings)

        clock.meanwhile = [lambda: None, change]
        lane.run()

        assert [request.event_count for request in large.requests] == [128]
    assert learnt[0] > 0
    assert lane.status().learnt_bytes == 0


@pytest.mark.parametrize("moved", [True, False])
def test_a_limit_is_known_after_a_restart_if_the_upstream_is_the_same(
    relay: Relay, clock: LaneClock, *, moved: bool
) -> None:
    relay.add(128)
    with Sink(limits=SMALL, clock=clock) as small, Sink(clock=clock) as large:
        relay.lane(small, clock, compression="none").run()
        assert relay.settled().learnt_bytes > 0
        before = small.counts.requests
        relay.add(128)

        second = large if moved else small
        relay.lane(second, LaneClock(), compression="none").run()

        assert [r.event_count for r in large.requests] == ([128] if moved else [])
        statuses = [request.status for request in small.requests[before:]]
    assert moved or len(statuses) > 5
    assert 413 not in statuses


def test_a_limit_of_a_store_that_did_not_keep_whose_it_is_is_believed(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(1)
    relay.writer.apply(lambda store: store.learn("default", 900, upstream=0)).wait()

    assert relay.lane(sink, clock).status().learnt_bytes == 900


def test_a_limit_stays_where_only_the_key_changed(
    relay: Relay, clock: LaneClock
) -> None:
    relay.add(128)
    with Sink(limits=SMALL, clock=clock) as sink:
        lane = relay.lane(sink, clock, compression="none")
        other = relay.upstream(sink.url, clock, key="phc_new", compression="none")
        before = []

        def change() -> None:
            before.append(sink.counts.requests)
            relay.add(128)
            lane.reconfigure(other, lane._settings)

        clock.meanwhile = [lambda: None, change]
        lane.run()

        statuses = [request.status for request in sink.requests[before[0] :]]
    assert len(statuses) > 5
    assert 413 not in statuses


# Purge.


def test_a_purge_of_what_is_under_way_lets_a_held_lane_go_on_at_once(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    """1. The first chunk is held. 2. It is given up. 3. The second is sent."""
    relay.add(3)
    (upto,) = relay.query("select max(id) from chunk")()[0]
    rest = relay.add(2, historical=True)  # a batch of its own
    sink.follow(Script().then(Fault.answer(401)))
    lane = relay.lane(sink, clock)

    def give_up() -> None:
        purge(relay, upto)
        lane.look_again()

    clock.meanwhile = [lambda: None, give_up]

    lane.run()

    assert uuids(sink.events) == rest
    assert sink.requests[0].at == sink.requests[1].at
    totals = relay.settled()
    assert (totals.dropped, totals.delivered) == (3, 2)


def test_old_events_that_are_dropped_during_an_outage_do_not_hurry_the_upstream(
    relay: Relay, clock: LaneClock
) -> None:
    """`when_full: drop_oldest` gives up what is under way, again and again."""
    for _ in range(60):
        relay.add(1)

    def drop(_: Request) -> None:
        relay.writer.apply(lambda store: ignore(store.drop_oldest(1)))

    down = Script().then_always(BUSY)
    with Sink(script=down, clock=clock, on_request=drop) as sink:
        relay.lane(sink, clock, max_events=1).run()

        at = [request.at for request in sink.requests]
    gaps = [after - before for before, after in pairwise(at)]
    assert len(gaps) > 30
    assert sum(gaps[12:]) / len(gaps[12:]) > 30


def ignore(_: object) -> None:
    """A change returns nothing."""
