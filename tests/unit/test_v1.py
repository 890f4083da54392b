import json
from typing import Any
from uuid import UUID

import pytest

from leanbase_relay.forward.sending import Settled
from leanbase_relay.forward.v1 import MOST_ASKED, V1Sending, as_v1
from leanbase_relay.forward.verdict import Answer, Judgement, Verdict
from leanbase_relay.store.totals import Position
from tests.support.batch import batch_of

NOW = 1_800_000_000.25


def uuid(number: int) -> str:
    return f"01890a5d-ac96-774b-bcce-{number:012x}"


def event(number: int = 0, **members: Any) -> bytes:
    return json.dumps(
        {
            "event": "e",
            "distinct_id": "u",
            "uuid": uuid(number),
            "timestamp": "2026-03-01T12:00:00Z",
            "properties": {},
        }
        | members
    ).encode()


def sending(*events: bytes, historical: bool = False) -> V1Sending:
    return V1Sending(batch_of(*events, historical=historical), created_at=NOW)


def of(count: int) -> V1Sending:
    return sending(*(event(number) for number in range(count)))


def says(*words: str | None, retry_after: str | None = None) -> Answer:
    """An answer with a word for each event; None leaves an event out."""
    results = {
        uuid(number): {"result": word.split()[0], "details": word.partition(" ")[2]}
        for number, word in enumerate(words)
        if word is not None
    }
    body = json.dumps({"results": results}).encode()
    return Answer(200, body, retry_after=retry_after)


def asked(one: V1Sending, answer: Answer) -> Judgement:
    """The judgement of an attempt that was answered so."""
    one.request(key="phc_test", now=NOW)
    return one.judge(answer, now=NOW)


def uuids_sent(one: V1Sending) -> list[int]:
    body = json.loads(one.request(key="k", now=NOW).body)
    return [int(sent["uuid"][-12:], 16) for sent in body["batch"]]


def parts(one: V1Sending) -> list[tuple[Position, str | None]]:
    return [
        (part.end, part.judgement.reason if part.judgement else None)
        for part in one.settled()
    ]


# Requests.


def test_a_request_has_all_its_headers_and_no_key_in_the_body() -> None:
    one = of(2)

    request = one.request(key="phc_secret", now=NOW + 60)

    assert request.path == "/i/v1/analytics/events"
    headers = dict(request.headers)
    assert str(UUID(headers.pop("PostHog-Request-Id")))
    assert headers == {
        "Authorization": "Bearer phc_secret",
        "PostHog-Sdk-Info": "leanbase-relay",
        "PostHog-Attempt": "1",
        "PostHog-Request-Timestamp": "2027-01-15T08:01:00.250Z",
    }
    body = json.loads(request.body)
    assert body.keys() == {"created_at", "batch"}
    assert body["created_at"] == "2027-01-15T08:00:00.250Z"
    assert b"phc_secret" not in request.body


def test_attempts_of_a_batch_share_its_id_and_differ_in_number_and_time() -> None:
    one = of(1)

    first = one.request(key="k", now=NOW)
    second = one.request(key="k", now=NOW + 5)

    assert first.headers["PostHog-Request-Id"] == second.headers["PostHog-Request-Id"]
    assert second.headers["PostHog-Attempt"] == "2"
    assert second.headers["PostHog-Request-Timestamp"] == "2027-01-15T08:00:05.250Z"
    assert first.body == second.body
    other = of(1).request(key="k", now=NOW)
    assert other.headers["PostHog-Request-Id"] != first.headers["PostHog-Request-Id"]


def test_an_import_says_so() -> None:
    request = sending(event(), historical=True).request(key="k", now=NOW)

    assert json.loads(request.body)["historical_migration"] is True


# Results.


@pytest.mark.parametrize("word", ["ok", "warning", "limited", "novelty"])
def test_any_word_but_two_is_a_yes(word: str) -> None:
    one = of(2)

    assert asked(one, says(word, "ok")).verdict is Verdict.DELIVERED
    assert list(one.settled()) == [Settled(Position(2, 0))]
    assert list(one.settled()) == []


def test_a_dropped_event_is_refused_with_the_details() -> None:
    one = of(4)

    assert asked(one, says("ok", "drop event_too_big", "ok", "ok")).verdict is (
        Verdict.DELIVERED
    )

    (first, dropped, rest) = one.settled()
    assert (first.end, rest.end) == (Position(1, 1), Position(2, 0))
    assert dropped.refused is not None
    assert dropped.refused.event_bytes == event(1)
    assert dropped.judgement == Judgement(
        Verdict.REFUSED, "answered 200, drop (event_too_big)", 200
    )


@pytest.mark.parametrize("word", ["retry", None])
def test_only_what_is_wanted_again_goes_again(word: str | None) -> None:
    one = of(4)

    judgement = asked(one, says("ok", word, "ok", word, retry_after="1"))

    assert judgement.verdict is Verdict.LATER
    assert judgement.not_before_seconds == 1
    assert parts(one) == [(Position(1, 1), None)], "order: the rest waits"
    assert uuids_sent(one) == [1, 3]
    assert one.judge(says(None, "ok", None, "drop x"), now=NOW).verdict is (
        Verdict.DELIVERED
    )
    assert parts(one) == [
        (Position(1, 3), None),
        (Position(2, 0), "answered 200, drop (x)"),
    ]


def test_a_result_for_a_uuid_in_another_spelling_counts() -> None:
    one = sending(event(uuid=uuid(0).upper()), event(uuid=f"urn:uuid:{uuid(1)}"))

    assert asked(one, says("ok", "ok")).verdict is Verdict.DELIVERED


def test_who_stops_taking_can_have_the_rest_sent_again() -> None:
    one = of(3)
    asked(one, says("ok", "drop a", "drop b"))
    taken = []
    for part in one.settled():
        if part.refused is not None:
            break
        taken.append(part.end)

    one.reopen()

    assert taken == [Position(1, 1)]
    assert uuids_sent(one) == [1, 2]
    assert one.judge(says(None, "ok", "ok"), now=NOW).verdict is Verdict.DELIVERED
    assert parts(one) == [(Position(2, 0), None)]


def test_what_is_given_up_is_refused_and_what_was_taken_is_not() -> None:
    one = of(3)
    judgement = asked(one, says("ok", "retry", "ok"))

    one.give_up(judgement)

    assert parts(one) == [
        (Position(1, 1), None),
        (Position(1, 2), "wants 1 of the events again"),
        (Position(2, 0), None),
    ]


def test_what_is_divided_is_only_what_is_undecided_and_each_half_knows_the_rest() -> (
    None
):
    """1. Of six events one is taken, one dropped, four are wanted again.
    2. The four are refused as a whole. 3. Each half sends two, and settles in order.
    """
    one = of(6)
    asked(one, says("ok", "retry", "drop x", "retry", "retry", "retry"))
    assert parts(one) == [(Position(1, 1), None)]
    assert asked(one, Answer(400, b"no")).verdict is Verdict.REFUSED

    first, second = one.halves()

    assert (first.undecided, second.undecided) == (2, 2)
    assert uuids_sent(first) == [1, 3]
    assert uuids_sent(second) == [4, 5]
    assert first.size == len(event(1)) + 1 + len(event(3))
    first.judge(says(None, "ok", None, "ok"), now=NOW)
    assert parts(first) == [
        (Position(1, 2), None),
        (Position(1, 3), "answered 200, drop (x)"),
        (Position(1, 4), None),
    ]
    second.judge(says(None, None, None, None, "ok", "ok"), now=NOW)
    assert parts(second) == [(Position(2, 0), None)]
    created = {
        json.loads(half.request(key="k", now=NOW).body)["created_at"]
        for half in (one, first, second)
    }
    assert len(created) == 1


def test_the_size_is_that_of_the_last_request() -> None:
    one = of(3)
    whole = one.size

    asked(one, says("ok", "retry", "ok"))

    assert (whole, one.size) == (one.batch.size, one.batch.size)
    one.request(key="k", now=NOW)
    assert one.size == len(event(1))


@pytest.mark.parametrize(
    "odd", ["7", '{"result":7}', '{"details":"d"}', "null", '"ok"', "[1]"]
)
def test_an_odd_member_hides_no_other(odd: str) -> None:
    one = of(3)
    body = '{"results":{"%s":%s,"%s":{"result":"ok","details":{"a":1}},"x":[]}}'

    judgement = asked(one, Answer(200, (body % (uuid(0), odd, uuid(1))).encode()))

    assert judgement.verdict is Verdict.LATER
    assert uuids_sent(one) == [0, 2]


def test_an_answer_with_nothing_but_odd_members_is_not_this_protocol() -> None:
    one = of(2)
    body = json.dumps({"results": {uuid(0): "ok", uuid(1): "ok"}}).encode()

    assert asked(one, Answer(200, body)).verdict is Verdict.HELD
    assert one.undecided == 2


def test_an_event_that_is_wanted_again_and_again_is_for_the_operator() -> None:
    """While a 503 between two answers counts for nothing: nobody looked at it."""
    one = of(3)
    for _ in range(MOST_ASKED - 1):
        assert asked(one, says("retry", "ok", None)).verdict is Verdict.LATER
        assert asked(one, Answer(503)).verdict is Verdict.LATER

    judgement = asked(one, says("retry", "ok", None))

    assert judgement.verdict is Verdict.HELD
    assert "wants 2 of the events again, for the 20th time" in judgement.reason
    assert "retry.max_attempts" in judgement.reason
    assert list(one.settled()) == []
    assert asked(one, says("ok", "ok", "ok")).verdict is Verdict.DELIVERED
    assert parts(one) == [(Position(2, 0), None)]


@pytest.mark.parametrize("status", [404, 405])
def test_an_upstream_without_v1_is_held_and_the_other_protocol_proposed(
    status: int,
) -> None:
    judgement = asked(of(2), Answer(status, b"not found"))

    assert judgement.verdict is Verdict.HELD
    assert "set upstream.protocol: batch" in judgement.reason


@pytest.mark.parametrize("body", [b'{"status":"Ok"}', b'{"results":[]}', b"", b"<p>"])
def test_a_yes_without_results_delivers_nothing(body: bytes) -> None:
    one = of(2)

    assert asked(one, Answer(200, body)).verdict is Verdict.HELD
    assert list(one.settled()) == []


def test_headers_that_went_missing_are_no_fault_of_the_events() -> None:
    body = json.dumps({"error": "missing_required_headers"}).encode()

    assert asked(of(1), Answer(400, body)).verdict is Verdict.HELD
    assert asked(of(1), Answer(400, b'{"error":"x"}')).verdict is Verdict.REFUSED


# Members.


def v1(**members: Any) -> dict[str, Any]:
    (made,) = as_v1([event(**members)])
    value: dict[str, Any] = json.loads(made)
    return value


def test_an_event_with_nothing_to_move_keeps_its_bytes() -> None:
    plain = event(properties={"price": 1.10, "set": 1})

    assert as_v1([plain]) == [plain]


def test_person_members_go_into_the_properties_over_what_is_there() -> None:
    made = v1(
        properties={"$set": {"a": 1, "b": 1}, "price": 2},
        **{"$set": {"b": 2}, "$set_once": {"c": 3}},
    )

    assert "$set" not in made
    assert made["properties"] == {
        "$set": {"a": 1, "b": 2},
        "$set_once": {"c": 3},
        "price": 2,
    }


@pytest.mark.parametrize("nothing", [None, {}])
def test_person_members_without_anything_change_nothing(nothing: object) -> None:
    made = v1(properties={"$set": {"a": 1}}, **{"$set": nothing})

    assert made["properties"] == {"$set": {"a": 1}}


def test_what_v1_reads_beside_the_properties_is_copied_there() -> None:
    properties = {
        "$process_person_profile": False,
        "$ignore_sent_at": True,
        "$cookieless_mode": False,
        "$product_tour_id": "t",
        "$session_id": "s",
        "$window_id": "w",
    }

    made = v1(properties=properties)

    assert made["properties"] == properties
    assert (made["session_id"], made["window_id"]) == ("s", "w")
    assert made["options"] == {
        "process_person_profile": False,
        "disable_skew_correction": True,
        "cookieless_mode": False,
        "product_tour_id": "t",
    }


def test_a_value_of_the_wrong_type_is_not_copied() -> None:
    """v1 would refuse the whole request for it."""
    made = v1(
        properties={"$process_person_profile": "no", "$session_id": 5},
        options=7,
        session_id=["s"],
    )

    assert not made.keys() & {"options", "session_id", "window_id"}


def test_a_name_that_is_spelled_with_escapes_is_the_same_name() -> None:
    members: dict[str, Any] = {"$set": {"a": 1}}
    spelled = event(**members).replace(b'"$set"', rb'"\u0024set"')

    (made,) = as_v1([spelled])

    assert json.loads(made)["properties"] == {"$set": {"a": 1}}


def test_the_values_keep_their_spelling() -> None:
    spelled = event().replace(
        b'"properties": {}', b'"$set":{"a":1.10},"properties":{"b": 1E2}'
    )

    (made,) = as_v1([spelled])

    assert b'"b":1E2' in made
    assert b'{"a":1.10}' in made
