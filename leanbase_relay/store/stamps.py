"""Stamps: timestamps that the relay made, and what becomes of them if the clock lied.

A machine without a battery for its clock may start in 1970 and learn the time when the
network comes. What apps stamp is theirs and is never touched. What the relay stamps in
the meantime can be put right, as long as the machine has not booted since: the clock
that counts from the boot cannot be set, so that the distance between the two tells by
how much the wall clock was moved. A stamp is put right at most once, before its first
attempt, and never again: the upstream tells duplicates by it. Pure.
"""

from datetime import datetime, timedelta
from typing import Annotated

import msgspec

from leanbase_relay.clock import Clock, rfc_3339
from leanbase_relay.splice import members_of, object_of
from leanbase_relay.store.chunk import Damaged, Stamped, join, split

LEAST_SHIFT_MS = 1000
"""What the wall clock must have been moved by. Clocks that drift, or that are slewed,
move both alike; only a clock that is set moves the one alone."""

_Natural = Annotated[int, msgspec.Meta(ge=0)]

_SAME_CLOCK_MS = 100  # two clocks are never read at quite the same time


class _Note(msgspec.Struct, frozen=True):
    """What a row keeps of its stamps; no checksum is on it, so that it is doubted.

    Attributes:
        boot: which run of the machine.
        apart_ms: how far the clocks were apart.
        events: which events bear a stamp of the relay's.
    """

    boot: str
    apart_ms: int
    events: tuple[tuple[_Natural, _Natural], ...]


_read_note = msgspec.json.Decoder(_Note).decode


def noted(stamped: Stamped, clock: Clock) -> str | None:
    """What a row keeps: which events, on which boot, how far the clocks were apart."""
    if not stamped:
        return None
    return _written(_Note(clock.boot_id, _apart_ms(clock), stamped))


def shift_ms(note: str | None, clock: Clock) -> int:
    """How far the wall clock was set since the stamps were made.

    Returns:
        Milliseconds to be added to them; 0 also when nobody can know any more.
    """
    if note is None:
        return 0
    try:
        kept = _read(note)
    except Damaged:
        return 0
    # Where boots cannot be told apart (a unit that hides /proc/sys) it may be any.
    if not kept.boot or kept.boot != clock.boot_id:
        return 0
    shift = _apart_ms(clock) - kept.apart_ms
    return shift if abs(shift) >= LEAST_SHIFT_MS else 0


def events_of(note: str | None) -> Stamped:
    """Which events a note is about.

    Raises:
        Damaged: it cannot be read.
    """
    return () if note is None else _read(note).events


def are_by_one_clock(first: str | None, other: str | None) -> bool:
    """Whether one note can speak for the events of both rows."""
    if first is None or other is None:
        return first is other
    try:
        one, two = _read(first), _read(other)
    except Damaged:
        return False
    apart_ms = one.apart_ms - two.apart_ms
    return one.boot == two.boot and abs(apart_ms) <= _SAME_CLOCK_MS


def renoted(note: str | None, stamped: Stamped) -> str | None:
    """The same note about these events.

    Raises:
        Damaged: it cannot be read.
    """
    if note is None:
        return None
    kept = _read(note)
    return _written(_Note(kept.boot, kept.apart_ms, stamped))


def shifted(event_bytes: bytes, note: str, by_ms: int) -> bytes:
    """The events with the stamps of the relay, and only those, moved.

    Raises:
        Damaged: the note cannot be read, or is about other events.
    """
    events = split(event_bytes)
    for first, count in _read(note).events:
        if first + count > len(events):
            raise Damaged("its stamps are those of other events")
        for number in range(first, first + count):
            events[number] = _moved(events[number], by_ms)
    return join(events)


def _read(note: str) -> _Note:
    try:
        return _read_note(note)
    except (msgspec.DecodeError, TypeError) as error:
        raise Damaged("it is not known which stamps are the relay's") from error


def _written(note: _Note) -> str:
    return msgspec.json.encode(note).decode()


def _moved(event: bytes, by_ms: int) -> bytes:
    members = members_of(event)
    before = datetime.fromisoformat(msgspec.json.decode(members["timestamp"]))
    try:
        moment = before + timedelta(milliseconds=by_ms)
    except OverflowError:  # beyond the calendar: then the stamp is as good as any
        return event
    after = rfc_3339(moment.timestamp())
    members["timestamp"] = msgspec.json.encode(after)
    return object_of(members)


def _apart_ms(clock: Clock) -> int:
    return round((clock.wall() - clock.since_boot()) * 1000)
