"""Decides about the events of a request, and what is stored of them. Pure.

The first bad event fails the whole request and nothing is stored; only an event
that is too big leaves its neighbours alone.
"""

from collections.abc import Iterable
from typing import Any
from uuid import UUID, uuid4

from leanbase_relay.sink.envelope import Envelope, Event
from leanbase_relay.sink.limits import Refusal
from leanbase_relay.sink.row import Row
from leanbase_relay.sink.stored_time import TimeRule
from leanbase_relay.sink.strict_json import compact

MAX_KEY_BYTES = 64
MAX_DISTINCT_ID_CHARACTERS = 200

_CANONICAL_CHARACTERS = 36


def without_performance_events(events: Iterable[Event]) -> tuple[Event, ...]:
    """The service takes these and forgets them before it looks any closer."""
    return tuple(event for event in events if event["event"] != "$performance_event")


def project_key(
    envelope: Envelope,
    events: tuple[Event, ...],
    *,
    known_keys: frozenset[str] | None,
) -> str:
    """The key that the request speaks for, or the service's 401."""
    key = envelope.api_key
    if key is None:
        key = _key_of_events(events)
    return checked_key(key, known_keys=known_keys)


def checked_key(key: str, *, known_keys: frozenset[str] | None) -> str:
    """The key without blanks around it, or the service's 401."""
    key = key.strip()
    if reason := _malformed(key):
        raise Refusal(401, f"API key is not valid: {reason}")
    if known_keys is not None and key not in known_keys:
        raise Refusal(401, "API key is not valid: unknown project API key")
    return key


def judge(
    events: tuple[Event, ...],
    *,
    api_key: str,
    historical: bool,
    time: TimeRule,
) -> list[Row]:
    """A row for each event, or the refusal that the first bad one earns for all."""
    return [
        Row(
            time.stored(event),
            event["event"],
            _accepted_id(event, number),
            canonical_uuid(event.get("uuid")),
            api_key,
            historical,
            event,
        )
        for number, event in enumerate(events)
    ]


def _key_of_events(events: tuple[Event, ...]) -> str:
    keys = {key for key in map(_key_of_event, events) if key is not None}
    if len(keys) > 1:
        raise Refusal(401, "batch submitted with inconsistent api_key values")
    if not keys:
        raise Refusal(401, "event submitted without an api_key")
    return keys.pop()


def _key_of_event(event: Event) -> str | None:
    for name in ("token", "$token", "api_key"):
        if isinstance(event.get(name), str):
            return str(event[name])
    inner = event.get("properties", {}).get("token")
    return inner if isinstance(inner, str) else None


def _malformed(key: str) -> str:
    """Which shape the key fails to have, in the service's words; empty if none."""
    shapes = {
        "empty": not key,
        "too_long": len(key.encode()) > MAX_KEY_BYTES,
        "not_ascii": not key.isascii(),
        "personal_api_key": key.startswith("phx_"),
        "null_byte": "\0" in key,
    }
    return next((reason for reason, applies in shapes.items() if applies), "")


def _accepted_id(event: Event, number: int) -> str:
    """The event's id as text, once name, id and cookieless mode are as they must be."""
    if not event["event"]:
        raise _bad(number, "event submitted with an empty event name")
    distinct_id = _distinct_id(event)
    if not distinct_id or distinct_id.isspace():
        raise _bad(number, "event submitted without a distinct_id")
    properties = event.get("properties")
    cookieless = properties.get("$cookieless_mode") if properties else None
    if cookieless is not None and not isinstance(cookieless, bool):
        raise _bad(number, "event submitted with invalid cookieless mode")
    return distinct_id


def _bad(number: int, text: str) -> Refusal:
    return Refusal(400, text, hint=f"event [{number}]")


def _distinct_id(event: Event) -> str:
    given: Any = event.get("distinct_id", event.get("$distinct_id"))
    if given is None:
        given = event.get("properties", {}).get("distinct_id", "")
    if given is None:
        return ""
    text = given if isinstance(given, str) else compact(given)
    return text.replace("\0", "\ufffd")[:MAX_DISTINCT_ID_CHARACTERS]


def canonical_uuid(given: str | None) -> str:
    """Hyphenated and in small letters; a new one where none is given.

    Of the four forms that a UUID has, and this is one, only the hyphenated is so long.
    """
    if given and len(given) == _CANONICAL_CHARACTERS and given == given.lower():
        return given
    return str(UUID(given)) if given else str(uuid4())
