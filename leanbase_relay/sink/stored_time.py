"""At which time the service stores an event. Pure."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

FUTURE_ALLOWED = timedelta(hours=23)
BEYOND_THE_CALENDAR = datetime(1970, 1, 1, tzinfo=UTC)

STRICT_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)
_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d(?::?\d\d)?)",
    re.ASCII,
)
_UNMOVED = timedelta(0)
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


@dataclass(frozen=True, slots=True)
class TimeRule:
    """At which time the events of one request are stored."""

    now: datetime
    latest: datetime  # what lies beyond was mistaken for a time; it becomes now
    shift: timedelta | None = None  # for the sender's clock; None: nothing was said

    @classmethod
    def of(
        cls, sent_at: datetime | None, *, now: datetime, deadband: timedelta
    ) -> "TimeRule":
        """The rule for what was sent at this time of the sender's clock."""
        shift = None if sent_at is None else correction(sent_at - now, deadband)
        return cls(now, now + FUTURE_ALLOWED, shift)

    def stored(self, event: Mapping[str, Any]) -> datetime:
        """The time of an event of protocol v0."""
        try:
            time = self._of_offset(event) or parse_time(event.get("timestamp") or "")
            if time is None:
                return self.now
            if self.shift and not _stands_as_it_is(event):
                time -= self.shift
        except OverflowError:
            return BEYOND_THE_CALENDAR
        return self.now if time > self.latest else time

    def shifted(self, time: datetime) -> datetime:
        """The time of an event of protocol v1 that did not ask to be left alone."""
        try:
            time -= self.shift or _UNMOVED
        except OverflowError:
            return BEYOND_THE_CALENDAR
        return self.now if time > self.latest else time

    def _of_offset(self, event: Mapping[str, Any]) -> datetime | None:
        if event.get("offset") is None:
            return None
        return self.now - timedelta(milliseconds=event["offset"])


def _stands_as_it_is(event: Mapping[str, Any]) -> bool:
    """True for what is not to be corrected: an offset from now, or at its wish."""
    if event.get("offset") is not None:
        return True
    return event.get("properties", {}).get("$ignore_sent_at") is True


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
    time = parse_rfc_3339(text, _RFC_3339)
    return time or _unix_time(text) or _lenient_time(text.strip())


def parse_rfc_3339(
    text: str, form: re.Pattern[str] = STRICT_RFC_3339
) -> datetime | None:
    """RFC 3339 as strictly as the form says, in UTC."""
    if form.fullmatch(text) is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return _with_capitals(text)
    return time if time.tzinfo is UTC else time.astimezone(UTC)


def _with_capitals(text: str) -> datetime | None:
    """For ``t`` and ``z``, which Python reads only as capitals."""
    with suppress(ValueError):
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    return None


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
