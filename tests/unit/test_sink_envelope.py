import json
from typing import Any

import pytest

from leanbase_relay.sink.envelope import Envelope, read_envelope
from leanbase_relay.sink.limits import Refusal
from leanbase_relay.sink.strict_json import parse

GOOD: dict[str, Any] = {"event": "e", "distinct_id": "u"}
NO_FORM = "failed to parse request"
NAMELESS = "failed to hydrate events from request: non-engage request missing"


def read(text: str | bytes, *, nameless_allowed: bool = False) -> Envelope:
    raw = text.encode() if isinstance(text, str) else text
    return read_envelope(parse(raw), nameless_allowed=nameless_allowed)


def batch_of(*events: object, **members: object) -> str:
    return json.dumps({"api_key": "phc_test", "batch": events, **members})


def test_an_array_is_its_events() -> None:
    assert read(json.dumps([GOOD, GOOD])) == Envelope((GOOD, GOOD))


def test_a_batch_brings_what_holds_for_all_its_events() -> None:
    envelope = read(batch_of(GOOD, sent_at="now", historical_migration=True, other=1))

    assert envelope == Envelope((GOOD,), "phc_test", "now", historical_migration=True)


def test_a_batch_may_spell_its_key_token() -> None:
    assert read('{"token":"phc_test","batch":[]}').api_key == "phc_test"


def test_a_single_event_needs_no_envelope() -> None:
    assert read(json.dumps(GOOD)) == Envelope((GOOD,))


def test_an_event_with_a_member_named_batch_is_still_an_event() -> None:
    event = {**GOOD, "batch": [1]}

    assert read(json.dumps(event)).events == (event,)


def test_a_nameless_object_is_an_identify_where_it_is_allowed() -> None:
    envelope = read('{"distinct_id":"u"}', nameless_allowed=True)

    assert envelope.events == ({"distinct_id": "u", "event": "$identify"},)


@pytest.mark.parametrize(
    ("text", "answer", "hint"),
    [
        (batch_of(GOOD, {"event": 5}), NAMELESS, "batch[1]: event: not a string"),
        (batch_of({}), NAMELESS, "batch[0]: event: missing"),
        (batch_of(None), NAMELESS, "batch[0]: not an object"),
        (batch_of({**GOOD, "uuid": "x"}), NAMELESS, "batch[0]: uuid: not a UUID"),
        (batch_of(historical_migration="yes"), NAMELESS, "historical_migration: not"),
        ('{"batch":[]}', NAMELESS, "api_key: missing"),
        ('{"api_key":null,"batch":[]}', NAMELESS, "api_key: not a string"),
        ('{"api_key":"k","batch":{}}', NAMELESS, "batch: not a list"),
        ('{"api_key":"k","batch":[],"batch":[]}', NAMELESS, "batch: given twice"),
        ('{"api_key":"k","token":"k","batch":[]}', NO_FORM, "token: given twice"),
        ('[{"event":5}]', NO_FORM, "event[0]: event: not a string"),
        ('{"event":"e","timestamp":1}', NO_FORM, "timestamp: not a string"),
        ("1", NO_FORM, ""),
    ],
)
def test_what_fits_no_form_gets_the_services_misleading_answer_and_our_hint(
    text: str, answer: str, hint: str
) -> None:
    with pytest.raises(Refusal, match=f"^{answer}") as refused:
        read(text)

    assert refused.value.status == 400
    assert refused.value.hint.startswith(hint)
    assert bool(refused.value.hint) == bool(hint)


@pytest.mark.parametrize(
    "members",
    [
        '"properties":null',
        '"properties":[]',
        '"timestamp":1772366400',
        '"timestamp":true',
        '"uuid":" 01890a5d-ac96-774b-bcce-b302099a8057"',
        '"uuid":"{01890a5dac96774bbcceb302099a8057}"',
        '"uuid":5',
        '"offset":"60"',
        '"offset":60.0',
        '"offset":true',
        '"offset":9223372036854775808',
        '"$set":[]',
        '"$set_once":"x"',
        '"token":5',
        '"token":null,"api_key":"k"',
        '"$distinct_id":"v"',
        '"distinct_id":"v"',
        '"event":"again"',
        '"timestamp":null,"timestamp":null',
    ],
)
def test_a_mistyped_or_repeated_member_is_refused(members: str) -> None:
    with pytest.raises(Refusal):
        read('{"event":"e","distinct_id":"u",' + members + "}")


@pytest.mark.parametrize(
    "members",
    [
        '"properties":{"a":1,"a":2}',
        '"timestamp":null',
        '"timestamp":"any text"',
        '"uuid":null',
        '"uuid":""',
        '"uuid":"01890A5DAC96774BBCCEB302099A8057"',
        '"uuid":"{01890a5d-ac96-774b-bcce-b302099a8057}"',
        '"uuid":"urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057"',
        '"offset":-9223372036854775808',
        '"$set":null',
        '"unknown":1,"unknown":2',
    ],
)
def test_what_is_odd_but_well_typed_is_taken(members: str) -> None:
    assert read('{"event":"e","distinct_id":"u",' + members + "}").events
