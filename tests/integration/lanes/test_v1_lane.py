"""A lane that speaks protocol v1, with the strict service at its other end."""

import json
from itertools import pairwise
from typing import Any

import pytest

from leanbase_relay.forward.guard import MOST_IN_A_ROW
from leanbase_relay.sink import Fault, Limits, Row, Ruling, Script, Sink
from leanbase_relay.store.chunk import Chunk
from tests.support.lane import BUSY, LaneClock, Relay, uuid, uuids

PATH = "/i/v1/analytics/events"


def sent_uuids(sink: Sink) -> list[list[str]]:
    return [uuids(request.events) for request in sink.requests]


def rows(sink: Sink) -> list[Row]:
    return [row for request in sink.requests for row in request.rows]


def header(sink: Sink, name: str) -> list[str]:
    return [request.headers[name.lower()] for request in sink.requests]


def test_a_batch_is_delivered(relay: Relay, sink: Sink, clock: LaneClock) -> None:
    sent = relay.add(7)

    relay.lane(sink, clock, protocol="v1", max_events=5).run()

    assert [request.path for request in sink.requests] == [PATH] * 2
    assert [row.uuid for row in rows(sink)] == sent
    assert relay.totals().delivered == 7
    first, second = header(sink, "PostHog-Request-Id")
    assert first != second


def test_mixed_results_each_find_their_way(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    sent = relay.add(10)
    say = Fault.results(
        Ruling("drop", "event_too_big", uuids=frozenset({sent[2]})),
        Ruling("retry", "not_persisted", uuids=frozenset({sent[5], sent[8]})),
        Ruling("warning", "w", uuids=frozenset({sent[0]})),
        Ruling("limited", uuids=frozenset({sent[1]})),
        Ruling("novelty", uuids=frozenset({sent[3]})),
        Ruling(None, uuids=frozenset({sent[9]})),
    )
    sink.follow(Script().then(say))

    relay.lane(sink, clock, protocol="v1").run()

    assert sent_uuids(sink) == [sent, [sent[5], sent[8], sent[9]]]
    first, second = header(sink, "PostHog-Request-Id")
    assert first == second
    assert header(sink, "PostHog-Attempt") == ["1", "2"]
    before, after = header(sink, "PostHog-Request-Timestamp")
    assert before < after
    bodies = [json.loads(request.body) for request in sink.requests]
    assert bodies[0]["created_at"] == bodies[1]["created_at"]
    assert [(letter[0], letter[2]) for letter in relay.letters()] == [
        (sent[2], "answered 200, drop (event_too_big)")
    ]
    totals = relay.totals()
    assert (totals.delivered, totals.dead, totals.backlog_events) == (9, 1, 0)


def test_a_retry_after_beside_results_is_a_floor(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(2)
    again = Fault(
        headers={"Retry-After": "7"}, rulings=(Ruling("retry", every=2),), name="again"
    )
    sink.follow(Script().then(again))

    relay.lane(sink, clock, protocol="v1").run()

    first, second = (request.at for request in sink.requests)
    assert second - first >= 7


def test_what_is_decided_before_an_event_that_waits_is_not_sent_after_a_crash(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    sent = relay.add(4)
    say = Fault.results(Ruling("retry", uuids=frozenset({sent[2]})))
    sink.follow(Script().then(say))
    first_life = relay.lane(sink, clock, protocol="v1")
    clock.meanwhile = [lambda: None, clock.stop]
    first_life.run()

    relay.lane(sink, LaneClock(), protocol="v1").run()

    assert sent_uuids(sink) == [sent, sent[2:]]
    assert relay.totals().delivered == 4


def test_a_failed_attempt_keeps_the_id_and_counts(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(3)
    sink.follow(Script().then(BUSY).then(BUSY))

    relay.lane(sink, clock, protocol="v1").run()

    assert len(set(header(sink, "PostHog-Request-Id"))) == 1
    assert header(sink, "PostHog-Attempt") == ["1", "2", "3"]


def test_two_equal_uuids_come_apart_and_both_arrive(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(3)
    relay.made = 1  # the next begin with the second again
    relay.add(3)

    relay.lane(sink, clock, protocol="v1").run()

    numbers = [row.uuid for request in sink.requests for row in request.rows]
    assert numbers == [uuid(n) for n in (0, 1, 2, 1, 2, 3)]
    assert relay.totals().delivered == 6


def test_a_guilty_event_is_found_by_halves_here_too(
    relay: Relay, clock: LaneClock
) -> None:
    sent = relay.add(100)
    with Sink(refuses=lambda event: event["uuid"] == sent[42], clock=clock) as sink:
        relay.lane(sink, clock, protocol="v1").run()

        assert len(rows(sink)) == 99
        assert sink.counts.requests <= 1 + 14
        ids = header(sink, "PostHog-Request-Id")
        assert len(set(ids)) == len(ids), "each half is a batch of its own"
    assert [letter[0] for letter in relay.letters()] == [sent[42]]


def test_a_service_that_drops_everything_is_held_after_twenty(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    """As for a project over its quota: an import of a million is not buried."""
    relay.add(100)
    over = Fault.results(Ruling("drop", "billing_limit_exceeded"))
    sink.follow(Script().then_always(over))
    lane = relay.lane(sink, clock, protocol="v1")
    clock.meanwhile = [lambda: None, lambda: None, lambda: sink.follow(Script())]

    lane.run()

    totals = relay.totals()
    assert (totals.dead, totals.delivered) == (MOST_IN_A_ROW, 80)
    assert clock.waits[1:3] == [300.0, 300.0]


def test_a_413_is_learnt_from(relay: Relay, clock: LaneClock) -> None:
    sent = relay.add(200)
    with Sink(limits=Limits(v1_wire_bytes=6000), clock=clock) as sink:
        lane = relay.lane(sink, clock, protocol="v1", compression="none")
        lane.run()

        assert [row.uuid for row in rows(sink)] == sent
    assert relay.settled().learnt_bytes > 0


def test_an_import_says_so_here_too(relay: Relay, sink: Sink, clock: LaneClock) -> None:
    relay.add(2)
    relay.add(2, historical=True)

    relay.lane(sink, clock, protocol="v1").run()

    assert [row.historical for row in rows(sink)] == [False, False, True, True]


def test_requests_of_an_outage_keep_their_distance(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    relay.add(2)
    sink.follow(Script().then(*[BUSY] * 8))

    relay.lane(sink, clock, protocol="v1").run()

    times = [request.at for request in sink.requests]
    assert all(after - before >= 0.099 for before, after in pairwise(times))


# The same event by both protocols is the same row.

EVENTS: list[dict[str, Any]] = [
    {"properties": {"price": 1.5}},
    {"properties": {"$set": {"a": 1, "b": 1}}, "$set": {"b": 2}, "$set_once": {"c": 1}},
    {"event": "$set", "$set": {"email": "x"}, "properties": {}},
    {"properties": {"$process_person_profile": False, "$session_id": "s"}},
    {"properties": {"$ignore_sent_at": True, "$window_id": "w"}},
    {"properties": {"$cookieless_mode": True, "$product_tour_id": "t"}},
    {"properties": {"$process_person_profile": "no", "$session_id": 5}},
    {"properties": {"$lib": "posthog-php", "$lib_version": "4.6.1"}},
    {"$set": None, "options": 7, "session_id": ["s"], "properties": {}},
    {"event": "$create_alias", "properties": {"distinct_id": "a", "alias": "b"}},
]


@pytest.mark.parametrize("given", EVENTS, ids=range(len(EVENTS)))
def test_the_same_event_by_either_protocol_is_the_same_row(
    relay: Relay, sink: Sink, given: dict[str, Any]
) -> None:
    base = {
        "event": "e",
        "distinct_id": "u",
        "uuid": uuid(1),
        "timestamp": "2026-03-01T12:00:00Z",
    }
    found: dict[str, Row] = {}
    for protocol in ("batch", "v1"):
        relay.submit(Chunk("default", 1, json.dumps(base | given).encode()))
        relay.lane(sink, LaneClock(), protocol=protocol).run()
        (found[protocol],) = sink.requests[-1].rows

    assert found["batch"].key == found["v1"].key
    assert found["batch"].timestamp == found["v1"].timestamp
    assert found["batch"].properties == found["v1"].properties


def test_what_is_settled_of_a_first_chunk_does_not_begin_the_batch_anew(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    first, second = relay.add(3), relay.add(3)
    again = Ruling("retry", uuids=frozenset({second[0]}))
    sink.follow(Script().then(Fault.results(again)))
    clock.meanwhile = [lambda: None, relay.settled]

    relay.lane(sink, clock, protocol="v1").run()

    assert sent_uuids(sink) == [[*first, *second], [second[0]]]
    one, other = header(sink, "PostHog-Request-Id")
    assert one == other
    assert header(sink, "PostHog-Attempt") == ["1", "2"]


def test_the_last_event_of_a_batch_is_refused_and_nothing_is_sent_again(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    sent = relay.add(4)
    again = Fault.results(Ruling("retry", uuids=frozenset({sent[1]})))
    sink.follow(Script().then(again).then(Fault.answer(400, "no")))

    relay.lane(sink, clock, protocol="v1").run()

    assert sent_uuids(sink)[:1] == [sent]
    assert len(sink.requests) == 2
    totals = relay.totals()
    assert (totals.delivered, totals.dead, totals.backlog_events) == (3, 1, 0)


def test_what_is_wanted_again_and_refused_as_a_whole_is_divided_alone(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    """1. Of eight four are taken. 2. The others are too large a request."""
    sent = relay.add(8)
    wanted = sent[1::2]
    again = Fault.results(Ruling("retry", uuids=frozenset(wanted)))
    sink.follow(Script().then(again).then(Fault.answer(413, "no")))

    relay.lane(sink, clock, protocol="v1").run()

    assert sent_uuids(sink) == [sent, wanted, wanted[:2], wanted[2:]]
    ids = header(sink, "PostHog-Request-Id")
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3, "each half is a batch of its own"
    totals = relay.totals()
    assert (totals.delivered, totals.dead) == (8, 0)


def test_a_bad_event_among_those_that_are_wanted_again_is_found(
    relay: Relay, clock: LaneClock
) -> None:
    sent = relay.add(16)
    bad = {"none yet"}
    again = Fault.results(Ruling("retry", every=2))

    def go_bad(_: object) -> None:
        bad.add(sent[9])

    with Sink(
        refuses=lambda event: event["uuid"] in bad,
        script=Script().then(again),
        clock=clock,
        on_request=go_bad,
    ) as sink:
        relay.lane(sink, clock, protocol="v1").run()

        assert len(sink.requests[1].events) == 8
        assert sink.counts.duplicates == 0
        assert {row.uuid for row in rows(sink)} == {*sent} - {sent[9]}
    assert [letter[0] for letter in relay.letters()] == [sent[9]]
    assert relay.totals().delivered == 15


@pytest.mark.parametrize("word", ["retry", None])
def test_an_event_that_is_not_decided_for_long_waits_and_is_not_given_up(
    relay: Relay, sink: Sink, clock: LaneClock, word: str | None
) -> None:
    sent = relay.add(4)
    again = Fault.results(Ruling(word, uuids=frozenset({sent[1]})))
    sink.follow(Script().then(*[again] * 40))

    relay.lane(sink, clock, protocol="v1").run()

    assert relay.letters() == []
    assert relay.totals().delivered == 4
    assert (
        len({request.headers["posthog-request-id"] for request in sink.requests}) == 1
    )


def test_an_event_that_is_not_decided_is_given_up_where_that_is_configured(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    sent = relay.add(4)
    again = Fault.results(Ruling("retry", uuids=frozenset({sent[1]})))
    sink.follow(Script().then(*[again] * 40))

    relay.lane(sink, clock, protocol="v1", max_attempts=5).run()

    ((buried, status, reason, *_),) = relay.letters()
    assert (buried, status) == (sent[1], 200)
    assert reason.startswith("given up after 5 attempts (retry.max_attempts)")
    totals = relay.totals()
    assert (totals.delivered, totals.dead, totals.backlog_events) == (3, 1, 0)


def test_an_answer_that_took_events_is_no_upstream_that_refuses_everything(
    relay: Relay, sink: Sink, clock: LaneClock
) -> None:
    sent = relay.add(100)
    dropped = frozenset(sent[: MOST_IN_A_ROW + 5])
    sink.follow(Script().then(Fault.results(Ruling("drop", uuids=dropped))))

    relay.lane(sink, clock, protocol="v1").run()

    totals = relay.totals()
    assert (totals.delivered, totals.dead) == (75, MOST_IN_A_ROW + 5)
    assert len(sink.requests) == 1
