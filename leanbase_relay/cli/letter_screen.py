"""Dead letters for people and for machines: a table, all facts of one, JSON. Pure."""

import base64
from collections.abc import Sequence
from typing import Any

import click

from leanbase_relay.cli.words import age, count, cut, plain, size
from leanbase_relay.clock import rfc_3339
from leanbase_relay.store.letters import KeptLetter, pretty

COLUMNS = 80
_HEADS = ("id", "died", "door", "project", "event", "reason")
_WIDEST = {"project": 10, "event": 16}
_SHORTEST_REASON = 20
_LABEL = 13
_LONGEST_NAME = 200


def table(letters: Sequence[KeptLetter], now: float, columns: int = COLUMNS) -> str:
    """One line a letter; the reason has what room is left.

    Args:
        letters: newest first.
        now: wall clock.
        columns: the terminal's.
    """
    rows = [_HEADS, *(_row(kept, now) for kept in letters)]
    widths = [
        min(max(map(len, cells)), _WIDEST.get(name, columns))
        for name, cells in zip(_HEADS, zip(*rows, strict=True), strict=True)
    ]
    others = sum(widths[:-1]) + 2 * (len(widths) - 1)
    widths[-1] = max(columns - others, _SHORTEST_REASON)
    head, *lines = (
        "  ".join(
            cell.rjust(width) if place == 0 else cut(cell, width).ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
    return "\n".join([click.style(head, dim=True), *lines])


def _row(kept: KeptLetter, now: float) -> tuple[str, ...]:
    letter = kept.letter
    return (
        str(kept.id),
        _ago(kept.died_at_ms, now),
        letter.door,
        plain(letter.project),
        plain(letter.event or "-"),
        plain(letter.reason),
    )


def facts(kept: KeptLetter, now: float) -> str:
    """All that is known of a letter, and its line."""
    letter = kept.letter
    events = count(letter.events, "event")
    known = [
        ("door", letter.door),
        ("project", letter.project),
        ("event", _shown(letter.event)),
        ("distinct_id", _shown(letter.distinct_id)),
        ("uuid", letter.uuid),
        ("status", None if letter.status is None else f"HTTP {letter.status}"),
        ("reason", letter.reason),
        ("origin", letter.origin),
        ("accepted", _moment(letter.accepted_at_ms, now)),
        ("died", _moment(kept.died_at_ms, now)),
        ("requeued", count(letter.requeues, "time") if letter.requeues else None),
        ("import", "yes" if letter.historical else None),
        ("stands for", events if letter.events > 1 else None),
        ("size", size(kept.size)),
    ]
    lines = [
        f"{name:{_LABEL}}{plain(text)}" for name, text in known if text is not None
    ]
    head = click.style(f"dead letter {kept.id}", bold=True)
    return "\n".join([head, *lines, "", _text(kept)])


def _shown(name: str | None) -> str | None:
    """A name of any length, as much of it as a screen is for."""
    return None if name is None else cut(name, _LONGEST_NAME)


def _text(kept: KeptLetter) -> str:
    """The line, laid out if it is JSON; harmless in any case."""
    line = kept.letter.line
    if not kept.is_line:
        return "(the bytes of a damaged chunk: dead-letters export --full gives them)"
    text = pretty(line) or line.decode(errors="replace")
    return "\n".join(plain(one) for one in text.split("\n"))


def summary(kept: KeptLetter) -> dict[str, Any]:
    """What `list --json` says of a letter: the members of the contract."""
    letter = kept.letter
    return {
        "id": kept.id,
        "door": letter.door,
        "project": letter.project,
        "event": letter.event,
        "distinct_id": letter.distinct_id,
        "uuid": letter.uuid,
        "status": letter.status,
        "reason": letter.reason,
        "origin": letter.origin,
        "accepted_at": _stamp(letter.accepted_at_ms),
        "died_at": _stamp(kept.died_at_ms),
        "bytes": kept.size,
    }


def whole(kept: KeptLetter) -> dict[str, Any]:
    """A letter with all its facts; its line as text, or in base64 if it is none."""
    letter = kept.letter
    line: dict[str, str] = {}
    try:
        line["line"] = letter.line.decode()
    except UnicodeDecodeError:
        line["line_base64"] = base64.b64encode(letter.line).decode()
    return {
        **summary(kept),
        "events": letter.events,
        "requeues": letter.requeues,
        "historical": letter.historical,
        **line,
    }


def _moment(ms: int | None, now: float) -> str | None:
    return None if ms is None else f"{_stamp(ms)}, {_ago(ms, now)} ago"


def _ago(ms: int, now: float) -> str:
    return age(max(now - ms / 1000, 0.0))


def _stamp(ms: int | None) -> str | None:
    return None if ms is None else rfc_3339(ms / 1000)
