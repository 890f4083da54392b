"""What `status --watch` draws below the status."""

import io
from typing import Any

import pytest
from rich.console import Console

from leanbase_relay.cli.watch import draining, drawn, sparkline
from tests.unit.test_cli_screen import NOW, status


def looked(left: int, most: int, drain_seconds: float | None) -> dict[str, Any]:
    return status(
        "flowing",
        backlog={"events": left, "bytes": left, "oldest_age_seconds": 1.0},
        rates={
            "in_per_second": 0.0,
            "out_per_second": 100.0,
            "drain_seconds": drain_seconds,
        },
        history={
            "step_seconds": 10.0,
            "backlog": [0] * 40 + [most] * 10 + [left] * 10,
            "in_per_second": [0.0] * 59 + [5000.0],
            "out_per_second": [100.0] * 60,
            "lanes": {},
        },
    )


def text(look: dict[str, Any], columns: int = 80) -> str:
    console = Console(width=columns, file=io.StringIO(), force_terminal=False)
    with console.capture() as shown:
        console.print(drawn(look, NOW, columns))
    return shown.get()


def test_bars_are_as_high_as_their_figures() -> None:
    assert sparkline([0, 1, 50, 100], 6) == "   ▁▄█"


def test_nothing_at_all_is_drawn_as_nothing() -> None:
    assert sparkline([0, 0], 2) == "  "
    assert sparkline([], 3) == "   "


@pytest.mark.parametrize(
    ("left", "most", "drain_seconds", "share"),
    [
        (250, 1000, 60.0, 0.75),
        (1000, 1000, 60.0, None),
        (250, 1000, None, None),
        (2, 1000, 1.0, None),
    ],
)
def test_the_bar_is_for_a_backlog_that_goes(
    left: int, most: int, drain_seconds: float | None, share: float | None
) -> None:
    assert draining(looked(left, most, drain_seconds)) == share


@pytest.mark.parametrize("columns", [80, 200, 60])
def test_it_fits_the_terminal(columns: int) -> None:
    shown = text(looked(250, 1000, 90.0), columns).splitlines()

    assert max(map(len, shown)) <= min(columns, 80)
    assert len(shown) <= 24
    (bar,) = (line for line in shown if line.startswith("draining"))
    assert bar.endswith("75%, empty in 90 s")


def test_the_last_minutes_are_drawn_with_their_highest_figures() -> None:
    shown = text(looked(250, 1000, None)).splitlines()

    assert [line.split()[0] for line in shown[-4:-1]] == ["backlog", "in", "out"]
    assert shown[-4].endswith("██████████▂▂▂▂▂▂▂▂▂▂  1,000")
    assert shown[-3].endswith("  5,000/s")


def test_without_a_daemon_there_is_nothing_to_draw() -> None:
    assert "the last" not in text(status("stopped"))
