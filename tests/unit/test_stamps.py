import json

import pytest

from leanbase_relay.store import stamps
from leanbase_relay.store.chunk import Damaged
from tests.support.clock import FakeClock


def event(number: int, stamp: str) -> bytes:
    return b'{"n":%d,"timestamp":"%s"}' % (number, stamp.encode())


def test_without_stamps_nothing_is_noted(clock: FakeClock) -> None:
    assert stamps.noted((), clock) is None
    assert stamps.shift_ms(None, clock) == 0


def test_a_clock_that_is_set_is_noticed_however_long_after(clock: FakeClock) -> None:
    note = stamps.noted(((0, 1),), clock)
    clock.now += 10 * 86_400

    assert stamps.shift_ms(note, clock) == 0

    clock.wall_offset += 3_600.5
    assert stamps.shift_ms(note, clock) == 3_600_500
    clock.wall_offset -= 2 * 3_600.5
    assert stamps.shift_ms(note, clock) == -3_600_500


def test_a_small_correction_is_left_alone(clock: FakeClock) -> None:
    note = stamps.noted(((0, 1),), clock)
    clock.wall_offset += 0.9

    assert stamps.shift_ms(note, clock) == 0


def test_boots_that_cannot_be_told_apart_are_not_taken_for_one(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A unit with ProcSubset=pid hides the boot id; each boot moved all stamps."""
    monkeypatch.setattr(FakeClock, "boot_id", "")
    note = stamps.noted(((0, 1),), clock)
    clock.wall_offset += 86_400  # as a boot looks to the other clock

    assert stamps.shift_ms(note, clock) == 0


def test_nobody_knows_what_another_boot_was_like(clock: FakeClock) -> None:
    note = stamps.noted(((0, 1),), clock)
    assert note is not None
    clock.wall_offset += 3_600

    other = note.replace(clock.boot_id, "0f1e2d3c-0000-4000-8000-000000000000")
    assert stamps.shift_ms(other, clock) == 0


def test_only_the_stamps_of_the_relay_are_moved(clock: FakeClock) -> None:
    note = stamps.noted(((1, 2),), clock)
    assert note is not None
    stamp = "1970-01-01T00:00:05.000Z"
    event_bytes = b",".join(event(number, stamp) for number in range(4))

    moved = stamps.shifted(event_bytes, note, 86_400_000)

    assert [one["timestamp"] for one in json.loads(b"[%b]" % moved)] == [
        stamp,
        "1970-01-02T00:00:05.000Z",
        "1970-01-02T00:00:05.000Z",
        stamp,
    ]


def test_all_else_of_a_moved_event_keeps_its_bytes(clock: FakeClock) -> None:
    note = stamps.noted(((0, 1),), clock)
    assert note is not None
    properties = b'{ "price": 1.10, "timestamp":"1970-01-01T00:00:05.000Z" }'
    event_bytes = b'{"properties":%b,"timestamp":"1970-01-01T00:00:05.000Z"}'

    moved = stamps.shifted(event_bytes % properties, note, 1_500)

    assert moved == (
        b'{"properties":%b,"timestamp":"1970-01-01T00:00:06.500Z"}' % properties
    )


def test_a_stamp_beyond_the_calendar_stays(clock: FakeClock) -> None:
    note = stamps.noted(((0, 1),), clock)
    assert note is not None
    last = event(0, "9999-12-31T23:59:59.000Z")

    assert stamps.shifted(last, note, 86_400_000) == last


@pytest.mark.parametrize(
    "note", ["", "{", "7", "[]", '{"boot":1}', '{"boot":"%s","apart_ms":"x"}']
)
def test_a_damaged_note_moves_nothing(clock: FakeClock, note: str) -> None:
    """No checksum is on it, and a lane that falls over it would do so for ever."""
    assert stamps.shift_ms(note.replace("%s", clock.boot_id), clock) == 0


def test_a_note_that_does_not_fit_the_events_is_damage(clock: FakeClock) -> None:
    note = stamps.noted(((1, 9),), clock)
    assert note is not None

    with pytest.raises(Damaged):
        stamps.shifted(event(0, "1970-01-01T00:00:05.000Z"), note, 1_500)
