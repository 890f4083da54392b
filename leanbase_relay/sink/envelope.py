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
UUID_TEXT = re.compile(
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
    if _is_plainly_right(value):
        return ""
    if not isinstance(value, dict):
        return "not an object"
    if not isinstance(value.get("event"), str):
        return "event: not a string" if "event" in value else "event: missing"
    if "event" in repeated_names(value):
        return "event: given twice"
    return _complaint(value, _MEMBERS)


def _is_plainly_right(value: Any) -> bool:
    """Most events, by the same rules as below: no odd member, nothing given twice."""
    return (
        type(value) is dict
        and type(value.get("event")) is str
        and type(value.get("timestamp")) is str
        and type(value.get("properties")) is dict
        and _is_uuid(value.get("uuid"))
        and value.keys().isdisjoint(_RARE_MEMBERS)
    )


def _complaint(value: Event, members: Mapping[str, "Member"]) -> str:
    """Why this object is not what its members should make it; empty if it is."""
    for name, given in value.items():
        member = members.get(name)
        if member is not None and not member.takes(given):
            return f"{name}: not {member.wanted}"
    return _given_twice(value, members)


def _given_twice(value: Event, members: Mapping[str, "Member"]) -> str:
    """Which member is repeated, be it in another spelling."""
    for spellings in _SPELLINGS:
        given = [name for name in spellings if name in value and name in members]
        if len(given) > 1:
            return f"{given[1]}: given twice"
    return next(
        (f"{name}: given twice" for name in repeated_names(value) if name in members),
        "",
    )


@dataclass(frozen=True, slots=True)
class Member:
    """What a known member of an object may be."""

    takes: Callable[[Any], bool]
    wanted: str


def _is_text_or_null(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_object_or_null(value: Any) -> bool:
    return value is None or isinstance(value, dict)


def _is_uuid(value: Any) -> bool:
    if isinstance(value, str):
        return not value or UUID_TEXT.fullmatch(value) is not None
    return value is None


def _is_int64_or_null(value: Any) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return -(2**63) <= value < 2**63
    return value is None


def _is_bool_or_null(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _is_anything(_: Any) -> bool:
    return True


_TEXT = Member(lambda value: isinstance(value, str), "a string")
_TEXT_OR_NULL = Member(_is_text_or_null, "a string")
_OBJECT_OR_NULL = Member(_is_object_or_null, "an object")
_BOOL_OR_NULL = Member(_is_bool_or_null, "a boolean")
_ANYTHING = Member(_is_anything, "")

_MEMBERS: Mapping[str, Member] = {
    "distinct_id": _ANYTHING,
    "$distinct_id": _ANYTHING,
    "properties": Member(lambda value: isinstance(value, dict), "an object"),
    "timestamp": _TEXT_OR_NULL,
    "uuid": Member(_is_uuid, "a UUID"),
    "offset": Member(_is_int64_or_null, "a 64-bit integer"),
    "$set": _OBJECT_OR_NULL,
    "$set_once": _OBJECT_OR_NULL,
    "token": _TEXT_OR_NULL,
    "$token": _TEXT_OR_NULL,
    "api_key": _TEXT_OR_NULL,
}
_SPELLINGS = (("distinct_id", "$distinct_id"), ("api_key", "token", "$token"))

_RARE_MEMBERS = frozenset(_MEMBERS) - {"distinct_id", "properties", "timestamp", "uuid"}
KNOWN_MEMBERS = frozenset(_MEMBERS) | {"event"}

_BATCH_MEMBERS: Mapping[str, Member] = {
    "api_key": _TEXT,
    "token": _TEXT,
    "batch": Member(lambda value: isinstance(value, list), "a list"),
    "sent_at": _TEXT_OR_NULL,
    "historical_migration": _BOOL_OR_NULL,
}
