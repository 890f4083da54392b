"""What events are called, as a table and as JSON: what waits, what came lately. Pure.

The two are found in different ways (see `store.names`), and meet here, name by name.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import click

from leanbase_relay.cli.words import age, count, cut, plain
from leanbase_relay.store.look import Called

COLUMNS = 80
NOT_SAMPLED = "(too large to be sampled)"
_SHORTEST_NAME = 12
_WIDEST_PROJECT = 16


@dataclass(frozen=True, slots=True)
class Line:
    """Events of one project that have the same name.

    Attributes:
        event: None for those whose names nobody knows.
        waiting: how many are in the backlog.
        oldest_at: wall clock, when the first of those was accepted.
        came: how many came lately, about; None where no daemon tells.
    """

    project: str
    event: str | None
    waiting: int = 0
    oldest_at: float | None = None
    came: int | None = None


@dataclass(frozen=True, slots=True)
class Top:
    """All lines, most events first.

    Attributes:
        seconds: what "lately" is; None where no daemon tells.
        came: how many events came lately, exactly.
        is_exact: whether the lines' figures of that are exact, too.
    """

    lines: Sequence[Line]
    seconds: float | None
    came: int | None
    is_exact: bool = True

    @property
    def waiting(self) -> int:
        """Events of the backlog."""
        return sum(line.waiting for line in self.lines)


def top_of(called: Iterable[Called], lately: dict[str, Any] | None) -> Top:
    """The two together.

    Args:
        called: what waits, chunk by chunk, oldest first.
        lately: the daemon's answer to ``names``; None where there is none.
    """
    waiting: Counter[tuple[str, str | None]] = Counter()
    oldest: dict[tuple[str, str | None], float] = {}
    for project, counts, accepted_at_ms in called:
        for name, number in counts.items():
            waiting[project, name] += number
            oldest.setdefault((project, name), accepted_at_ms / 1000)
    told = lately["events"] if lately else []
    came = {(one["project"], one["event"]): one["events"] for one in told}
    lines = [
        Line(
            project,
            name,
            waiting[project, name],
            oldest.get((project, name)),
            came.get((project, name), 0) if lately else None,
        )
        for project, name in waiting.keys() | came.keys()
    ]
    lines.sort(key=lambda line: (-line.waiting, -(line.came or 0), line.project))
    if lately is None:
        return Top(lines, None, None)
    return Top(lines, lately["seconds"], lately["accepted"], lately["exact"])


def as_json(top: Top, now: float) -> dict[str, Any]:
    """What `top --json` prints."""
    return {
        "seconds": top.seconds,
        "came": top.came,
        "exact": top.is_exact,
        "events": [
            {
                "project": line.project,
                "event": line.event,
                "waiting": line.waiting,
                "oldest_age_seconds": None
                if line.oldest_at is None
                else round(max(now - line.oldest_at, 0.0), 1),
                "came": line.came,
            }
            for line in top.lines
        ],
    }


def table(top: Top, now: float, *, shown: int, columns: int = COLUMNS) -> str:
    """A line a name, the others summed up below; 80 columns at most.

    Args:
        top: what there is.
        now: wall clock.
        shown: names that have a line of their own.
        columns: the terminal's.
    """
    if not top.lines:
        return "nothing waits" + ("" if top.seconds is None else ", and nothing came")
    rows = [_row(line, top, now) for line in top.lines[:shown]]
    if rest := top.lines[shown:]:
        others = Line(
            "",
            f"… {count(len(rest), 'name')} more",
            sum(line.waiting for line in rest),
            came=sum(line.came or 0 for line in rest),
        )
        rows.append(_row(others, top, now))
    whole = replace(top, is_exact=True)
    rows.append(_row(Line("", "all", top.waiting, came=top.came), whole, now))
    heads = ("event", "project", "waiting", "share", "oldest", _lately(top.seconds))
    cells = (
        [heads, *rows]
        if top.seconds is not None
        else [row[:-1] for row in (heads, *rows)]
    )
    return _aligned(cells, min(columns, COLUMNS))


def _lately(seconds: float | None) -> str:
    return f"came in {age(seconds)}" if seconds is not None else ""


def _row(line: Line, top: Top, now: float) -> tuple[str, ...]:
    share = line.waiting / top.waiting if top.waiting else 0.0
    return (
        plain(NOT_SAMPLED if line.event is None else line.event) or '""',
        plain(line.project),
        f"{line.waiting:,}" if line.waiting else "-",
        f"{share:.0%}" if line.waiting else "",
        "" if line.oldest_at is None else age(max(now - line.oldest_at, 0.0)),
        _came(line.came, top) if line.came else "-",
    )


def _came(number: int, top: Top) -> str:
    """What the samples say is about right: two digits of it."""
    if top.is_exact:
        return f"{number:,}"
    return f"~{round(number, min(2 - len(str(number)), 0)):,}"


def _aligned(rows: Sequence[Sequence[str]], columns: int) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths[1] = min(widths[1], _WIDEST_PROJECT)
    others = sum(widths[1:]) + 2 * (len(widths) - 1)
    widths[0] = min(widths[0], max(columns - others, _SHORTEST_NAME))
    head, *lines = (
        "  ".join(
            cut(cell, width).ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
    return "\n".join([click.style(head, dim=True), *lines])
