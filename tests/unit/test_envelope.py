"""Envelopes: which form a body has, where its events are, whose key it speaks with."""

import json
from dataclasses import replace
from typing import Any

import pytest

from leanbase_relay.intake.answer import Declined, TooMuch
from leanbase_relay.intake.envelope import Envelope, opened
from tests.support.http import batch, spelled


def envelope(body: Any, *, nameless_allowed: bool = False) -> Envelope:
    text = body if isinstance(body, bytes) else spelled(body)
    found = opened(text, nameless_allowed=nameless_allowed, max_events=3)
    return replace(found, events=[bytes(one) for one in found.events])


def reason(body: Any, *, nameless_allowed: bool = False) -> tuple[int, str]:
    with pytest.raises(Declined) as no:
        envelope(body, nameless_allowed=nameless_allowed)
    return no.value.status, str(no.value)


def test_a_batch_has_its_events_as_they_are_spelled() -> None:
    text = b'{"batch":[ {"a" :1.10} , {"b":2}],"api_key":"k","x":[{}]}'

    assert envelope(text) == Envelope([b'{"a" :1.10}', b'{"b":2}'], "k")


@pytest.mark.parametrize(
    ("said", "historical"), [(True, True), (False, False), (None, False)]
)
def test_it_says_whether_they_are_an_import(said: object, *, historical: bool) -> None:
    assert envelope(batch({}, historical_migration=said)).historical is historical
    broken = b'{"api_key":"k","historical_migration":%b,"batch":[NaN]}' % spelled(said)
    assert envelope(broken).historical is historical


def test_a_broken_event_does_not_hide_the_others() -> None:
    text = (
        b' {"api_key":"k","batch":[{"a":NaN},{"b":[{}]},{"c":"\xff"}],"sent_at":null} '
    )

    assert envelope(text).events == [b'{"a":NaN}', b'{"b":[{}]}', b'{"c":"\xff"}']


def test_an_object_with_a_name_is_one_event() -> None:
    one = {"event": "e", "token": " k ", "batch": 1}

    assert envelope(one) == Envelope([spelled(one)], "k")
    assert envelope({**one, "batch": [1]}).events == [b"1"]  # that form comes first


def test_a_broken_one_still_has_its_key() -> None:
    assert envelope(b'{"event":"e","api_key":"k","a":NaN}').key == "k"
    assert (
        envelope(b'{"event":"e","a":NaN,"properties":{"token":"k","b":NaN}}').key == "k"
    )


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"token": "a", "properties": {"token": "b"}}, "a"),
        ({"$token": "a"}, "a"),
        ({"api_key": "a"}, "a"),
        ({"api_key": None, "properties": {"token": "b"}}, "b"),
    ],
)
def test_the_key_is_looked_for_where_upstream_looks(
    given: dict[str, Any], key: str
) -> None:
    assert envelope({"event": "e", **given}).key == key
    assert envelope([{"event": "e", **given}, {"event": "f"}]).key == key


def test_a_nameless_object_is_an_identify_where_that_is_allowed() -> None:
    nameless = {"token": "k", "$distinct_id": "u", "event": None}

    found = envelope(nameless, nameless_allowed=True)

    assert json.loads(found.events[0]) == {**nameless, "event": "$identify"}
    assert reason({"token": "k"})[1].endswith("event: missing")


@pytest.mark.parametrize("text", [b"", b"7", b"null", b"\xef\xbb\xbf[]", b"data={}"])
def test_what_is_neither_object_nor_list_is_400(text: bytes) -> None:
    assert reason(text) == (
        400,
        "failed to parse request: it is neither an object nor a list",
    )


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ([], 400, "request holds no event"),
        ({"api_key": "k", "batch": []}, 400, "request holds no event"),
        ({"batch": [{}]}, 400, "api_key: missing"),
        ({"batch": [{}], "api_key": "a", "token": "b"}, 400, "token: beside api_key"),
        ({"batch": [{}], "api_key": None}, 400, "api_key: must be a string"),
        ({"batch": [{}], "token": 7}, 400, "token: must be a string"),
        ({"batch": {}, "api_key": "k"}, 400, "batch: must be a list"),
        (
            {"batch": [{}], "api_key": "k", "sent_at": 7},
            400,
            "sent_at: must be a string",
        ),
        ([{"event": "e"}], 401, "event submitted without an api_key"),
        ({"event": "e", "properties": []}, 401, "event submitted without an api_key"),
        ({"event": "e", "token": 7}, 400, "token: must be a string"),
        ([7], 400, "not a JSON object but a number"),
        ([{"a": 1}], 400, "event: missing"),
        (b'[{"event":"e","a":NaN}]', 400, "NaN is not a number"),
        (
            [{"event": "e", "token": "a"}, {"event": "e", "token": "b"}],
            401,
            "batch submitted with inconsistent api_key values",
        ),
        (b"[{}", 400, "not JSON: it ends too soon"),
        (b'{"batch":["]', 400, "not JSON: a string has no end"),
    ],
)
def test_what_is_wrong_around_the_events_is_named(
    body: Any, status: int, said: str
) -> None:
    found = reason(body)

    assert found[0] == status
    assert said in found[1]


@pytest.mark.parametrize("body", [batch({}, {}, {}, {}), [{"token": "k"}] * 4])
def test_there_are_no_more_events_than_there_may_be(body: Any) -> None:
    with pytest.raises(TooMuch, match="more than 3 events"):
        envelope(body)
