"""A lane with a real store, writer and HTTP server; only its time is not real."""

import sqlite3
import zlib
from itertools import pairwise

import pytest

from leanbase_relay.forward.upstream import Upstream
from leanbase_relay.keys import Secret
from leanbase_relay.sink import Fault, Limits, Request, Script, Sink
from leanbase_relay.store.chunk import Chunk
from leanbase_relay.store.deposit import Deposit
from leanbase_relay.store.store import Store
from leanbase_relay.store.totals import Position
from tests.support.lane import (
    BUSY,
    DAY_SECONDS,
    LaneClock,
    Relay,
    uuid,
    uuids,
)

# The way of a batch.


def test_everything_arrives_once_and_in_order(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    sent = relay.add(7) + relay.add(1) + relay.add(12)

    relay.lane(sink, clock, max_events=5).run()

    assert uuids(sink.events) == sent
    assert max(request.event_count for request in sink.requests) == 5
    totals = relay.totals()
    assert (totals.accepted, totals.delivered) == (20, 20)
    assert relay.query("select count(*) from chunk")() == [(0,)]


def test_a_lone_event_waits_for_company_but_no_longer_than_max_wait(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.writer_clock.now = clock.now
    relay.add(1)

    relay.lane(sink, clock, max_wait_seconds=2.5).run()

    assert clock.waits[0] == pytest.approx(2.5, abs=0.001)
    assert sink.counts.requests == 1


def test_a_full_batch_leaves_at_once(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(10)

    assert relay.lane(sink, clock, max_events=10).step()
    assert clock.waits == []


def test_a_batch_that_is_full_by_bytes_leaves_at_once(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(10)

    assert relay.lane(sink, clock, max_bytes=300).step()
    assert clock.waits == []


def test_a_batch_that_is_not_due_does_not_leave(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(9)

    assert not relay.lane(sink, clock, max_events=10).step()
    assert sink.requests == []


def test_a_flush_sends_without_waiting(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(1)
    lane = relay.lane(sink, clock)

    lane.flush()

    assert lane.step()
    assert clock.waits == []


def test_events_wake_a_lane_that_rests(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    lane = relay.lane(sink, clock)
    clock.meanwhile = [lambda: relay.add(3)]

    lane.run()

    assert sink.counts.events == 3
    assert lane.status().state == "idle"


def test_a_wall_clock_that_jumps_back_delays_a_batch_by_max_wait_at_most(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(1)
    clock.wall_offset -= 30 * DAY_SECONDS

    relay.lane(sink, clock).run()

    (request,) = sink.requests
    assert request.at - clock.wall_offset <= 1_001.0


# Trouble that mends itself.


def test_what_fails_for_a_while_is_tried_until_it_succeeds(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    sent = relay.add(3)
    sink.follow(Script().then(BUSY, Fault.cut_off(), Fault.reset(after_body=False)))
    lane = relay.lane(sink, clock)
    states: list[tuple[str, int]] = []

    def look() -> None:
        states.append((lane.status().state, lane.status().attempt))

    clock.meanwhile = [look] * 5

    lane.run()

    assert ("backing_off", 1) in states
    assert ("backing_off", 3) in states
    assert set(uuids(sink.events)) == set(sent)
    assert relay.totals().delivered == 3
    assert lane.status().state == "idle"
    assert lane.status().attempt == 0
    assert lane.status().last_error is not None


def test_delays_lie_between_the_floor_and_a_growing_ceiling(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(1)
    sink.follow(Script().then(*[BUSY] * 12))

    relay.lane(sink, clock, max_delay_seconds=60.0).run()

    at = [request.at for request in sink.requests]
    gaps = [after - before for before, after in pairwise(at)]
    assert len(gaps) == 12
    for number, gap in enumerate(gaps):
        assert 0.1 - 1e-6 <= gap <= min(2.0**number, 60.0) + 1e-6


def test_nothing_expires_while_the_upstream_is_down_for_days(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(3)
    sink.follow(Script().then(*[BUSY] * 300))
    started = clock.now

    relay.lane(sink, clock).run()

    assert clock.now - started > 9 * 3600
    assert relay.totals().delivered == 3


def test_retry_after_is_a_floor(relay: Relay, sink: Sink, clock: LaneClock) -> None:
    relay.add(1)
    sink.follow(Script().then(Fault.answer(429, retry_after=30)))

    relay.lane(sink, clock).run()

    first, second = sink.requests
    assert second.at - first.at >= 30


def test_a_flush_does_not_go_below_retry_after(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(1)
    sink.follow(Script().then(Fault.answer(503, retry_after=30)))
    lane = relay.lane(sink, clock)
    clock.meanwhile = [lambda: None, lane.flush, lane.flush, lane.flush]

    lane.run()

    first, second = sink.requests
    assert 30 <= second.at - first.at < 31


def test_a_flush_ends_a_backoff(relay: Relay, sink: Sink, clock: LaneClock) -> None:
    relay.add(1)
    lane = relay.lane(sink, clock, first_delay_seconds=100.0)
    lane.flush()
    sink.follow(Script().then(BUSY, BUSY))
    clock.meanwhile = [lane.flush] * 2

    assert lane.step()

    at = [request.at for request in sink.requests]
    assert at[0] == at[2]


# Trouble that needs the operator.


HELD = [
    Fault.html(),
    Fault.answer(401, "API key is not valid"),
    Fault.answer(402),
    Fault.answer(403),
    Fault.answer(404),
    Fault.answer(405),
    Fault.answer(418),
    Fault.redirect("http://127.0.0.1:9/"),
]


@pytest.mark.parametrize("fault", HELD, ids=lambda fault: str(fault.status))
def test_what_needs_the_operator_is_held_and_tried_slowly(
    relay: Relay, sink: Sink, clock: LaneClock, fault: Fault
) -> None:
    sent = relay.add(3)
    sink.follow(Script().then(fault, fault, fault))
    lane = relay.lane(sink, clock, max_attempts=1)
    states: list[str] = []
    clock.meanwhile = [lambda: states.append(lane.status().state)] * 4

    lane.run()

    at = [request.at for request in sink.requests]
    assert states == ["flowing", "held", "held", "held"]
    assert [after - before for before, after in pairwise(at)] == (
        [pytest.approx(300.0)] * 3
    )
    assert uuids(sink.events) == sent
    assert relay.totals().dead == 0


def test_a_flush_tries_what_is_held_at_once(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(1)
    sink.follow(Script().then(Fault.answer(401)))
    lane = relay.lane(sink, clock)
    clock.meanwhile = [lambda: None, lane.flush]

    lane.run()

    first, second = sink.requests
    assert second.at == first.at


def test_a_new_key_is_tried_at_once(relay: Relay, clock: LaneClock) -> None:
    relay.add(1)
    with Sink(clock=clock, known_keys=frozenset({"phc_new"})) as sink:
        lane = relay.lane(sink, clock)
        renewed = Upstream(sink.url, key=Secret("phc_new"), clock=clock)
        settings = lane._settings
        clock.meanwhile = [
            lambda: None,
            lambda: lane.reconfigure(renewed, settings),
        ]

        lane.run()
        renewed.close()

        assert [request.status for request in sink.requests] == [401, 200]
        assert sink.requests[0].at == sink.requests[1].at


def test_one_project_that_is_held_delays_the_other_not(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(2)
    shops = relay.add(3, project="shop")
    with Sink(clock=clock, script=Script().then_always(Fault.answer(401))) as closed:
        other = LaneClock()
        held = relay.lane(closed, clock)
        free = relay.lane(sink, other, "shop")
        # 1. the one waits for its first batch, 2. is held; then the other runs.
        clock.meanwhile = [lambda: None, free.run, clock.stop]

        held.run()

    assert uuids(sink.events) == shops
    assert free.status().state == "idle"
    assert held.status().state == "held"
    assert relay.totals("shop").delivered == 3
    assert relay.totals().backlog_events == 2


# Splitting.


def refused_requests(sink: Sink) -> int:
    return sum(request.status == 400 for request in sink.requests)


@pytest.mark.parametrize("guilty", [0, 1, 49, 50, 63, 98, 99])
def test_one_guilty_event_of_a_hundred_is_found_and_buried(
    relay: Relay, sink: Sink, clock: LaneClock, guilty: int
) -> None:
    sent = relay.add(100, poison=(guilty,))

    relay.lane(sink, clock).run()

    innocent = [one for one in sent if one != uuid(guilty)]
    assert uuids(sink.events) == innocent
    assert len(sink.requests) - 1 <= 13  # 2 log2(100) = 13.3
    (letter,) = relay.letters()
    assert letter[:2] == (uuid(guilty), 400)
    assert "failed to hydrate" in letter[2]
    assert letter[3:] == ("upstream", "e", "u")
    totals = relay.totals()
    assert (totals.delivered, totals.dead) == (99, 1)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 16, 33])
def test_wherever_the_guilty_one_stands_it_costs_two_requests_a_halving(
    relay: Relay, sink: Sink, clock: LaneClock, count: int
) -> None:
    lane = relay.lane(sink, clock, max_events=count)
    for guilty in range(count):
        relay.add(count, poison=(relay.made + guilty,))
        before = sink.counts.requests

        assert lane.step()

        extra = sink.counts.requests - before - 1
        assert 2**extra <= count**2
    assert relay.totals().dead == count


def test_several_guilty_events_are_found_in_order(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    guilty = (0, 17, 18, 31, 63)
    sent = relay.add(64, poison=guilty)

    relay.lane(sink, clock).run()

    assert [letter[0] for letter in relay.letters()] == [uuid(n) for n in guilty]
    assert uuids(sink.events) == [u for u in sent if u not in {uuid(n) for n in guilty}]
    assert len(sink.requests) - 1 <= 5 * 12
    assert relay.totals().delivered == 59


def test_where_all_are_guilty_all_are_buried(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    sent = relay.add(8, poison=tuple(range(8)))

    relay.lane(sink, clock).run()

    assert [letter[0] for letter in relay.letters()] == sent
    assert relay.totals().dead == 8
    assert relay.totals().delivered == 0


def test_what_is_too_big_is_sent_in_halves(relay: Relay, clock: LaneClock) -> None:
    sent = relay.add(16)
    with Sink(clock=clock, limits=Limits(wire_bytes=200)) as sink:
        relay.lane(sink, clock).run()

    assert uuids(sink.events) == sent
    assert relay.totals().dead == 0


def test_an_event_that_is_too_big_by_itself_is_buried(
    relay: Relay, clock: LaneClock
) -> None:
    relay.add(4)
    with Sink(clock=clock, limits=Limits(wire_bytes=20)) as sink:
        relay.lane(sink, clock).run()

    assert [letter[1] for letter in relay.letters()] == [413] * 4
    assert relay.totals().dead == 4


# Giving up, where that is wished.


def test_after_max_attempts_the_events_become_dead_letters(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    lost, kept = relay.add(3), relay.add(3)
    sink.follow(Script().then(BUSY, BUSY, BUSY))

    relay.lane(sink, clock, max_events=3, max_attempts=3).run()

    assert [letter[0] for letter in relay.letters()] == lost
    assert {letter[1] for letter in relay.letters()} == {503}
    assert uuids(sink.events) == kept
    totals = relay.totals()
    assert (totals.dead, totals.delivered) == (3, 3)


# Crashes, and disks that fail.


def test_a_crash_between_the_answer_and_the_ack_sends_again_the_same(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(4)
    first_life = relay.lane(sink, clock)
    first_life.flush()
    batch = first_life._backlog.next_batch(max_events=9, max_bytes=999)
    assert batch is not None
    first_life.upstream.send(first_life.upstream.begin(batch))  # and there it ends

    relay.lane(sink, clock).run()

    first, second = sink.requests
    assert first.events == second.events
    assert sink.counts.duplicates == 4
    assert relay.totals().delivered == 4


def test_a_lane_goes_on_inside_a_chunk(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    sent = relay.add(10)
    assert relay.lane(sink, clock, max_events=4).step()
    relay.writer.apply(lambda _: None).wait()
    chunk = relay.totals().position.chunk
    assert relay.totals().position == Position(chunk, 4)

    relay.lane(sink, clock, max_events=4).run()

    assert uuids(sink.events) == sent
    assert relay.totals().delivered == 10


def test_an_ack_that_fails_is_asked_for_again(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(2)
    lane = relay.lane(sink, clock)
    clock.meanwhile = [lambda: setattr(relay.store, "failures", 3)]

    lane.run()

    assert sink.counts.requests == 1
    assert relay.totals().delivered == 2
    assert relay.store.failures == 0


def test_a_burial_that_fails_is_asked_for_again(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(4, poison=(2,))
    lane = relay.lane(sink, clock)
    clock.meanwhile = [lambda: setattr(relay.store, "failures", 5)]

    lane.run()

    totals = relay.totals()
    assert (totals.delivered, totals.dead) == (3, 1)
    assert len(relay.letters()) == 1


def miscount(relay: Relay, events: int) -> None:
    """Have the first row say that it has so many."""
    relay.writer.apply(lambda store: store.recount(1, events)).wait()


@pytest.mark.parametrize("says", [1, 8, 14, 10 | 1 << 20])
@pytest.mark.parametrize("how", ["begun", "cut", "halved", "refused"])
def test_a_row_that_says_a_wrong_number_of_events_keeps_none_of_them(
    relay: Relay, sink: Sink, clock: LaneClock, says: int, how: str
) -> None:
    """It once made empty batches for ever, or passed over events that were neither sent
    nor dead."""
    sent = relay.add(10, poison=tuple(range(10)) if how == "refused" else ())
    if how == "begun":
        relay.writer.apply(lambda store: store.ack("default", Position(1, 2))).wait()
        del sent[:2]
    miscount(relay, says)
    if how == "halved":
        sink.follow(Script().then(Fault.answer(413, "too large")))

    most = 3 if how == "cut" else 1000
    relay.lane(sink, clock, max_events=most).run()

    totals = relay.settled()
    if how == "refused":
        assert sent == [letter[0] for letter in relay.letters()]
        assert totals.dead == 10
    else:
        assert sent == uuids(sink.events)
        assert totals.delivered == 10
        assert all(request.event_count for request in sink.requests)
    assert totals.backlog_events == 0


def test_a_damaged_chunk_is_one_dead_letter_and_harms_no_other(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    before, _, after = relay.add(2), relay.add(5), relay.add(3)
    conn = sqlite3.connect(relay.path)
    with conn:
        conn.execute(
            "update chunk set data = cast(substr(data, 2) as blob) where events = 5"
        )
    conn.close()

    relay.lane(sink, clock).run()

    assert uuids(sink.events) == before + after
    (letter,) = relay.letters()
    assert "damaged on disk, 5 events" in letter[2]
    totals = relay.totals()
    assert (totals.delivered, totals.dead, totals.dead_letters) == (5, 5, 1)


def test_a_chunk_that_was_never_packed_is_one_dead_letter_too(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    """Its checksum is right: only who unpacks it notices, here or at the upstream.

    1. A whole chunk is sent as it lies in the store; the upstream refuses it, and so
       its half cannot be made.
    2. From then on the lane looks inside, and meets it as it meets any damage.
    """
    before, bad, after = relay.add(2), relay.add(2_000), relay.add(3)
    assert len(bad) == 2_000
    conn = sqlite3.connect(relay.path)
    (data,) = conn.execute("select data from chunk where events = 2000").fetchone()
    wrong = data[:5000] + b"no deflate stream" + data[5017:]
    with conn:
        conn.execute(
            "update chunk set data = ?, checksum = ? where events = 2000",
            (wrong, zlib.crc32(wrong)),
        )
    conn.close()

    relay.lane(sink, clock, max_events=3_000).run()

    assert uuids(sink.events) == before + after
    (letter,) = relay.letters()
    assert "damaged on disk, 2000 events" in letter[2]
    totals = relay.totals()
    assert (totals.delivered, totals.dead) == (5, 2_000)


def test_chunks_dropped_while_they_are_in_flight_are_counted_once(
    relay: Relay, clock: LaneClock
) -> None:
    relay.add(10)
    relay.add(2)

    def drop_oldest(store: Store) -> None:
        store.drop_oldest(1)

    def drop(request: Request) -> None:
        if request.event_count == 4:
            relay.writer.apply(drop_oldest).wait()

    with Sink(clock=clock, on_request=drop) as sink:
        relay.lane(sink, clock, max_events=4).run()

    totals = relay.totals()
    assert totals.delivered + totals.dropped == 12
    assert totals.backlog_events == 0
    assert totals.dropped >= 6


def test_an_event_that_cannot_be_read_is_buried_all_the_same(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    """Intake lets none in; should one be there, it must not end the daemon."""
    chunk = Chunk("default", 1, b'{"event":"e","distinct_id":["u"],"x":1e999}')
    relay.writer.submit(Deposit(chunks=(chunk,))).wait()

    relay.lane(sink, clock).run()

    ((_, status, _, door, _, distinct_id),) = relay.letters()
    assert (status, door, distinct_id) == (400, "upstream", None)


# Stop.


def test_a_stop_ends_the_wait_for_news(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    clock.meanwhile = [clock.stop]

    relay.lane(sink, clock).run()

    assert clock.waits == []


def test_a_stop_ends_the_wait_for_company(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(1)
    clock.meanwhile = [clock.stop]

    relay.lane(sink, clock).run()

    assert sink.requests == []
    assert relay.totals().backlog_events == 1


@pytest.mark.parametrize(
    "fault", [BUSY, Fault.answer(401), Fault.answer(503, retry_after=3000)]
)
def test_a_stop_ends_a_delay_without_a_further_attempt(
    relay: Relay, sink: Sink, clock: LaneClock, fault: Fault
) -> None:
    relay.add(1)
    sink.follow(Script().then_always(fault))
    clock.meanwhile = [lambda: None, clock.stop]

    relay.lane(sink, clock).run()

    assert sink.counts.requests == 1
    assert relay.totals().backlog_events == 1


def test_a_stop_ends_the_wait_for_a_burial(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(1, poison=(0,))
    clock.meanwhile = [
        lambda: setattr(relay.store, "failures", 1000),
        clock.stop,
    ]

    relay.lane(sink, clock).run()

    relay.store.failures = 0
    relay.writer.apply(lambda _: None).wait()
    assert relay.totals().backlog_events == 1


def test_a_stop_lets_the_last_ack_be_committed(relay: Relay, clock: LaneClock) -> None:
    relay.add(3)
    with Sink(clock=clock, on_request=lambda _: clock.stop()) as sink:
        relay.lane(sink, clock).run()

    assert relay.totals().delivered == 3
