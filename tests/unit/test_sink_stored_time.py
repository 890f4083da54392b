from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from leanbase_relay.sink.stored_time import (
    BEYOND_THE_CALENDAR,
    TimeRule,
    correction,
    parse_sent_at,
    parse_time,
    sent_at_of_query,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DEADBAND = timedelta(seconds=150)


def stored(
    sent_at: datetime | None = None,
    deadband: timedelta = DEADBAND,
    **event: Any,
) -> datetime:
    return TimeRule.of(sent_at, now=NOW, deadband=deadband).stored(event)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01T12:00:00.123Z", "2026-03-01T12:00:00.123+00:00"),
        ("2026-03-01t12:00:00z", "2026-03-01T12:00:00+00:00"),
        ("2026-03-01T12:00:00.123456789Z", "2026-03-01T12:00:00.123456+00:00"),
        ("2026-03-01T14:00:00.5+02:00", "2026-03-01T12:00:00.5+00:00"),
        ("2026-03-01T15:00:00+03", "2026-03-01T12:00:00+00:00"),
        ("2026-03-01T12:00:00", "2026-03-01T12:00:00+00:00"),
        ("2026-03-01 12:00:00", "2026-03-01T12:00:00+00:00"),
        ("2026-03-01", "2026-03-01T00:00:00+00:00"),
        ("03/01/2026", "2026-03-01T00:00:00+00:00"),
        ("2026/03/01 12:00:00", "2026-03-01T12:00:00+00:00"),
        ("Sun, 01 Mar 2026 13:00:00 +0100", "2026-03-01T12:00:00+00:00"),
        ("1772366400", "2026-03-01T12:00:00+00:00"),
        ("1772366400123", "2026-03-01T12:00:00.123+00:00"),
    ],
)
def test_a_time_in_any_spelling_becomes_utc(text: str, expected: str) -> None:
    assert parse_time(text) == datetime.fromisoformat(expected)


@pytest.mark.parametrize("text", ["", "not a date", "12", "2026-13-01T00:00:00Z"])
def test_what_is_no_time_is_stored_at_arrival(text: str) -> None:
    assert parse_time(text) is None
    assert stored(timestamp=text) == NOW


def test_an_old_event_keeps_its_time() -> None:
    assert stored(timestamp="2025-01-01T00:00:00Z") == datetime(2025, 1, 1, tzinfo=UTC)


def test_a_wrong_clock_is_corrected_beyond_the_deadband() -> None:
    ahead = NOW + 10 * MINUTE
    text = (NOW + 10 * MINUTE).isoformat()

    assert stored(ahead, timedelta(0), timestamp=text) == NOW
    assert stored(ahead, DEADBAND, timestamp=text) == NOW + DEADBAND


def test_a_stale_sent_at_moves_an_event_to_its_arrival() -> None:
    """The classic bug of a relay that stores `sent_at` with the event."""
    captured = NOW - timedelta(hours=5)

    assert stored(captured, timedelta(0), timestamp=captured.isoformat()) == NOW


def test_sent_at_can_be_switched_off() -> None:
    time = stored(
        NOW + 10 * MINUTE,
        timestamp=NOW.isoformat(),
        properties={"$ignore_sent_at": True},
    )

    assert time == NOW


def test_the_offset_counts_from_arrival_and_beats_the_timestamp() -> None:
    assert stored(offset=60_000, timestamp="2025-01-01T00:00:00Z") == NOW - MINUTE


def test_the_far_future_becomes_now_and_what_no_calendar_has_1970() -> None:
    near = NOW + timedelta(hours=22)

    assert stored(timestamp=near.isoformat()) == near
    assert stored(timestamp="2099-01-01T00:00:00Z") == NOW
    assert stored(offset=2**63 - 1) == BEYOND_THE_CALENDAR


@pytest.mark.parametrize(
    ("skew", "expected"), [(0, 0), (150, 0), (-150, 0), (151, 1), (-200, -50)]
)
def test_the_correction_leaves_the_deadband_alone(skew: int, expected: int) -> None:
    moved = correction(timedelta(seconds=skew), DEADBAND)

    assert moved == timedelta(seconds=expected)


def test_sent_at_needs_a_zone() -> None:
    assert parse_sent_at("2026-03-01T12:00:00Z") == NOW
    assert parse_sent_at("2026-03-01T12:00:00") is None
    assert parse_sent_at("soon") is None
    assert parse_sent_at(None) is None


def test_sent_at_of_the_query_is_in_milliseconds() -> None:
    assert sent_at_of_query("1772366400000") == NOW
    assert sent_at_of_query("1772366400") is None
    assert sent_at_of_query("9" * 30) is None
    assert sent_at_of_query(None) is None
