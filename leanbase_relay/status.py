"""The status: what is stuck, since when, and what to do; one shape for all cases.

The daemon fills it from memory, the command line from the store's file when no daemon
answers (contract: docs/protocol.md, "Status").
"""

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leanbase_relay import __version__
from leanbase_relay.clock import rfc_3339
from leanbase_relay.store.aside import Report, lost_events
from leanbase_relay.store.totals import Totals
from leanbase_relay.words import age, size

if TYPE_CHECKING:  # forwarder and store are heavy, and `status` is to be quick
    from leanbase_relay.forward.standing import LaneStatus
    from leanbase_relay.store.reader import Reader

STATES = (
    "idle",
    "flowing",
    "backing_off",
    "held",
    "degraded",
    "unresponsive",
    "stopped",
)
"""From best to worst."""

MOST_SKEW_SECONDS = 150.0
"""A difference from the upstream's clock that its newest servers do not correct."""

FAR_BELOW = 4
"""A learnt bound of requests is a problem where it is so many times less than ours."""

_TOTALS = ("accepted", "delivered", "dead", "dropped", "refused")
_FOR_SCREEN = ("dead_letters", "rates", "history")
_LATELY_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class StoreView:
    """The store as `status` shows it; bytes.

    Attributes:
        set_aside: what became of damaged ones that still lie beside it.
    """

    path: Path
    bytes: int
    max_bytes: int
    full: bool = False
    trouble: str | None = None
    set_aside: Sequence[Report] = ()


@dataclass(frozen=True, slots=True)
class SpoolView:
    """The spool as `status` shows it."""

    path: Path | None
    waiting_files: int = 0
    ignored_files: int = 0
    problems: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ProjectView:
    """One project as `status` shows it.

    Attributes:
        oldest_at: wall clock, when the first event of its backlog was accepted.
        refused_at: wall clock, when the upstream last refused an event for good.
        max_request_bytes: what the configuration would send at once.
        next_attempt_in_seconds: None while none is planned.
    """

    url: str
    totals: Totals = field(default_factory=Totals)
    oldest_at: float | None = None
    refused_at: float | None = None
    lane: "LaneStatus | None" = None
    max_request_bytes: int = 0
    next_attempt_in_seconds: float | None = None
    is_configured: bool = True


@dataclass(frozen=True, slots=True)
class View:
    """All that a status is made of.

    Attributes:
        pid, uptime_seconds: of the daemon; None where there is none.
        answering: False if a daemon is there and does not answer.
        now: wall clock.
    """

    now: float
    store: StoreView
    spool: SpoolView
    projects: Mapping[str, ProjectView]
    pid: int | None = None
    uptime_seconds: float | None = None
    answering: bool = True
    problems: Sequence[str] = ()


def status(view: View) -> dict[str, Any]:
    """The status as one JSON value; ages in seconds, sizes in bytes."""
    projects = {name: _project(one, view.now) for name, one in view.projects.items()}
    states = [project["state"] for project in projects.values()]
    if view.store.full or view.store.trouble:
        states.append("degraded")
    if view.pid is None:
        states.append("stopped")
    elif not view.answering:
        states.append("unresponsive")
    ages = [project["backlog"]["oldest_age_seconds"] for project in projects.values()]
    return {
        "version": __version__,
        "running": view.pid is not None,
        "pid": view.pid,
        "uptime_seconds": _rounded(view.uptime_seconds),
        "state": max(states, key=STATES.index, default="idle"),
        "backlog": {
            "events": sum(p["backlog"]["events"] for p in projects.values()),
            "bytes": sum(p["backlog"]["bytes"] for p in projects.values()),
            "oldest_age_seconds": max(
                (one for one in ages if one is not None), default=None
            ),
        },
        "totals": {
            name: sum(project["totals"][name] for project in projects.values())
            for name in _TOTALS
        },
        "store": {
            "path": str(view.store.path),
            "bytes": view.store.bytes,
            "max_bytes": view.store.max_bytes,
            "disk_free_bytes": _disk_free_bytes(view.store.path),
            "lost_events": lost_events(view.store.set_aside),
        },
        "spool": {
            "path": str(view.spool.path) if view.spool.path is not None else None,
            "waiting_files": view.spool.waiting_files,
            "ignored_files": view.spool.ignored_files,
        },
        "projects": projects,
        "problems": _problems(view),
    }


def screen_status(view: View, **beside: Any) -> dict[str, Any]:
    """The status, and what only the screen and the page show.

    Args:
        view: as for `status`.
        beside: rates and history, where a daemon knows them; see `observe.rates`.
    """
    totals = [project.totals for project in view.projects.values()]
    letters = {
        "kept": sum(one.dead_letters for one in totals),
        "given_up": sum(one.dead_letters_given_up for one in totals),
    }
    look = status(view)
    if look["state"] != "flowing" and (rates := beside.get("rates")):
        # Of a relay that delivers in part nobody knows when it will be done.
        beside["rates"] = rates | {"drain_seconds": None}
    return look | {"dead_letters": letters, **beside}


def json_status(look: Mapping[str, Any]) -> dict[str, Any]:
    """What `status --json` prints: the members that the contract names."""
    return {name: value for name, value in look.items() if name not in _FOR_SCREEN}


def one_line(
    lanes: Iterable[str], *, waiting: int, refuses: bool, problem: str | None
) -> str:
    """How the relay stands, for `systemctl status`.

    Args:
        lanes: their states.
        waiting: events of the backlog.
        refuses: whether new events are being refused.
        problem: one sentence more, if there is one.
    """
    states = [*lanes, *(["degraded"] if refuses else [])]
    state = max(states, key=STATES.index, default="idle").replace("_", " ")
    return f"{state}, {waiting:,} events waiting" + (f"; {problem}" if problem else "")


def exit_code(look: Mapping[str, Any]) -> int:
    """What `leanbase-relay status` exits with."""
    if look["state"] == "stopped":
        return 3
    return 0 if look["state"] in ("idle", "flowing") and not has_lost(look) else 1


def has_lost(look: Mapping[str, Any]) -> bool:
    """Whether events were lost, and nobody has removed the damaged file since."""
    return bool(look["store"].get("lost_events", 0) != 0)  # None = nobody knows


def stored_totals(reader: "Reader", names: Sequence[str]) -> dict[str, ProjectView]:
    """What the store's file alone says of each project, the unconfigured ones too."""
    totals = reader.totals()
    refused_ms = reader.lately_refused_ms()
    views = {}
    for name in dict.fromkeys((*names, *totals)):
        oldest = reader.oldest(name)
        views[name] = ProjectView(
            url="",
            totals=totals.get(name, Totals()),
            oldest_at=oldest.since(None) if oldest else None,
            refused_at=seconds(refused_ms.get(name)),
        )
    return views


def seconds(ms: int | None) -> float | None:
    """A stamp of the store's as the wall clock has it."""
    return None if ms is None else ms / 1000


def _project(view: ProjectView, now: float) -> dict[str, Any]:
    lane = view.lane
    totals = asdict(view.totals)
    oldest = None if view.oldest_at is None else max(now - view.oldest_at, 0.0)
    backlog = view.totals.backlog_events
    return {
        "state": lane.state if lane else ("flowing" if backlog else "idle"),
        "backlog": {
            "events": backlog,
            "bytes": view.totals.backlog_bytes,
            "oldest_age_seconds": _rounded(oldest),
        },
        "totals": {name: totals[name] for name in _TOTALS},
        "upstream": {
            "url": view.url,
            "last_success_at": _stamp(lane.last_success_at if lane else None),
            "last_error": lane.last_error if lane else None,
            "last_error_at": _stamp(lane.last_error_at if lane else None),
            "attempt": lane.attempt if lane else 0,
            "next_attempt_in_seconds": _rounded(view.next_attempt_in_seconds),
        },
        "profiles": {
            "anonymous": view.totals.anonymous,
            "identified": view.totals.accepted - view.totals.anonymous,
        },
    }


def _problems(view: View) -> list[str]:
    """Sentences that say what is wrong, what it means and what to do."""
    return [
        *_process_problems(view),
        *_store_problems(view.store),
        *(
            sentence
            for name, project in _worst_first(view.projects)
            for sentence in _project_problems(name, project)
        ),
        *_limit_problems(view.projects),
        *_clock_problems(view.projects.values()),
        *_letter_problems(view),
        *view.spool.problems,
        *view.problems,
    ]


def _worst_first(projects: Mapping[str, ProjectView]) -> list[tuple[str, ProjectView]]:
    def badness(item: tuple[str, ProjectView]) -> int:
        lane = item[1].lane
        return STATES.index(lane.state) if lane else 0

    return sorted(projects.items(), key=badness, reverse=True)


def _clock_problems(projects: Iterable[ProjectView]) -> list[str]:
    """One sentence for all: the clock is this machine's."""
    skews = [p.lane.skew_seconds for p in projects if p.lane and p.lane.skew_seconds]
    skew = max(skews, key=abs, default=0.0)
    if abs(skew) <= MOST_SKEW_SECONDS:
        return []
    way = "ahead of" if skew > 0 else "behind"
    sentence = (
        f"This machine's clock is {age(abs(skew))} {way} the upstream's: what is "
        "stamped here bears a wrong time. Set it, and keep it set: timedatectl "
        "set-ntp true."
    )
    return [sentence]


def _process_problems(view: View) -> list[str]:
    if view.pid is not None and not view.answering:
        sentence = (
            f"The daemon (pid {view.pid}) does not answer within a second; the figures "
            "come from the store. If it stays so, see its log and restart it: nothing "
            "stored is lost by that."
        )
        return [sentence]
    return []


def _store_problems(store: StoreView) -> list[str]:
    problems = []
    if store.trouble:
        problems.append(
            f"The store cannot be written: {store.trouble}. New events are refused, "
            "spool files wait; what is stored is still delivered. Make room on the "
            f"disk of {store.path}, or look at its health; the relay goes on by itself."
        )
    if store.full:
        problems.append(
            f"The store is full (store.max_bytes, {size(store.max_bytes)}): new events "
            "are refused, spool files wait. It empties by itself as events are "
            "delivered; or raise store.max_bytes."
        )
    return problems + [report.sentence() for report in store.set_aside]


def _project_problems(name: str, project: ProjectView) -> list[str]:
    lane = project.lane
    if not project.is_configured:
        waiting = project.totals.backlog_events
        sentence = (
            f"Project {name} is not configured any more, and {waiting:,} of its events "
            "wait: give it a key again and restart, or give them up with "
            f"`leanbase-relay purge --project {name}`."
        )
        return [sentence]
    if lane is None or lane.state not in ("held", "backing_off"):
        return []
    again = project.next_attempt_in_seconds
    when = "now" if again is None else f"in {age(max(again, 0))}"
    sentence = (
        f"Project {name} cannot deliver: {project.url}: {lane.last_error}. It mends "
        f"itself; the next attempt is {when}."
    )
    if lane.state == "held":
        sentence = (
            f"Project {name} is held: {project.url} {lane.last_error}. Nothing is "
            f"lost; the next attempt is {when}, or at once with `leanbase-relay flush`."
        )
    return [sentence]


def _limit_problems(projects: Mapping[str, ProjectView]) -> list[str]:
    """Who has to send many small requests, and could send few."""
    return [
        f"Project {name} sends requests of {size(project.lane.learnt_bytes)} at most: "
        "larger ones were answered with 413, while batch.max_bytes is "
        f"{size(project.max_request_bytes)}. That is slow. If a proxy in between "
        "bounds them, raise its bound (nginx: client_max_body_size); larger ones are "
        "tried now and then."
        for name, project in projects.items()
        if project.lane
        and 0 < project.lane.learnt_bytes * FAR_BELOW < project.max_request_bytes
    ]


def _letter_problems(view: View) -> list[str]:
    """Of dead letters, as long as there are any: then something can be done."""
    kept = {name: one for name, one in view.projects.items() if one.totals.dead_letters}
    refused = [
        name
        for name, one in kept.items()
        if one.refused_at is not None and view.now - one.refused_at < _LATELY_SECONDS
    ]
    given_up = sum(one.totals.dead_letters_given_up for one in kept.values())
    problems = []
    if refused:
        problems.append(
            "The upstream refused events in the last day, of project "
            f"{', '.join(refused)}. They are kept: `leanbase-relay dead-letters list` "
            "shows them and why."
        )
    if given_up:
        problems.append(
            f"{given_up:,} dead letters were given up for want of room, the oldest "
            "ones. Look at those that are left (`leanbase-relay dead-letters list`); "
            "requeue, export or purge them, or raise dead_letters.max_bytes."
        )
    return problems


def _stamp(wall: float | None) -> str | None:
    return None if wall is None else rfc_3339(wall)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _disk_free_bytes(path: Path) -> int | None:
    for place in (path, *path.parents):
        with contextlib.suppress(OSError):
            disk = os.statvfs(place)
            return disk.f_bavail * disk.f_frsize
    return None
