"""Timestamps: every text that the upstream understands, as RFC 3339 in UTC.

The upstream reads RFC 3339 first, then hands the text to a lenient parser, and falls
back to the time of arrival (its rules are restated in docs/protocol.md). An event
that waits for days must not be stored at its arrival, so that what can be read is
made RFC 3339 here, once. Pure.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

_ISO = re.compile(
    r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})"
    r"(?:[Tt ]\s*(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d+))?)?)?"
    r"\s*([Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?",
    re.ASCII,
)
_MONTH_FIRST = re.compile(
    r"(\d{1,2})[/](\d{1,2})[/](\d{4})(?:\s+(\d{1,2}):(\d{2})(?::(\d{2}))?)?",
    re.ASCII,
)
_UNIX = re.compile(r"(\d{10})(\d{3})?(\d{3})?(\d{3})?", re.ASCII)
_IN_ORDER = re.compile(
    r"(?:\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)\n)*+",
    re.ASCII,
)


def are_in_order(texts: Sequence[str]) -> bool:
    """Whether all of them are RFC 3339 in UTC as they stand; made for thousands."""
    if not _IN_ORDER.fullmatch("\n".join([*texts, ""])):
        return False
    try:
        return all(map(datetime.fromisoformat, texts))  # is there such a day?
    except ValueError:
        return False


def utc(text: str) -> str | None:
    """Read a timestamp; None if nothing can be made of it.

    Where no zone is given it counts as UTC, a bare date as its midnight. The digits
    below the second are kept as they were written.
    """
    text = text.strip()
    try:
        return _iso(text) or _unix(text) or _month_first(text) or _mail(text)
    except (ValueError, OverflowError):
        return None


def stamp(milliseconds: int) -> str:
    """Write a wall-clock time as RFC 3339, to the millisecond."""
    seconds, rest = divmod(milliseconds, 1000)
    return _written(datetime.fromtimestamp(seconds, UTC), f"{rest:03}")


def _written(moment: datetime, fraction: str) -> str:
    whole = moment.astimezone(UTC).isoformat()[:19]
    return f"{whole}.{fraction}Z" if fraction else f"{whole}Z"


def _iso(text: str) -> str | None:
    found = _ISO.fullmatch(text)
    if not found:
        return None
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    moment = datetime(
        int(year),
        int(month),
        int(day),
        int(hour or 0),
        int(minute or 0),
        min(int(second or 0), 59),  # a leap second; no clock here knows 60
        tzinfo=_zone(zone),
    )
    return _written(moment, fraction or "")


def _zone(text: str | None) -> timezone:
    if text is None or text[0] not in "+-":
        return UTC
    sign = -1 if text[0] == "-" else 1
    digits = text[1:].replace(":", "")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0))
    return timezone(sign * offset)


def _unix(text: str) -> str | None:
    found = _UNIX.fullmatch(text)
    if not found:
        return None
    moment = datetime.fromtimestamp(int(found[1]), UTC)
    return _written(moment, "".join(part or "" for part in found.groups()[1:]))


def _month_first(text: str) -> str | None:
    found = _MONTH_FIRST.fullmatch(text)
    if not found:
        return None
    month, day, year, hour, minute, second = (int(part or 0) for part in found.groups())
    return _written(datetime(year, month, day, hour, minute, second, tzinfo=UTC), "")


def _mail(text: str) -> str | None:
    moment = parsedate_to_datetime(text)  # RFC 2822
    return _written(moment if moment.tzinfo else moment.replace(tzinfo=UTC), "")
