"""The status: what it shows of each state, and the sentences a person acts on."""

from dataclasses import replace
from pathlib import Path

import pytest

from leanbase_relay.cli import brief
from leanbase_relay.forward.standing import LaneStatus
from leanbase_relay.status import (
    STATES,
    ProjectView,
    SpoolView,
    StoreView,
    View,
    exit_code,
    json_status,
    one_line,
    screen_status,
    status,
)
from leanbase_relay.store.aside import Report
from leanbase_relay.store.reader import Life, Oldest
from leanbase_relay.store.totals import Position, Totals

NOW = 1_800_000_000.0
STORE = StoreView(Path("/nowhere/relay.db"), bytes=4096, max_bytes=1 << 30)
TOTALS = Totals(
    accepted=10,
    delivered=4,
    dead=2,
    dropped=1,
    refused=5,
    backlog_bytes=900,
    anonymous=3,
    position=Position(7, 1),
)
BUSY = ProjectView(
    url="https://example.com", totals=TOTALS, oldest_at=NOW - 12.34, lane=LaneStatus()
)


def view(**members: object) -> View:
    base = View(
        now=NOW,
        store=STORE,
        spool=SpoolView(Path("/nowhere/spool"), waiting_files=2, ignored_files=1),
        projects={"default": ProjectView("https://example.com", lane=LaneStatus())},
        pid=4711,
        uptime_seconds=12.52,
    )
    return replace(base, **members)  # type: ignore[arg-type]


def lane(state: str, **members: object) -> ProjectView:
    return replace(BUSY, lane=LaneStatus(state=state, **members))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("learnt", "is_problem"), [(0, False), (1 << 18, True), (1 << 20, False)]
)
def test_requests_that_have_to_be_small_are_a_problem(
    learnt: int, *, is_problem: bool
) -> None:
    slow = lane("flowing", learnt_bytes=learnt)
    slow = replace(slow, max_request_bytes=4 << 20)

    problems = status(view(projects={"shop": slow}))["problems"]

    assert len(problems) == is_problem
    if is_problem:
        assert "Project shop sends requests of 256.0 KiB at most" in problems[0]
        assert "batch.max_bytes is 4.0 MiB" in problems[0]
        assert "client_max_body_size" in problems[0]


@pytest.mark.parametrize(
    ("skew", "said"), [(151, "2 min ahead of"), (-3600, "60 min behind")]
)
def test_a_clock_that_differs_from_the_upstreams_is_a_problem(
    skew: float, said: str
) -> None:
    projects = {
        "default": lane("flowing", skew_seconds=skew),
        "shop": lane("flowing", skew_seconds=skew / 2),
    }

    (problem,) = status(view(projects=projects))["problems"]

    assert f"This machine's clock is {said} the upstream's" in problem
    assert "timedatectl" in problem


@pytest.mark.parametrize("skew", [None, 0.0, 150.0, -150.0])
def test_a_small_difference_is_none(skew: float | None) -> None:
    assert (
        status(view(projects={"d": lane("idle", skew_seconds=skew)}))["problems"] == []
    )


def test_it_has_the_shape_of_the_contract() -> None:
    look = status(view(projects={"default": lane("flowing")}))

    assert list(look) == [
        "version",
        "running",
        "pid",
        "uptime_seconds",
        "state",
        "backlog",
        "totals",
        "store",
        "spool",
        "projects",
        "problems",
    ]
    assert look["running"] is True
    assert look["uptime_seconds"] == 12.5
    assert look["backlog"] == {"events": 3, "bytes": 900, "oldest_age_seconds": 12.3}
    assert look["totals"] == {
        "accepted": 10,
        "delivered": 4,
        "dead": 2,
        "dropped": 1,
        "refused": 5,
    }
    assert look["store"]["path"] == "/nowhere/relay.db"
    assert look["store"]["disk_free_bytes"] > 0
    assert look["spool"] == {
        "path": "/nowhere/spool",
        "waiting_files": 2,
        "ignored_files": 1,
    }
    project = look["projects"]["default"]
    assert list(project) == ["state", "backlog", "totals", "upstream", "profiles"]
    assert project["profiles"] == {"anonymous": 3, "identified": 7}
    assert list(project["upstream"]) == [
        "url",
        "last_success_at",
        "last_error",
        "last_error_at",
        "attempt",
        "next_attempt_in_seconds",
    ]
    assert look["problems"] == []


def test_the_whole_adds_its_projects_up() -> None:
    look = status(view(projects={"default": BUSY, "shop": BUSY}))

    assert look["backlog"]["events"] == 6
    assert look["totals"]["accepted"] == 20


@pytest.mark.parametrize(
    ("states", "whole"),
    [
        (["idle", "flowing"], "flowing"),
        (["backing_off", "flowing"], "backing_off"),
        (["held", "backing_off"], "held"),
        ([], "idle"),
    ],
)
def test_the_state_of_the_whole_is_the_worst(states: list[str], whole: str) -> None:
    projects = {state: lane(state) for state in states}

    assert status(view(projects=projects))["state"] == whole


@pytest.mark.parametrize("store", [{"full": True}, {"trouble": "disk I/O error"}])
def test_a_store_that_takes_nothing_is_degraded(store: dict[str, object]) -> None:
    look = status(view(store=replace(STORE, **store)))  # type: ignore[arg-type]

    assert look["state"] == "degraded"
    (problem,) = look["problems"]
    assert "refused" in problem
    assert "store.max_bytes, 1.0 GiB)" in problem or not store.get("full")


def test_a_daemon_that_does_not_answer_is_unresponsive() -> None:
    look = status(view(answering=False))

    assert look["state"] == "unresponsive"
    assert "does not answer" in look["problems"][0]


def test_without_a_daemon_the_state_is_stopped() -> None:
    look = status(view(pid=None, uptime_seconds=None))

    assert look["state"] == "stopped"
    assert look["running"] is False
    assert look["uptime_seconds"] is None


def test_a_lane_that_is_held_says_what_to_do() -> None:
    held = replace(
        lane("held", last_error="answered 401; check this project's api_key"),
        next_attempt_in_seconds=280.4,
    )

    (problem,) = status(view(projects={"shop": held}))["problems"]

    assert "Project shop is held" in problem
    assert "api_key" in problem
    assert "in 4 min" in problem
    assert "leanbase-relay flush" in problem


def test_a_lane_that_backs_off_says_that_it_mends_itself() -> None:
    waiting = lane("backing_off", last_error="no answer: timeout", attempt=3)

    look = status(view(projects={"default": waiting}))

    assert "mends itself" in look["problems"][0]
    assert look["projects"]["default"]["upstream"]["attempt"] == 3


def test_the_worst_project_is_told_first() -> None:
    projects = {"a": lane("backing_off"), "b": lane("held"), "c": lane("flowing")}

    first, second = status(view(projects=projects))["problems"]

    assert "Project b is held" in first
    assert "Project a cannot deliver" in second


def test_rates_are_for_the_screen_alone() -> None:
    look = screen_status(view(), rates={"drain_seconds": 1.0}, history={})

    assert "rates" in look
    assert json_status(look).keys() == status(view()).keys()


@pytest.mark.parametrize(
    ("state", "drain_seconds"), [("flowing", 7.0), ("held", None), ("idle", None)]
)
def test_when_it_will_be_done_is_known_while_all_of_it_flows(
    state: str, drain_seconds: float | None
) -> None:
    rates = {"out_per_second": 1.0, "drain_seconds": 7.0}

    look = screen_status(view(projects={"default": lane(state)}), rates=rates)

    assert look["rates"] == {"out_per_second": 1.0, "drain_seconds": drain_seconds}


def test_stamps_are_of_the_wall_clock_in_utc() -> None:
    told = lane("flowing", last_success_at=NOW, last_error_at=NOW + 0.5)

    upstream = status(view(projects={"default": told}))["projects"]["default"][
        "upstream"
    ]

    assert upstream["last_success_at"] == "2027-01-15T08:00:00.000Z"
    assert upstream["last_error_at"] == "2027-01-15T08:00:00.500Z"


def test_a_clock_that_was_set_back_makes_no_negative_age() -> None:
    young = replace(BUSY, oldest_at=NOW + 100)

    assert status(view(projects={"default": young}))["backlog"][
        "oldest_age_seconds"
    ] == pytest.approx(0)


TODAY = Life(last_before=7, begun_at=NOW - 600)


@pytest.mark.parametrize(
    ("chunk", "stamp", "life", "since"),
    [
        (8, NOW - 60, TODAY, NOW - 60),
        (8, 20.0, TODAY, NOW - 600),  # the clock was set since, from 1970
        (8, NOW - 86_400, TODAY, NOW - 600),  # or by a day
        (7, NOW - 86_400, TODAY, NOW - 86_400),
        (7, 20.0, TODAY, NOW - 600),  # of an earlier life: at least since then
        (7, NOW - 86_400, None, NOW - 86_400),
        (7, 20.0, None, None),
    ],
)
def test_no_clock_makes_an_event_wait_for_longer_than_it_can_have(
    chunk: int, stamp: float, life: Life | None, since: float | None
) -> None:
    assert Oldest(chunk, round(stamp * 1000)).since(life) == since


def test_problems_of_the_spool_and_of_the_daemon_are_told() -> None:
    spool = SpoolView(None, problems=("a file waits",))

    look = status(view(spool=spool, problems=["restart it"]))

    assert look["problems"] == ["a file waits", "restart it"]
    assert look["spool"]["path"] is None


def letters(refused_hours_ago: float | None = None, given_up: int = 0) -> ProjectView:
    """A project with three dead letters."""
    refused_at = None
    if refused_hours_ago is not None:
        refused_at = NOW - refused_hours_ago * 3600
    totals = replace(TOTALS, dead_letters=3, dead_letters_given_up=given_up)
    return replace(BUSY, totals=totals, refused_at=refused_at)


def test_what_the_upstream_refused_in_the_last_day_is_told_once() -> None:
    projects = {
        "default": letters(refused_hours_ago=23),
        "old": letters(refused_hours_ago=25),
        "line": letters(),
        "shop": letters(refused_hours_ago=1),
    }

    look = status(view(projects=projects))

    (problem,) = look["problems"]
    assert "of project default, shop." in problem
    assert "dead-letters list" in problem
    assert exit_code(look) == 0, "it calls for nobody at night"


def test_letters_that_were_given_up_are_told_while_there_are_others() -> None:
    """Then something can be done, and that ends it."""
    (problem,) = status(view(projects={"default": letters(given_up=1200)}))["problems"]
    assert "1,200 dead letters were given up" in problem
    assert "dead_letters.max_bytes" in problem

    emptied = replace(
        letters(refused_hours_ago=1, given_up=1200),
        totals=replace(TOTALS, dead_letters_given_up=1200),
    )
    assert status(view(projects={"default": emptied}))["problems"] == []


def test_the_screen_is_told_of_dead_letters_and_machines_what_the_contract_says() -> (
    None
):
    look = screen_status(
        view(projects={"default": letters(), "shop": letters(None, 2)})
    )

    assert look["dead_letters"] == {"kept": 6, "given_up": 2}
    # Not the values: what is free on the disk changes from one look to the next.
    assert json_status(look).keys() == status(view()).keys()


@pytest.mark.parametrize(
    ("state", "code"),
    list(zip(STATES, [0, 0, 1, 1, 1, 1, 3], strict=True)),
)
def test_the_exit_code_follows_from_the_state(state: str, code: int) -> None:
    look = {"state": state, "store": {"lost_events": 0}}

    assert exit_code(look) == code


@pytest.mark.parametrize("lost", [{"default": 3}, {"default": None}])
def test_events_that_are_lost_call_for_somebody_until_the_file_is_removed(
    lost: dict[str, int | None],
) -> None:
    report = Report("/nowhere/relay.db.damaged-1", "its first page", lost=lost)

    look = status(view(store=replace(STORE, set_aside=[report])))

    assert look["state"] == "idle"
    assert look["store"]["lost_events"] == lost["default"]
    assert exit_code(look) == 1
    assert brief.one_line(look).startswith(
        "LEANBASE-RELAY CRITICAL: idle, backlog empty, events were lost"
    )
    whole = replace(report, lost={"default": 0})
    look = status(view(store=replace(STORE, set_aside=[whole])))
    assert exit_code(look) == 0
    assert len(look["problems"]) == 1


def test_a_store_that_was_not_salvaged_calls_for_somebody() -> None:
    report = Report("/nowhere/relay.db.damaged-1", "it is", is_salvaged=False)

    look = status(view(store=replace(STORE, set_aside=[report])))

    assert look["store"]["lost_events"] is None
    assert exit_code(look) == 1


@pytest.mark.parametrize(
    ("lanes", "refuses", "problem", "said"),
    [
        ([], False, None, "idle, 1,201 events waiting"),
        (["idle", "backing_off"], False, None, "backing off, 1,201 events waiting"),
        (["held", "flowing"], True, None, "degraded, 1,201 events waiting"),
        (["idle"], False, "Look.", "idle, 1,201 events waiting; Look."),
    ],
)
def test_systemctl_is_told_the_worst_in_one_line(
    lanes: list[str], *, refuses: bool, problem: str | None, said: str
) -> None:
    assert one_line(lanes, waiting=1201, refuses=refuses, problem=problem) == said
