"""The status as one calm screen: the worst first, aligned, 80 columns. Pure."""

import textwrap
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import click

from leanbase_relay.cli.words import age, count, cut, plain, rate, size
from leanbase_relay.status import STATES

COLUMNS = 80
LABEL = 10
_SHORTEST_NAME = 8

_MEANINGS = {
    "idle": ("green", "all is delivered"),
    "flowing": ("green", "events are on their way"),
    "backing_off": ("yellow", "the upstream takes nothing; it is tried again"),
    "held": ("red", "needs you; nothing is lost"),
    "degraded": ("red", "new events are being refused"),
    "unresponsive": ("red", "it runs and does not answer; figures from the store"),
    "stopped": ("red", "no relay is running; figures from the store"),
}

_HEADS = (
    "project",
    "state",
    "backlog",
    "delivered",
    "dead",
    "last success",
    "next attempt",
)
_TO_THE_RIGHT = (2, 3, 4)


def screen(look: dict[str, Any], now: float, columns: int = COLUMNS) -> str:
    """What `status` prints.

    Args:
        look: `status.screen_status`; an older daemon may not tell of dead letters.
        now: wall clock.
        columns: the terminal's; more than 80 are not used.
    """
    columns = min(columns, COLUMNS)
    live = look["uptime_seconds"] is not None  # not from the store alone
    parts = [
        _head(look),
        _facts(look, live=live),
        _table(look["projects"], now, columns, live=live),
        *([_problems(look["problems"], columns)] if look["problems"] else []),
    ]
    return "\n\n".join(parts)


def _head(look: dict[str, Any]) -> str:
    colour, meaning = _MEANINGS[look["state"]]
    state = click.style(_words(look["state"]), fg=colour, bold=True)
    relay = f"leanbase-relay {look['version']}"
    if look["pid"] is not None:
        relay += f", pid {look['pid']}"
    if look["uptime_seconds"] is not None:
        relay += f", up {age(look['uptime_seconds'])}"
    return f"{state}: {meaning}\n{click.style(relay, dim=True)}"


def _facts(look: dict[str, Any], *, live: bool) -> str:
    totals, store, spool = look["totals"], look["store"], look["spool"]
    refused = f"{totals['refused']:,} at intake" if totals["refused"] else ""
    lines = [
        ("backlog", _backlog(look["backlog"])),
        ("rates", _rates(look.get("rates"))),
        ("accepted", _accepted(totals, look["backlog"]["events"])),
        ("refused", refused),
        ("persons", _profiles(look["projects"].values())),
        ("dead", _letters(look.get("dead_letters", {}))),
        ("store", _store(store)),
        ("", plain(store["path"])),
        ("spool", _spool(spool) if live else "not looked at"),
        ("", plain(spool["path"] or "")),
    ]
    return "\n".join(f"{name:{LABEL}}{text}" for name, text in lines if text)


def _backlog(backlog: dict[str, Any]) -> str:
    if not backlog["events"]:
        return "empty"
    text = f"{count(backlog['events'], 'event')}, {size(backlog['bytes'])}"
    if backlog["oldest_age_seconds"] is None:
        return text
    return f"{text}, the oldest waits for {age(backlog['oldest_age_seconds'])}"


def _rates(rates: dict[str, Any] | None) -> str:
    """How fast it goes; a daemon that hangs, or an older one, does not say."""
    if rates is None:
        return ""
    text = f"{rate(rates['in_per_second'])} in, {rate(rates['out_per_second'])} out"
    if rates["drain_seconds"] is None:
        return text
    return f"{text}; at this pace empty in {age(rates['drain_seconds'])}"


def _accepted(totals: dict[str, int], backlog: int) -> str:
    """The sum that must hold, for all to see."""
    parts = [f"{totals['delivered']:,} delivered"]
    parts += [
        f"{totals[name]:,} {name}" for name in ("dead", "dropped") if totals[name]
    ]
    parts += [f"{backlog:,} waiting"] * bool(backlog)
    return f"{totals['accepted']:,} = {' + '.join(parts)}"


def _profiles(projects: Iterable[dict[str, Any]]) -> str:
    """Who the events are about, once one of them is about nobody."""
    profiles = [project["profiles"] for project in projects]
    anonymous, identified = (
        sum(one[kind] for one in profiles) for kind in ("anonymous", "identified")
    )
    return f"{anonymous:,} anonymous, {identified:,} identified" if anonymous else ""


def _letters(letters: dict[str, int]) -> str:
    if not any(letters.values()):
        return ""
    text = f"{count(letters['kept'], 'letter')} kept"
    if letters["given_up"]:
        text += f", {letters['given_up']:,} given up"
    return f"{text}: leanbase-relay dead-letters list"


def _store(store: dict[str, Any]) -> str:
    used, most, free = store["bytes"], store["max_bytes"], store["disk_free_bytes"]
    share = f"{used / most:.0%}" if used >= most / 100 else "under 1%"
    text = f"{size(used)} of {size(most)} ({share})"
    return text if free is None else f"{text}, {size(free)} free on the disk"


def _spool(spool: dict[str, Any]) -> str:
    if spool["path"] is None:
        return "off"
    text = f"{count(spool['waiting_files'], 'file')} waiting"
    if spool["ignored_files"]:
        text += f", {spool['ignored_files']:,} ignored"
    return text


def _table(projects: dict[str, Any], now: float, columns: int, *, live: bool) -> str:
    worst_first = sorted(
        projects.items(), key=lambda item: -STATES.index(item[1]["state"])
    )
    cells = [_HEADS] + [
        _row(name, project, now, live=live) for name, project in worst_first
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    others = sum(widths[1:]) + 2 * (len(widths) - 1)
    widths[0] = min(widths[0], max(columns - others, _SHORTEST_NAME))
    head, *rows = (_aligned(row, widths) for row in cells)
    coloured = [
        row.replace(state, click.style(state, fg=_MEANINGS[project["state"]][0]), 1)
        if (state := f"  {_words(project['state'])}") in row and live
        else row
        for row, (_, project) in zip(rows, worst_first, strict=True)
    ]
    return "\n".join([click.style(head, dim=True), *coloured])


def _row(
    name: str, project: dict[str, Any], now: float, *, live: bool
) -> tuple[str, ...]:
    upstream = project["upstream"]
    return (
        plain(name),
        _words(project["state"]) if live else "-",
        f"{project['backlog']['events']:,}",
        f"{project['totals']['delivered']:,}",
        f"{project['totals']['dead']:,}",
        _since(upstream["last_success_at"], now),
        _next(upstream["next_attempt_in_seconds"]),
    )


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.rjust(width) if place in _TO_THE_RIGHT else cut(cell, width).ljust(width)
        for place, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _problems(problems: Sequence[str], columns: int) -> str:
    wrapped = [
        textwrap.fill(
            plain(problem),
            columns,
            initial_indent="- ",
            subsequent_indent="  ",
            # A path or an address is to be copied in one piece.
            break_long_words=False,
            break_on_hyphens=False,
        )
        for problem in problems
    ]
    return "\n".join([click.style("Problems:", bold=True), *wrapped])


def _since(stamp: str | None, now: float) -> str:
    if stamp is None:
        return "-"
    seconds = now - datetime.fromisoformat(stamp).timestamp()
    return f"{age(max(seconds, 0))} ago"


def _next(seconds: float | None) -> str:
    return "-" if seconds is None else f"in {age(seconds)}"


def _words(state: str) -> str:
    return state.replace("_", " ")
