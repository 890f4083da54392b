"""At which time the service stores an event. Pure."""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

FUTURE_ALLOWED = timedelta(hours=23)
BEYOND_THE_CALENDAR = datetime(1970, 1, 1, tzinfo=UTC)

_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d(?::?\d\d)?)",
    re.ASCII,
)
_UNIX_SECONDS_DIGITS = 10
_UNIX_MILLISECONDS_DIGITS = 13
_DATE_FORMATS = (
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y",
)


def stored_time(
    event: Mapping[str, Any],
    *,
    sent_at: datetime | None,
    now: datetime,
    deadband: timedelta,
) -> datetime:
    """The event's time, corrected for the sender's clock as the service does it."""
    try:
        time = _event_time(event, sent_at=sent_at, now=now, deadband=deadband)
    except OverflowError:
        return BEYOND_THE_CALENDAR
    return now if time > now + FUTURE_ALLOWED else time


def _event_time(
    event: Mapping[str, Any],
    *,
    sent_at: datetime | None,
    now: datetime,
    deadband: timedelta,
) -> datetime:
    if event.get("offset") is not None:
        return now - timedelta(milliseconds=event["offset"])
    time = parse_time(event.get("timestamp") or "")
    if time is None:
        return now
    if sent_at is None or event.get("properties", {}).get("$ignore_sent_at") is True:
        return time
    return time - correction(sent_at - now, deadband)


def correction(skew: timedelta, deadband: timedelta) -> timedelta:
    """How far events are moved for this skew: not at all within the deadband."""
    beyond = max(abs(skew) - deadband, timedelta(0))
    return beyond if skew > timedelta(0) else -beyond


def parse_sent_at(text: str | None) -> datetime | None:
    """ISO 8601 with a zone; anything else counts as not sent."""
    with suppress(ValueError, OverflowError):
        time = datetime.fromisoformat(text or "")
        return time.astimezone(UTC) if time.tzinfo else None
    return None


def sent_at_of_query(milliseconds: str | None) -> datetime | None:
    """The query's ``_``; what falls before 2021 was not in milliseconds."""
    with suppress(ValueError, OverflowError, OSError):
        time = datetime.fromtimestamp(int(milliseconds or "") / 1000, UTC)
        return time if time.year > 2020 else None
    return None


def parse_time(text: str) -> datetime | None:
    """RFC 3339, else what the service's lenient parser makes of it; UTC."""
    if _RFC_3339.fullmatch(text):
        with suppress(ValueError):
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
    return _unix_time(text) or _lenient_time(text.strip())


def _unix_time(text: str) -> datetime | None:
    if not (text.isascii() and text.isdigit()):
        return None
    if len(text) == _UNIX_SECONDS_DIGITS:
        return datetime.fromtimestamp(int(text), UTC)
    if len(text) == _UNIX_MILLISECONDS_DIGITS:
        epoch = datetime.fromtimestamp(0, UTC)
        return epoch + timedelta(milliseconds=int(text))
    return None


def _lenient_time(text: str) -> datetime | None:
    with suppress(ValueError):
        return _utc(datetime.fromisoformat(text))
    for form in _DATE_FORMATS:
        with suppress(ValueError):
            return datetime.strptime(text, form).replace(tzinfo=UTC)
    with suppress(ValueError):
        return _utc(parsedate_to_datetime(text))
    return None


def _utc(time: datetime) -> datetime:
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
