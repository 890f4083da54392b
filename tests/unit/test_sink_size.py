import json
import random

import pytest

from leanbase_relay.sink.size import all_surely_fit, produced_bytes

GOOD = {"event": "e", "distinct_id": "u"}


def test_the_produced_size_is_that_of_the_event_as_a_json_string() -> None:
    event = {**GOOD, "properties": {"text": 'a "quoted" \\ é \n'}}
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    expected = len(json.dumps(text, ensure_ascii=False).encode())

    assert produced_bytes({**event, "unknown": "is not stored"}) == expected


def body_of(*events: object) -> bytes:
    return json.dumps({"batch": events}).encode()


def test_a_big_body_of_small_events_needs_no_measuring() -> None:
    body = body_of(*[GOOD] * 1000)

    assert all_surely_fit(body, 1000, 400)


@pytest.mark.parametrize("place", [0, 1, 49, 98, 99])
def test_one_big_event_is_never_taken_for_small(place: int) -> None:
    events = [{**GOOD, "properties": {"x": "y" * 10}} for _ in range(100)]
    events[place]["properties"] = {"x": "y" * 500}

    assert not all_surely_fit(body_of(*events), 100, 1000)


@pytest.mark.parametrize(
    "spelled",
    [
        b'{"batch":[{"\\u0065vent":"' + b"y" * 900 + b'"},{"event":"e","x":"event"}]}',
        b'{"batch":[{"event":"e","x":["event","' + b"y" * 900 + b'"]},{"event":"e"}]}',
    ],
)
def test_what_hides_its_borders_is_measured(spelled: bytes) -> None:
    assert not all_surely_fit(spelled, 2, 1000)


def test_one_event_cannot_lend_its_border_to_another() -> None:
    """The first hides its name, the second has two: as many as events, in all."""
    text = '\\"' * 150
    hidden = '{"\\u0065vent":"e"}'
    big = f'{{"x":"{text}","event":"e","y":"{text}","z":"event","w":"{text}"}}'
    body = f'{{"batch":[{hidden},{big}]}}'.encode()
    limit = 1500
    assert produced_bytes({**json.loads(big), "properties": text * 2}) > limit

    assert not all_surely_fit(body, 2, limit)


def test_what_surely_fits_does_fit() -> None:
    chance = random.Random(7)  # noqa: S311 - which events, not a secret
    for _ in range(300):
        events = [
            {**GOOD, "event": chance.choice("e\u00e9\\"), "properties": {"x": '"' * n}}
            for n in (chance.randrange(60) for _ in range(chance.randrange(1, 30)))
        ]
        body = json.dumps(events, ensure_ascii=False).encode()
        if all_surely_fit(body, len(events), 300):
            assert max(map(produced_bytes, events)) <= 300
