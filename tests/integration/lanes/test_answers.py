"""Every answer of the upstream, and what becomes of the events."""

from itertools import pairwise

import pytest

from leanbase_relay.forward.guard import MOST_IN_A_ROW
from leanbase_relay.sink import Fault, Limits, Script, Sink, Step
from leanbase_relay.store.backlog import Share
from leanbase_relay.store.store import Store
from tests.support.clock import FakeClock
from tests.support.lane import BUSY, LaneClock, Relay, uuids
from tests.support.upstream import OK, RawUpstream, answer, says

BATCH = 5000


def refuses(*bad: str) -> Sink:
    """A sink that answers 400 to each request with one of these events."""
    return Sink(refuses=lambda event: event["uuid"] in bad)


# One bad event, several, all.


@pytest.mark.parametrize("place", [0, 1, 2500, 3333, 4998, 4999])
def test_one_guilty_event_of_5000_costs_at_most_26_requests_more(
    relay: Relay, clock: LaneClock, place: int
) -> None:
    sent = relay.add(BATCH)
    with refuses(sent[place]) as sink:
        relay.lane(sink, clock, max_events=BATCH).run()

        assert sink.counts.requests - 1 <= 26
        assert uuids(sink.events) == [one for one in sent if one != sent[place]]
    assert [letter[0] for letter in relay.letters()] == [sent[place]]
    totals = relay.totals()
    assert (totals.delivered, totals.dead) == (BATCH - 1, 1)


def test_several_guilty_events_stand_alone_and_the_others_arrive_in_order(
    relay: Relay, clock: LaneClock
) -> None:
    sent = relay.add(BATCH)
    bad = sent[7:4990:332]
    with refuses(*bad) as sink:
        relay.lane(sink, clock, max_events=BATCH).run()

        assert sink.counts.requests - 1 <= 26 * len(bad)
        assert uuids(sink.events) == [one for one in sent if one not in bad]
    assert [letter[0] for letter in relay.letters()] == bad
    assert relay.totals().backlog_events == 0


def test_an_upstream_that_refuses_everything_is_held_after_twenty(
    relay: Relay, clock: LaneClock
) -> None:
    """R28; and the probes that follow bury nothing more."""
    sent = relay.add(BATCH)
    with Sink(refuses=lambda _: True) as sink:
        lane = relay.lane(sink, clock, max_events=BATCH)
        states: list[str] = []
        clock.meanwhile = [
            *[lambda: states.append(lane.status().state)] * 5,
            clock.stop,
        ]
        lane.run()

        assert states == ["held"] * 5
        assert clock.waits == [300.0] * 5
        assert f"{MOST_IN_A_ROW} events before it" in (lane.status().last_error or "")
        requests = sink.counts.requests
        assert requests <= 26 + 2 * MOST_IN_A_ROW + 6
    letters = [letter[0] for letter in relay.letters()]
    assert letters == sent[:MOST_IN_A_ROW]
    assert relay.totals().backlog_events == BATCH - MOST_IN_A_ROW


def test_the_operator_may_let_twenty_more_go(relay: Relay, clock: LaneClock) -> None:
    relay.add(100)
    with Sink(refuses=lambda _: True) as sink:
        lane = relay.lane(sink, clock)
        clock.meanwhile = [lambda: None, lane.flush, lane.flush, clock.stop]
        lane.run()

    assert relay.totals().dead == 3 * MOST_IN_A_ROW


def test_what_was_held_by_the_guard_arrives_once_the_upstream_is_right(
    relay: Relay, clock: LaneClock
) -> None:
    relay.add(100)
    broken = {"yes"}
    with Sink(refuses=lambda _: bool(broken)) as sink:
        lane = relay.lane(sink, clock)
        clock.meanwhile = [lambda: None, broken.clear]
        lane.run()

        assert len(sink.events) == 100 - MOST_IN_A_ROW
    assert relay.totals().dead == MOST_IN_A_ROW


def test_bad_events_among_good_ones_never_trip_the_guard(
    relay: Relay, clock: LaneClock
) -> None:
    sent = relay.add(200)
    bad = sent[1::2]
    with refuses(*bad) as sink:
        relay.lane(sink, clock).run()

        assert uuids(sink.events) == sent[::2]
    assert relay.totals().dead == 100


# Each status.

DELIVERED = {204}
SPLIT = {400, 413, 422}
LATER = {408, 425, 429, *range(100, 200), *range(500, 600)}


@pytest.mark.parametrize("status", range(100, 600))
def test_each_status_has_its_meaning_and_none_loses_an_event(
    relay: Relay, status: int
) -> None:
    """A status and no body, once; then all is well."""
    clock = FakeClock()
    relay.add(2)
    first = says(answer(f"{status} Whatever", b"", "Connection: close"))
    good = says(answer("200 OK", OK, "Connection: close"))
    with RawUpstream(first, good) as upstream:
        lane = relay.lane(upstream, clock, max_events=2, max_delay_seconds=60)
        assert lane.step()

    totals = relay.settled()
    assert (totals.delivered, totals.dead) == (2, 0)
    if status in DELIVERED:
        assert (upstream.connections, clock.waits) == (1, [])
    elif status in SPLIT:
        assert (upstream.connections, clock.waits) == (3, [])
    elif status in LATER:
        assert upstream.connections == 2
        assert 0.1 <= clock.waits[0] <= 1.0
    else:
        assert (upstream.connections, clock.waits) == (2, [60.0])


# Too big.


def test_what_a_413_taught_is_kept_and_serves_the_next_life(
    relay: Relay, clock: LaneClock
) -> None:
    sent = relay.add(64) + relay.add(64)
    limits = Limits(wire_bytes=2000)
    with Sink(limits=limits, clock=clock) as sink:
        relay.lane(sink, clock, compression="none", max_events=128).run()
        asked = [request.status for request in sink.requests]

        assert uuids(sink.events) == sent
        learnt = relay.settled().learnt_bytes
        assert 900 <= learnt <= 2000
        # 128 events are too big, so are 64 and 32; then it is known for the others.
        assert asked.count(413) == 3

        more = relay.add(64)
        again = LaneClock()
        relay.lane(sink, again, compression="none", max_events=128).run()
        assert uuids(sink.events) == sent + more
        assert [r.status for r in sink.requests][len(asked) :].count(413) == 0
    assert relay.totals().dead == 0


def test_one_fat_event_teaches_nothing_about_requests(
    relay: Relay, clock: LaneClock
) -> None:
    relay.add(50)
    fat = relay.add_event(b'{"x":"%b"}' % (b"y" * 60_000))
    relay.add(50)
    with Sink(limits=Limits(event_bytes=50_000), clock=clock) as sink:
        relay.lane(sink, clock).run()

        assert len({event["uuid"] for event in sink.events}) == 100
    assert relay.settled().learnt_bytes == 0
    assert [(letter[0], letter[1]) for letter in relay.letters()] == [(fat, 413)]


# Outages.


def test_an_hour_behind_a_portal_costs_few_requests_and_no_event(
    relay: Relay, clock: LaneClock
) -> None:
    sent = relay.add(300)
    portal = Script().then_steps([Step(Fault.html(), seconds=3600)])
    with Sink(script=portal, clock=clock) as sink:
        relay.lane(sink, clock, max_events=100).run()

        assert uuids(sink.events) == sent
        assert sink.counts.requests <= 3600 / 300 + 2 + 3
        assert clock.waits.count(300.0) >= 11
    assert relay.totals().delivered == 300


def test_requests_of_an_outage_become_rare_and_none_waits_twice_the_longest(
    relay: Relay, clock: LaneClock
) -> None:
    """R23: a probe at a time, at growing distance."""
    relay.add(10_000)
    down = Script().then_steps([Step(BUSY, seconds=6 * 3600)])
    with Sink(script=down, clock=clock) as sink:
        relay.lane(sink, clock, max_events=5000).run()

        times = [request.at for request in sink.requests if request.status == 503]
        first_minute = [at for at in times if at < times[0] + 60]
        assert len(first_minute) <= 30
        per_hour = [
            sum(times[0] + 3600 * n <= at < times[0] + 3600 * (n + 1) for at in times)
            for n in range(1, 6)
        ]
        assert max(per_hour) <= 60
        assert all(after - before <= 300.1 for before, after in pairwise(times))
        assert sink.requests[-1].at - times[-1] <= 301
    assert relay.totals().delivered == 10_000


@pytest.mark.parametrize(
    "retry_after",
    ["-5", "NaN", "inf", "1e400", "soon", "", "Fri, 31 Dec 9999 23:59:59 GMT"],
)
def test_a_hostile_retry_after_costs_at_most_an_hour(
    relay: Relay, sink: Sink, clock: LaneClock, retry_after: str
) -> None:
    relay.add(1)
    sink.follow(Script().then(Fault.answer(503, retry_after=retry_after)))

    relay.lane(sink, clock).run()

    assert relay.totals().delivered == 1
    assert sum(wait for wait in clock.waits if wait < 86_400) <= 3601 + 1


# Held.


def test_a_key_that_is_renewed_while_held_counts_at_once(
    relay: Relay, clock: LaneClock
) -> None:
    relay.add(10)
    with Sink(known_keys=frozenset({"phc_new"}), clock=clock) as sink:
        lane = relay.lane(sink, clock)
        renewed = relay.upstream(sink.url, clock, key="phc_new")
        clock.meanwhile = [
            lambda: None,  # the event's own max_wait
            lambda: lane.reconfigure(renewed, lane._settings),
        ]
        lane.run()

        assert [request.status for request in sink.requests] == [401, 200]
    assert relay.totals().delivered == 10


def test_the_protocol_may_change_while_a_batch_is_held(
    relay: Relay, clock: LaneClock
) -> None:
    relay.add(10)
    with Sink(v1=False, clock=clock) as sink:
        lane = relay.lane(sink, clock, protocol="v1")
        plain = relay.upstream(sink.url, clock)
        clock.meanwhile = [
            lambda: None,
            lambda: lane.reconfigure(plain, lane._settings),
        ]
        lane.run()

        assert [(r.path, r.status) for r in sink.requests] == [
            ("/i/v1/analytics/events", 404),
            ("/batch/", 200),
        ]
    assert relay.totals().delivered == 10


def test_a_batch_that_is_purged_is_not_tried_again(
    relay: Relay, clock: LaneClock
) -> None:
    relay.add(3)
    down = Script().then_always(BUSY)
    with Sink(script=down, clock=clock) as sink:
        lane = relay.lane(sink, clock)

        def give_up(store: Store) -> None:
            store.purge(Share(upto=9), max_chunks=9, max_bytes=999)

        def purge() -> None:
            relay.writer.apply(give_up).wait()

        clock.meanwhile = [lambda: None, lambda: None, purge]
        lane.run()

        assert sink.counts.requests == 2
    assert lane.status().state == "idle"
    totals = relay.settled()
    assert (totals.dropped, totals.delivered, totals.backlog_events) == (3, 0, 0)


def test_a_held_project_delays_no_other(relay: Relay, clock: LaneClock) -> None:
    relay.add(3)
    relay.add(5, project="shop")
    portal = Script().then_always(Fault.html())
    with Sink(script=portal, clock=clock) as closed, Sink(clock=clock) as open_:
        held = relay.lane(closed, clock)
        free = relay.lane(open_, LaneClock(), "shop")
        clock.meanwhile = [lambda: None, free.run, clock.stop]
        held.run()

        assert len(open_.events) == 5
    assert relay.totals("shop").delivered == 5
    assert relay.totals().backlog_events == 3


# The clock of this machine against the upstream's.


@pytest.mark.parametrize(("skew", "seen"), [(600, -600), (-600, 600), (0, 0)])
def test_a_clock_that_differs_from_the_upstreams_is_noticed(
    relay: Relay, sink: Sink, clock: LaneClock, skew: int, seen: int
) -> None:
    relay.add(1)
    sink.follow(Script().then(Fault.skewed(skew)))
    lane = relay.lane(sink, clock)

    lane.run()

    assert lane.status().skew_seconds == pytest.approx(seen, abs=2)


def test_what_a_lane_tells_of_times_is_right_when_the_clock_was_set_since(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(1)
    sink.follow(Script().then(Fault.answer(503), Fault.skewed(3600)))
    lane = relay.lane(sink, clock)
    lane.run()
    before = lane.status()
    assert before.last_error_at is not None
    assert before.last_success_at is not None
    assert before.skew_seconds is not None

    clock.wall_offset += 3600

    after = lane.status()
    assert after.last_error_at == pytest.approx(before.last_error_at + 3600)
    assert after.last_success_at == pytest.approx(before.last_success_at + 3600)
    assert after.skew_seconds == pytest.approx(before.skew_seconds + 3600)


# Imports.


def test_an_import_travels_in_requests_of_its_own(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    sent = relay.add(3) + relay.add(2, historical=True) + relay.add(1)

    relay.lane(sink, clock).run()

    assert uuids(sink.events) == sent
    assert [(r.event_count, r.rows[0].historical) for r in sink.requests] == [
        (3, False),
        (2, True),
        (1, False),
    ]
