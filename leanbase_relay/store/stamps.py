"""Stamps: timestamps that the relay made, and what becomes of them if the clock lied.

A machine without a battery for its clock may start in 1970 and learn the time when the
network comes. What apps stamp is theirs and is never touched. What the relay stamps in
the meantime can be put right, as long as the machine has not booted since: the clock
that counts from the boot cannot be set, so that the distance between the two tells by
how much the wall clock was moved. A stamp is put right at most once, before its first
attempt, and never again: the upstream tells duplicates by it. Pure.
"""

import json
from datetime import datetime, timedelta

import msgspec

from leanbase_relay.clock import Clock
from leanbase_relay.splice import members_of, object_of
from leanbase_relay.store.chunk import Stamped, join, split

LEAST_SHIFT_MS = 1000
"""What the wall clock must have been moved by. Clocks that drift, or that are slewed,
move both alike; only a clock that is set moves the one alone."""

_SAME_CLOCK_MS = 100  # two clocks are never read at quite the same time


def noted(stamped: Stamped, clock: Clock) -> str | None:
    """What a row keeps: which events, on which boot, how far the clocks were apart."""
    if not stamped:
        return None
    note = {"boot": clock.boot_id, "apart_ms": _apart_ms(clock), "events": stamped}
    return json.dumps(note, separators=(",", ":"))


def shift_ms(note: str | None, clock: Clock) -> int:
    """How far the wall clock was set since the stamps were made.

    Returns:
        Milliseconds to be added to them; 0 also when nobody can know any more.
    """
    if note is None:
        return 0
    kept = json.loads(note)
    # Where boots cannot be told apart (a unit that hides /proc/sys) it may be any.
    if not kept["boot"] or kept["boot"] != clock.boot_id:
        return 0
    shift = _apart_ms(clock) - int(kept["apart_ms"])
    return shift if abs(shift) >= LEAST_SHIFT_MS else 0


def events_of(note: str | None) -> Stamped:
    """Which events a note is about."""
    if note is None:
        return ()
    return tuple((first, count) for first, count in json.loads(note)["events"])


def are_by_one_clock(first: str | None, other: str | None) -> bool:
    """Whether one note can speak for the events of both rows."""
    if first is None or other is None:
        return first is other
    one, two = json.loads(first), json.loads(other)
    same_boot = one["boot"] == two["boot"]
    apart_ms: int = one["apart_ms"] - two["apart_ms"]
    return same_boot and abs(apart_ms) <= _SAME_CLOCK_MS


def renoted(note: str | None, stamped: Stamped) -> str | None:
    """The same note about these events."""
    if note is None:
        return None
    return json.dumps(json.loads(note) | {"events": stamped}, separators=(",", ":"))


def shifted(event_bytes: bytes, note: str, by_ms: int) -> bytes:
    """The events with the stamps of the relay, and only those, moved."""
    events = split(event_bytes)
    for first, count in json.loads(note)["events"]:
        for number in range(first, first + count):
            events[number] = _moved(events[number], by_ms)
    return join(events)


def _moved(event: bytes, by_ms: int) -> bytes:
    members = members_of(event)
    before = datetime.fromisoformat(msgspec.json.decode(members["timestamp"]))
    try:
        moment = before + timedelta(milliseconds=by_ms)
    except OverflowError:  # beyond the calendar: then the stamp is as good as any
        return event
    after = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    members["timestamp"] = msgspec.json.encode(after)
    return object_of(members)


def _apart_ms(clock: Clock) -> int:
    return round((clock.wall() - clock.since_boot()) * 1000)
