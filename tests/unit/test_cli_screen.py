"""The status is one calm screen, in every state."""

from datetime import datetime
from typing import Any

import click
import pytest

from leanbase_relay.cli.screen import screen
from leanbase_relay.cli.words import age, count, plain, rate, size
from leanbase_relay.status import STATES

NOW = datetime.fromisoformat("2026-11-23T09:00:00Z").timestamp()


def project(state: str = "idle", events: int = 0, **upstream: Any) -> dict[str, Any]:
    return {
        "state": state,
        "backlog": {"events": events, "bytes": 0, "oldest_age_seconds": None},
        "totals": {"delivered": 1_000_000, "dead": 3},
        "upstream": {
            "last_success_at": None,
            "next_attempt_in_seconds": None,
            **upstream,
        },
        "profiles": {"anonymous": 0, "identified": 0},
    }


def status(state: str = "idle", **members: Any) -> dict[str, Any]:
    stored_only = state in ("unresponsive", "stopped")
    return {
        "version": "0.1.0",
        "running": state != "stopped",
        "pid": None if state == "stopped" else 4711,
        "uptime_seconds": None if stored_only else 12_345.6,
        "state": state,
        "backlog": {"events": 0, "bytes": 0, "oldest_age_seconds": None},
        "totals": dict.fromkeys(
            ("accepted", "delivered", "dead", "dropped", "refused"), 0
        ),
        "store": {
            "path": "/var/lib/leanbase-relay/relay.db",
            "bytes": 0,
            "max_bytes": 1 << 30,
            "disk_free_bytes": 1 << 35,
        },
        "spool": {"path": "/var/spool/x", "waiting_files": 2, "ignored_files": 1},
        "projects": {"default": project()},
        "problems": [],
        **members,
    }


def lines(look: dict[str, Any], columns: int = 80) -> list[str]:
    return click.unstyle(screen(look, NOW, columns)).splitlines()


@pytest.mark.parametrize("state", STATES)
def test_each_state_fits_a_small_terminal_and_says_what_it_means(state: str) -> None:
    shown = lines(status(state))

    assert shown[0].startswith(f"{state.replace('_', ' ')}: ")
    assert max(map(len, shown)) <= 80
    assert len(shown) <= 24


def test_figures_are_for_people() -> None:
    look = status(
        "flowing",
        backlog={"events": 1234, "bytes": 1_258_291, "oldest_age_seconds": 200.0},
        totals={
            "accepted": 1_001_240,
            "delivered": 1_000_000,
            "dead": 3,
            "dropped": 3,
            "refused": 7,
        },
    )

    shown = lines(look)

    assert shown[1] == "leanbase-relay 0.1.0, pid 4711, up 3 h"
    assert "backlog   1,234 events, 1.2 MiB, the oldest waits for 3 min" in shown
    sums = "1,000,000 delivered + 3 dead + 3 dropped + 1,234 waiting"
    assert f"accepted  1,001,240 = {sums}" in shown
    assert "refused   7 at intake" in shown
    assert "store     0 B of 1.0 GiB (under 1%), 32.0 GiB free on the disk" in shown
    assert "spool     2 files waiting, 1 ignored" in shown


@pytest.mark.parametrize(
    ("letters", "said"),
    [
        (
            {"kept": 1, "given_up": 0},
            ["1 letter kept: leanbase-relay dead-letters list"],
        ),
        (
            {"kept": 1200, "given_up": 7},
            ["1,200 letters kept, 7 given up: leanbase-relay dead-letters list"],
        ),
        ({"kept": 0, "given_up": 0}, []),
    ],
)
def test_dead_letters_are_counted(letters: dict[str, int], said: list[str]) -> None:
    shown = lines(status(dead_letters=letters))

    assert [line[10:] for line in shown if line.startswith("dead  ")] == said


def test_the_worst_project_comes_first_and_columns_are_aligned() -> None:
    look = status(
        "held",
        projects={
            "default": project("flowing", 12, last_success_at="2026-11-23T08:59:58Z"),
            "a-name-that-is-much-too-long-for-its-column": project(
                "held", 123_456_789, next_attempt_in_seconds=240.0
            ),
        },
    )

    head, worst, other = lines(look)[-3:]

    assert worst.startswith("a-name-")
    assert "…" in worst
    assert worst.endswith("in 4 min")
    assert other.split() == [
        "default",
        "flowing",
        "12",
        "1,000,000",
        "3",
        *["2", "s", "ago", "-"],
    ]
    assert head.index("backlog") + len("backlog") == other.index("12") + 2
    assert head.index("last success") == other.index("2 s ago")
    assert max(map(len, (head, worst, other))) <= 80


def test_problems_are_wrapped_and_addresses_stay_whole() -> None:
    address = "https://capture.example.com/a-rather-long-base/of-an-address"
    problem = f"Project default is held: {address} answers 401. Nothing is lost."

    *_, title, first, second, third = lines(status("held", problems=[problem]))

    assert title == "Problems:"
    assert first == "- Project default is held:"
    assert second == f"  {address} answers 401."
    assert third == "  Nothing is lost."


def test_without_the_daemon_nothing_is_claimed_about_lanes_and_spool() -> None:
    shown = lines(status("stopped"))

    assert "spool     not looked at" in shown
    assert shown[-1].split()[1] == "-"


def test_a_spool_that_is_off_is_off() -> None:
    spool = {"path": None, "waiting_files": 0, "ignored_files": 0}

    assert "spool     off" in lines(status(spool=spool))


def test_strangers_cannot_command_the_terminal() -> None:
    shown = screen(status("held", problems=["upstream said \x1b[2J"]), NOW)

    assert "\x1b[2J" not in shown


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.2, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (172_799, "47 h"),
        (172_800, "2 d"),
        (8_640_000, "100 d"),
    ],
)
def test_ages(seconds: float, expected: str) -> None:
    assert age(seconds) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1_258_291, "1.2 MiB"),
        ((1 << 30) - 1000, "1.0 GiB"),
        (1 << 30, "1.0 GiB"),
        (5 << 50, "5120.0 TiB"),
    ],
)
def test_sizes(number: int, expected: str) -> None:
    assert size(number) == expected


def test_counts_have_their_noun() -> None:
    assert count(1, "event") == "1 event"
    assert count(1200, "event") == "1,200 events"
    assert plain("a\nb") == "a\ufffdb"


def test_who_the_events_are_about_is_shown_once_some_are_about_nobody() -> None:
    look = status(projects={"default": project()})
    assert "persons" not in screen(look, NOW)

    look["projects"]["default"]["profiles"] = {"anonymous": 1_200, "identified": 30}
    assert "persons   1,200 anonymous, 30 identified" in screen(look, NOW)


@pytest.mark.parametrize(
    ("drain_seconds", "said"),
    [
        (None, "1,200/s in, 1.5/s out"),
        (200.0, "1,200/s in, 1.5/s out; at this pace empty in 3 min"),
    ],
)
def test_rates_and_the_time_to_drain_are_told(
    drain_seconds: float | None, said: str
) -> None:
    rates = {
        "in_per_second": 1200.0,
        "out_per_second": 1.5,
        "drain_seconds": drain_seconds,
    }

    assert f"rates     {said}" in lines(status("flowing", rates=rates))


def test_a_daemon_that_knows_no_rates_claims_none() -> None:
    assert not any(line.startswith("rates") for line in lines(status("stopped")))


@pytest.mark.parametrize(
    ("per_second", "expected"),
    [
        (0, "0/min"),
        (0.1, "6/min"),
        (0.94, "56/min"),
        (0.96, "1.0/s"),
        (9.94, "9.9/s"),
        (9.96, "10/s"),
        (434_000.4, "434,000/s"),
    ],
)
def test_rates(per_second: float, expected: str) -> None:
    assert rate(per_second) == expected
