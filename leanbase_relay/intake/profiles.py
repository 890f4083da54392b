"""Profiles: which events make persons upstream, as `events.person_profiles` wants.

An event with ``"$process_person_profile": false`` is anonymous there: no person is made
of it, and it is up to four times cheaper. The rules (docs/protocol.md, "Anonymous and
identified events"):

- ``as_sent``, ``always``: nothing is added; absent means identified.
- ``never``: anonymous, unless the event says otherwise with a boolean. What only speaks
  of persons is refused at intake: sent on, the upstream would eat it silently.
- ``identified_only``: the same, but an event stays identified if its id is known from
  an event that spoke of the person, or if it sets something on the person itself.

What was decided is written into the event and stays with it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from leanbase_relay.splice import members_of, object_of
from leanbase_relay.store.chunk import Chunk, join, split

PERSON_EVENTS = frozenset(
    {
        "$identify",
        "$set",
        "$set_once",
        "$create_alias",
        "$merge_dangerously",
        "$groupidentify",
    }
)

_MARK = b'"$process_person_profile":false'
_SAID = b"$process_person_profile"


class _Properties(Struct, gc=False):
    profile: Raw | UnsetType = field(default=UNSET, name="$process_person_profile")
    set: Raw | UnsetType = field(default=UNSET, name="$set")
    set_once: Raw | UnsetType = field(default=UNSET, name="$set_once")
    unset: Raw | UnsetType = field(default=UNSET, name="$unset")
    groups: Raw | UnsetType = field(default=UNSET, name="$groups")
    is_identified: Raw | UnsetType = field(default=UNSET, name="$is_identified")
    anon_distinct_id: Raw | UnsetType = field(default=UNSET, name="$anon_distinct_id")
    alias: Raw | UnsetType = UNSET


class _Event(Struct, gc=False):
    event: str
    distinct_id: str
    properties: _Properties = field(default_factory=_Properties)
    set: Raw | UnsetType = field(default=UNSET, name="$set")
    set_once: Raw | UnsetType = field(default=UNSET, name="$set_once")


_events = msgspec.json.Decoder(list[_Event]).decode
_text = msgspec.json.Decoder(str).decode


class KnownIds(Protocol):
    """The ids of persons that an event spoke of."""

    def among(self, project: str, ids: Iterable[str]) -> set[str]:
        """Which of these ids are known."""

    def learn(self, project: str, ids: Iterable[str]) -> tuple[int, ...]:
        """Know these too; returns what the store keeps of them."""


class NobodyKnown:
    """Where ids do not matter."""

    def among(self, project: str, ids: Iterable[str]) -> set[str]:  # noqa: ARG002
        return set()

    def learn(self, project: str, ids: Iterable[str]) -> tuple[int, ...]:  # noqa: ARG002
        return ()


class Profiles:
    """Applies one of the modes to chunks of accepted events."""

    def __init__(self, mode: str, known: KnownIds | None = None) -> None:
        self._decides = mode in ("never", "identified_only")
        self._learns = mode == "identified_only"
        self._known: KnownIds = known or NobodyKnown()
        self.refused = PERSON_EVENTS if mode == "never" else frozenset()
        """Names of events that this mode turns down."""

    def applied(self, chunk: Chunk) -> Chunk:
        """The chunk with its events marked, the anonymous ones counted."""
        if not self._decides and _SAID not in chunk.event_bytes:
            return chunk
        seen = _events(b"[%b]" % chunk.event_bytes)
        if not self._decides:
            return replace(chunk, anonymous=sum(map(_says_anonymous, seen)))
        known = self._known.among(chunk.project, {one.distinct_id for one in seen})
        ids: list[str] = []
        marked: list[int] = []
        for number, one in enumerate(seen):
            if self._learns and one.event in PERSON_EVENTS:
                named = _ids_of(one)
                known.update(named)
                ids += named
            elif not _says_something(one) and not (self._learns and _is_of(one, known)):
                marked.append(number)
        anonymous = len(marked) + sum(map(_says_anonymous, seen))
        return replace(
            chunk,
            event_bytes=_marked(chunk.event_bytes, marked),
            identified=self._known.learn(chunk.project, ids) if ids else (),
            anonymous=anonymous,
        )


def _says_anonymous(event: _Event) -> bool:
    return bytes(event.properties.profile or b"") == b"false"


def _says_something(event: _Event) -> bool:
    """Whether the event decides for itself; any other value counts as absent."""
    return bytes(event.properties.profile or b"") in (b"true", b"false")


def _is_of(event: _Event, known: set[str]) -> bool:
    """Whether an event is a known person's, or makes its person known."""
    given = event.properties
    return (
        event.distinct_id in known
        or any(
            _is_filled(value)
            for value in (event.set, event.set_once, given.set, given.set_once)
        )
        or _is_filled(given.unset)
        or _is_filled(given.groups)
        or bytes(given.is_identified or b"") == b"true"
    )


def _is_filled(value: Raw | UnsetType) -> bool:
    """Whether there is an object or a list with something in it."""
    text = bytes(value) if value is not UNSET else b""
    return text[:1] in (b"{", b"[") and bool(text[1:-1].strip())


def _ids_of(event: _Event) -> list[str]:
    """The ids that an event about a person names."""
    others = (event.properties.alias, event.properties.anon_distinct_id)
    given = [bytes(value) for value in others if value is not UNSET]
    return [event.distinct_id, *(_text(one) for one in given if one[:1] == b'"')]


def _marked(event_bytes: bytes, numbers: Sequence[int]) -> bytes:
    """The events with the mark at the end of the properties of these."""
    if not numbers:
        return event_bytes
    events = split(event_bytes)
    for number in numbers:
        events[number] = _marked_one(events[number])
    return join(events)


def _marked_one(event: bytes) -> bytes:
    members = members_of(event)
    inside = members.get("properties", b"{}")[1:-1]
    # Of a name given twice the upstream takes the last: here it is this one.
    members["properties"] = b"{%b%b%b}" % (inside, b"," * bool(inside.strip()), _MARK)
    return object_of(members)
