"""Finds the events in a parsed body: array, batch, one, engage, in that order. Pure.

The service tries one form after the other and takes the first that fits with all
its members. So a single mistyped event makes a batch no batch; what is left looks
like a nameless event, and the answer says so, misleadingly. The hint here says
what was really wrong.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from leanbase_relay.sink.limits import Refusal
from leanbase_relay.sink.strict_json import repeated_names

Event = dict[str, Any]

_NO_FORM = "failed to parse request: data did not match any variant of RawRequest"
_NAMELESS = (
    "failed to hydrate events from request: "
    "non-engage request missing event name attribute"
)

_HYPHENATED = r"[\da-fA-F]{8}(?:-[\da-fA-F]{4}){3}-[\da-fA-F]{12}"
_UUID = re.compile(
    rf"[\da-fA-F]{{32}}|{_HYPHENATED}|\{{{_HYPHENATED}\}}|urn:uuid:{_HYPHENATED}",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Envelope:
    """The events of one request, and what holds for all of them."""

    events: tuple[Event, ...]
    api_key: str | None = None  # of the batch form, which alone has one for all
    sent_at: str | None = None
    historical_migration: bool = False


def read_envelope(value: Any, *, nameless_allowed: bool) -> Envelope:
    """The first form that the value fits, or the service's 400."""
    complaints: list[str] = []
    for form in (_array, _batch, _one):
        try:
            return form(value)
        except _Unfit as unfit:
            complaints.append(str(unfit))
    hint = next(filter(None, complaints), "")
    if not isinstance(value, dict) or _complaint(value, _MEMBERS):
        raise Refusal(400, _NO_FORM, hint=hint)
    if not nameless_allowed:
        raise Refusal(400, _NAMELESS, hint=hint)
    return Envelope(({**value, "event": "$identify"},))


class _Unfit(Exception):
    """The value is not of this form; the text is empty where nobody would ask why."""


def _array(value: Any) -> Envelope:
    if not isinstance(value, list):
        raise _Unfit
    return Envelope(_events(value, "event"))


def _batch(value: Any) -> Envelope:
    if not isinstance(value, dict) or "batch" not in value:
        raise _Unfit
    if wrong := _complaint(value, _BATCH_MEMBERS):
        raise _Unfit(wrong)
    if "api_key" not in value and "token" not in value:
        raise _Unfit("api_key: missing")
    return Envelope(
        _events(value["batch"], "batch"),
        api_key=value.get("api_key", value.get("token")),
        sent_at=value.get("sent_at"),
        historical_migration=value.get("historical_migration") is True,
    )


def _one(value: Any) -> Envelope:
    if not isinstance(value, dict):
        raise _Unfit
    return Envelope(_events([value], ""))


def _events(values: list[Any], where: str) -> tuple[Event, ...]:
    for number, value in enumerate(values):
        if wrong := _event_complaint(value):
            raise _Unfit(f"{where}[{number}]: {wrong}" if where else wrong)
    return tuple(values)


def _event_complaint(value: Any) -> str:
    if not isinstance(value, dict):
        return "not an object"
    if not isinstance(value.get("event"), str):
        return "event: not a string" if "event" in value else "event: missing"
    if "event" in repeated_names(value):
        return "event: given twice"
    return _complaint(value, _MEMBERS)


def _complaint(value: Mapping[str, Any], members: Mapping[str, "_Member"]) -> str:
    """Why this object is not what its members should make it; empty if it is."""
    seen = set[str]()
    repeated = repeated_names(value) if isinstance(value, dict) else frozenset()
    for name, member in members.items():
        if name not in value:
            continue
        if not member.takes(value[name]):
            return f"{name}: not {member.wanted}"
        if member.slot in seen or name in repeated:
            return f"{name}: given twice"
        seen.add(member.slot)
    return ""


@dataclass(frozen=True, slots=True)
class _Member:
    slot: str  # spellings of one member share it, and only one of them may come
    takes: Callable[[Any], bool]
    wanted: str


def _is_text_or_null(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_object_or_null(value: Any) -> bool:
    return value is None or isinstance(value, dict)


def _is_uuid(value: Any) -> bool:
    if isinstance(value, str):
        return not value or _UUID.fullmatch(value) is not None
    return value is None


def _is_int64_or_null(value: Any) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return -(2**63) <= value < 2**63
    return value is None


def _is_bool_or_null(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _is_anything(_: Any) -> bool:
    return True


_MEMBERS: Mapping[str, _Member] = {
    "distinct_id": _Member("distinct_id", _is_anything, ""),
    "$distinct_id": _Member("distinct_id", _is_anything, ""),
    "properties": _Member(
        "properties", lambda value: isinstance(value, dict), "an object"
    ),
    "timestamp": _Member("timestamp", _is_text_or_null, "a string"),
    "uuid": _Member("uuid", _is_uuid, "a UUID"),
    "offset": _Member("offset", _is_int64_or_null, "a 64-bit integer"),
    "$set": _Member("$set", _is_object_or_null, "an object"),
    "$set_once": _Member("$set_once", _is_object_or_null, "an object"),
    "token": _Member("token", _is_text_or_null, "a string"),
    "$token": _Member("token", _is_text_or_null, "a string"),
    "api_key": _Member("token", _is_text_or_null, "a string"),
}

KNOWN_MEMBERS = frozenset(_MEMBERS) | {"event"}

_BATCH_MEMBERS: Mapping[str, _Member] = {
    "api_key": _Member("token", lambda value: isinstance(value, str), "a string"),
    "token": _Member("token", lambda value: isinstance(value, str), "a string"),
    "batch": _Member("batch", lambda value: isinstance(value, list), "a list"),
    "sent_at": _Member("sent_at", _is_text_or_null, "a string"),
    "historical_migration": _Member(
        "historical_migration", _is_bool_or_null, "a boolean"
    ),
}
