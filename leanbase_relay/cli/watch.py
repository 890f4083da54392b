"""``leanbase-relay status --watch``: the screen in place, and the last minutes.

What is drawn below the status is of the daemon's own memory (`observe.rates`), so that
it is all there from the first look on.
"""

import shutil
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from leanbase_relay.cli.screen import COLUMNS, LABEL, screen
from leanbase_relay.cli.words import age, rate
from leanbase_relay.clock import Clock

WATCH_SECONDS = 1.0

_BARS = " ▁▂▃▄▅▆▇█"
_WORTH_A_BAR_SECONDS = 3.0  # a backlog that is gone before one has read that it shrinks


def watch(look: Callable[[], dict[str, Any]], clock: Clock) -> None:
    """Look every second, until Ctrl-C."""

    def draw() -> RenderableType:
        columns, _ = shutil.get_terminal_size()
        return drawn(look(), clock.wall(), columns)

    redrawn(draw, clock, every_seconds=WATCH_SECONDS)


def redrawn(
    draw: Callable[[], RenderableType], clock: Clock, *, every_seconds: float
) -> None:
    """Show a picture, again and again in its place, until Ctrl-C."""
    poke = clock.poke()
    with Live(screen=True, auto_refresh=False) as live:
        try:
            while True:
                live.update(draw(), refresh=True)
                clock.wait(every_seconds, poke)
        except KeyboardInterrupt:
            return  # that is how one leaves


def drawn(look: dict[str, Any], now: float, columns: int) -> RenderableType:
    """The whole picture. What matters least comes last: a small terminal cuts it."""
    columns = min(columns, COLUMNS)
    parts: list[RenderableType] = [Text.from_ansi(screen(look, now, columns))]
    if bar := _bar(look, columns):
        parts += ["", bar]
    if history := look.get("history"):
        parts += ["", _curves(history, columns)]
    return Group(*parts)


def sparkline(figures: Sequence[float], width: int) -> str:
    """The last figures as a row of bars; what is not nothing is seen."""
    shown = figures[-width:]
    most = max(shown, default=0)
    bars = "".join(_BARS[_height(figure, most)] for figure in shown)
    return bars.rjust(width)


def draining(look: dict[str, Any]) -> float | None:
    """How much of the last minutes' highest backlog is gone; None if none goes."""
    rates, history = look.get("rates"), look.get("history")
    if not rates or not history or rates["drain_seconds"] is None:
        return None
    left: int = look["backlog"]["events"]
    most: int = max([left, *history["backlog"]])
    if rates["drain_seconds"] < _WORTH_A_BAR_SECONDS or left == most:
        return None
    return (most - left) / most


def _height(figure: float, most: float) -> int:
    if figure <= 0:
        return 0
    return max(round(figure / most * (len(_BARS) - 1)), 1)


def _bar(look: dict[str, Any], columns: int) -> RenderableType | None:
    share = draining(look)
    if share is None:
        return None
    left = f"{share:.0%}, empty in {age(look['rates']['drain_seconds'])}"
    row = Table.grid()
    bar = ProgressBar(total=1.0, completed=share, width=columns - LABEL - len(left) - 2)
    row.add_row(f"{'draining':{LABEL}}", bar, f"  {left}")
    return row


def _curves(history: dict[str, Any], columns: int) -> Text:
    """Three rows of bars, each with its highest figure."""
    incoming, outgoing = history["in_per_second"], history["out_per_second"]
    rows = [
        ("backlog", history["backlog"], f"{max(history['backlog'], default=0):,}"),
        ("in", incoming, rate(max(incoming, default=0))),
        ("out", outgoing, rate(max(outgoing, default=0))),
    ]
    width = min(len(history["backlog"]), columns - LABEL - 12)
    minutes = age(width * history["step_seconds"])
    text = Text()
    for name, figures, most in rows:
        text.append(f"{name:{LABEL}}")
        text.append(sparkline(figures, width), style="cyan")
        text.append(f"  {most}\n")
    text.append(f"{'':{LABEL}}the last {minutes}; right: the most", style="dim")
    return text
