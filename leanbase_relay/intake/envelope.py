"""Envelopes: where the events of a request are, and which key it speaks with. Pure.

The upstream tries four forms in order, array, batch, one, engage, and takes the first
that fits with all that is in it. Here an event that is not as it should be spoils
nothing but itself: the form is found by what is around the events.

The events stay as they are spelled.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from leanbase_relay.intake import line, pieces
from leanbase_relay.intake.answer import Declined, TooMuch
from leanbase_relay.splice import members_of, object_of

MAX_PIECES = 50_000
"""Events of a request, or members of an object: of the smallest, a body has room for
so many that their mere list would fill the memory."""

_QUICK_COMMAS = 250_000  # as many pieces at most: a list of a few megabytes
_KEYS = ("token", "$token", "api_key")  # of an event: one field in three spellings
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Envelope:
    """The events of a request.

    Attributes:
        events: at least one, as they are spelled.
        key: the project's.
        historical: whether they are an import.
    """

    events: Sequence[bytes]
    key: str
    historical: bool = False


_Parts_co = TypeVar("_Parts_co", covariant=True)


class _Batch(Struct, gc=False):
    """The form of every server's SDK, with all of it in order."""

    batch: list[Raw]
    api_key: str | UnsetType = UNSET
    token: str | UnsetType = UNSET
    sent_at: str | UnsetType | None = UNSET
    historical_migration: bool | UnsetType | None = UNSET


_batch = msgspec.json.Decoder(_Batch).decode
_list = msgspec.json.Decoder(list[Raw]).decode
_text = msgspec.json.Decoder(str).decode


def opened(text: bytes, *, nameless_allowed: bool, max_events: int) -> Envelope:
    """Find the events of a request of protocol v0.

    Args:
        text: the body, unwrapped.
        nameless_allowed: an object without `event` is `$identify`.
        max_events: how many there may be.

    Raises:
        Declined: no form fits, there is no event in it or too many, or not one key.
    """
    text = text.strip()
    if text.startswith(b"["):
        events = elements(text)
        check_count(events, max_events)
        return Envelope(events, _one_key(events))
    if not text.startswith(b"{"):
        raise _unparsed("it is neither an object nor a list")
    found = _quick_batch(text)
    if found is None:
        found = _object(text, nameless_allowed=nameless_allowed)
    check_count(found.events, max_events)
    return found


def check_count(events: Sequence[bytes], at_most: int) -> None:
    """See that there are events, and not too many.

    Raises:
        Declined: there are not.
    """
    if not events:
        raise Declined(400, "request holds no event", tag="empty_batch")
    if len(events) > at_most:
        raise TooMuch(f"more than {at_most} events in a request")


def _quick_batch(text: bytes) -> Envelope | None:
    """A batch with all of it in order."""
    if text.count(b",") > _QUICK_COMMAS:
        return None
    try:
        batch = _batch(text)
    except _UNREADABLE:
        return None
    if (batch.api_key is UNSET) == (batch.token is UNSET):
        return None
    key = batch.token if batch.api_key is UNSET else batch.api_key
    assert key is not UNSET, "one of them is there"
    return Envelope(batch.batch, key, batch.historical_migration is True)


def elements(text: bytes) -> Sequence[bytes]:
    """The elements of an array's text, broken ones too.

    Raises:
        Declined: it cannot be taken apart.
    """
    return _taken_apart(text, _quick_elements, pieces.elements)


def members(text: bytes) -> Mapping[str, bytes]:
    """The members of an object's text, broken ones too.

    Raises:
        Declined: it cannot be taken apart.
    """
    return _taken_apart(text, members_of, pieces.members)


def text_of(value: bytes) -> str | None:
    """The text that a value is; None if it is something else."""
    try:
        return _text(value)
    except _UNREADABLE:
        return None


def _quick_elements(text: bytes) -> list[bytes]:
    return [bytes(element) for element in _list(text)]


def _object(text: bytes, *, nameless_allowed: bool) -> Envelope:
    """A batch that is spelled unusually, or one event."""
    given = members(text)
    if given.get("batch", b"")[:1] == b"[" and "event" not in given:
        return _unusual_batch(given)
    if given.get("event", b"")[:1] != b'"' and nameless_allowed:
        given = {**given, "event": b'"$identify"'}
        text = object_of(given)
    elif "event" not in given:
        raise _nameless(given)
    return Envelope([text], _one_key([text]))


def _unusual_batch(given: Mapping[str, bytes]) -> Envelope:
    """A batch with a broken event in it, or with something that is to be named."""
    keys = [name for name in ("api_key", "token") if name in given]
    if len(keys) != 1:
        raise _unparsed("api_key: missing" if not keys else "token: beside api_key")
    key = text_of(given[keys[0]])
    if key is None:
        raise _unparsed(f"{keys[0]}: must be a string")
    if given.get("sent_at", b"null")[:1] not in (b'"', b"n"):
        raise _unparsed("sent_at: must be a string")
    historical = given.get("historical_migration", b"null")
    if historical not in (b"true", b"false", b"null"):
        raise _unparsed("historical_migration: must be a boolean")
    return Envelope(elements(given["batch"]), key, historical == b"true")


def _one_key(events: Sequence[bytes]) -> str:
    """The key that events bring with them, one for all.

    Raises:
        Declined: they bring none, or several.
    """
    keys: set[str] = set()
    for event in events:
        keys |= _key_of(event)
    if len(keys) > 1:
        raise Declined(401, "batch submitted with inconsistent api_key values")
    if not keys:
        for event in events:
            _check_form(event)
        raise Declined(401, "event submitted without an api_key")
    return keys.pop()


def _key_of(event: bytes) -> set[str]:
    given = _members_if_any(event)
    for name in _KEYS:
        key = text_of(given.get(name, b""))
        if key is not None:
            return {key.strip()}
    key = text_of(_members_if_any(given.get("properties", b"")).get("token", b""))
    return set() if key is None else {key.strip()}


def _members_if_any(text: bytes) -> Mapping[str, bytes]:
    try:
        return members(text) if text[:1] == b"{" else {}
    except Declined:
        return {}


def _check_form(event: bytes) -> None:
    """What is wrong with an event comes before what is wrong with its key."""
    try:
        given = line.parse(event)
    except line.Refused as no:
        raise _unparsed(str(no)) from None
    for name in _KEYS:
        if given.get(name, b"null") != b"null":
            raise _unparsed(f"{name}: must be a string")
    if given.get("event", b"")[:1] != b'"':
        raise _nameless(given)


class _Patiently(Protocol[_Parts_co]):
    def __call__(self, text: bytes, *, at_most: int) -> _Parts_co: ...


def _taken_apart(
    text: bytes, quickly: Callable[[bytes], _Parts_co], patiently: _Patiently[_Parts_co]
) -> _Parts_co:
    if text.count(b",") <= _QUICK_COMMAS:
        try:
            return quickly(text)
        except _UNREADABLE:
            pass
    try:
        return patiently(text, at_most=MAX_PIECES)
    except pieces.TooMany:
        raise TooMuch(f"more than {MAX_PIECES} events or members") from None
    except pieces.Torn as torn:
        raise _unparsed(f"not JSON: {torn}") from None


def _nameless(given: Mapping[str, bytes]) -> Declined:
    what = "batch: must be a list" if "batch" in given else "event: missing"
    return Declined(400, f"failed to hydrate events from request: {what}")


def _unparsed(what: str) -> Declined:
    reason = f"failed to parse request: {what}"
    return Declined(400, reason, tag="request_parsing_error")
