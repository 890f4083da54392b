"""Metrics: the relay as Prometheus reads it.

Most figures are those of `status`, from the store's own totals: they survive restarts.
What is measured (commits, attempts) counts from the start of the daemon, as usual.
prometheus-client knows the format; it is imported when somebody first asks.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from leanbase_relay.measures import Histogram
from leanbase_relay.status import STATES

if TYPE_CHECKING:
    from prometheus_client import Metric

    from leanbase_relay.forward.attempts import Attempts
    from leanbase_relay.store.commits import Commits

PREFIX = "leanbase_relay_"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Of each project: the name, what it is, and where the status has it.
_COUNTERS = {
    "events_accepted": "Events that intake accepted: they are on the disk.",
    "events_delivered": "Events that the upstream took.",
    "events_dropped": "Events given up at the operator's wish.",
    "events_refused": "Lines that intake refused.",
}


@dataclass(frozen=True, slots=True)
class Measured:
    """What a running daemon measured: of the store, and of each project's lane."""

    commits: "Commits"
    lanes: Mapping[str, "Attempts"]


def exposition(look: Mapping[str, Any], measured: Measured | None = None) -> str:
    """The metrics as text.

    Args:
        look: the status, as `status.screen_status` has it.
        measured: None where no daemon answers.
    """
    from prometheus_client import ProcessCollector, generate_latest

    families = list(_of_status(look))
    if measured is not None:
        families += _of_commits(measured.commits)
        families += _of_attempts(measured.lanes)
        families += ProcessCollector(registry=None).collect()
    return generate_latest(_Collected(families)).decode()


class _Collected:
    """What prometheus-client takes for a registry: it only asks for all there is."""

    def __init__(self, families: Iterable["Metric"]) -> None:
        self._families = families

    def collect(self) -> Iterator["Metric"]:
        yield from self._families


def _of_status(look: Mapping[str, Any]) -> Iterator["Metric"]:
    from prometheus_client.core import InfoMetricFamily

    projects = look["projects"]
    yield InfoMetricFamily(
        f"{PREFIX}build", "Which version it is.", {"version": look["version"]}
    )
    up = look["running"] and look["state"] != "unresponsive"
    yield _gauge("up", "1 if the daemon runs and answers.", float(up))
    yield _states("state", "1 for the state that the relay is in.", {"": look["state"]})
    yield _states(
        "project_state",
        "1 for the state that the project is in.",
        {name: project["state"] for name, project in projects.items()},
    )
    for name, help_text in _COUNTERS.items():
        total = name.removeprefix("events_")
        yield _by_project("counter", name, help_text, projects, ("totals", total))
    yield from _of_backlogs(projects)
    yield from _of_letters(look, projects)
    yield from _of_room(look)
    yield _gauge("problems", "Sentences in `status`.", len(look["problems"]))


def _of_backlogs(projects: Mapping[str, Any]) -> Iterator["Metric"]:
    for name, help_text, path in (
        ("backlog_events", "Events that wait.", ("backlog", "events")),
        ("backlog_bytes", "Their size before compression.", ("backlog", "bytes")),
        (
            "backlog_oldest_age_seconds",
            "How long the oldest event has waited; 0 without one.",
            ("backlog", "oldest_age_seconds"),
        ),
        (
            "attempts_in_vain",
            "Attempts of the batch under way that brought no decision.",
            ("upstream", "attempt"),
        ),
        (
            "last_success_timestamp_seconds",
            "When the upstream last took a batch; 0 = not since the start.",
            ("upstream", "last_success_at"),
        ),
    ):
        yield _by_project("gauge", name, help_text, projects, path)


def _of_letters(
    look: Mapping[str, Any], projects: Mapping[str, Any]
) -> Iterator["Metric"]:
    # Requeued letters leave these two, which a counter could not tell.
    yield _by_project(
        "gauge",
        "events_dead",
        "Events that the upstream refused for good and nobody requeued.",
        projects,
        ("totals", "dead"),
    )
    letters = look.get("dead_letters", {"kept": 0, "given_up": 0})
    yield _gauge("dead_letters", "Dead letters that are kept.", letters["kept"])
    yield _counter(
        "dead_letters_given_up",
        "Dead letters given up for want of room.",
        {(): letters["given_up"]},
    )


def _of_room(look: Mapping[str, Any]) -> Iterator["Metric"]:
    store, spool = look["store"], look["spool"]
    yield _gauge("store_bytes", "Database and log on the disk.", store["bytes"])
    yield _gauge("store_max_bytes", "store.max_bytes.", store["max_bytes"])
    if store["disk_free_bytes"] is not None:
        free = store["disk_free_bytes"]
        yield _gauge("disk_free_bytes", "Free on the disk of the store.", free)
    if spool["path"] is not None:
        waiting, ignored = spool["waiting_files"], spool["ignored_files"]
        yield _gauge("spool_waiting_files", "Spool files not wholly taken.", waiting)
        yield _gauge("spool_ignored_files", "Files that are never taken.", ignored)


def _of_commits(commits: "Commits") -> Iterator["Metric"]:
    yield _counter(
        "lines_refused",
        "Lines that intake refused since the start, by the door they came to.",
        {(kind,): count for kind, count in commits.refused.read().items()},
        ("door",),
    )
    yield _counter(
        "events_turned_away",
        "Events for which there was no room, or no disk; a spool file that waits is "
        "counted at each try.",
        {(kind,): count for kind, count in commits.turned_away.read().items()},
        ("reason",),
    )
    yield _histogram(
        "commit_seconds", "What one commit took, fsync and all.", {(): commits.seconds}
    )


def _of_attempts(lanes: Mapping[str, "Attempts"]) -> Iterator["Metric"]:
    yield _counter(
        "attempts",
        "Requests to the upstream, by status or by why there was none.",
        {
            (project, status): count
            for project, lane in lanes.items()
            for status, count in lane.by_status.read().items()
        },
        ("project", "status"),
    )
    for name, help_text, measure in (
        ("request_seconds", "What one request took.", "seconds"),
        ("batch_events", "Events in one request.", "events"),
        ("batch_bytes", "Bytes in one request, before compression.", "bytes"),
    ):
        by_project: dict[tuple[str, ...], Histogram] = {
            (one,): getattr(lane, measure) for one, lane in lanes.items()
        }
        yield _histogram(name, help_text, by_project, ("project",))


# Families.


def _gauge(name: str, help_text: str, value: float) -> "Metric":
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(PREFIX + name, help_text, value)


def _counter(
    name: str,
    help_text: str,
    values: Mapping[tuple[str, ...], float],
    labels: tuple[str, ...] = (),
) -> "Metric":
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(PREFIX + name, help_text, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family


def _by_project(
    kind: str,
    name: str,
    help_text: str,
    projects: Mapping[str, Any],
    path: tuple[str, str],
) -> "Metric":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    made = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
    family = made(PREFIX + name, help_text, labels=("project",))
    group, member = path
    for project, look in projects.items():
        family.add_metric((project,), _number(look[group][member]))
    return family


def _states(name: str, help_text: str, states: Mapping[str, str]) -> "Metric":
    from prometheus_client.core import GaugeMetricFamily

    whole = list(states) == [""]
    labels = ("state",) if whole else ("project", "state")
    family = GaugeMetricFamily(PREFIX + name, help_text, labels=labels)
    for project, current in states.items():
        for state in STATES:
            values = (state,) if whole else (project, state)
            family.add_metric(values, float(state == current))
    return family


def _histogram(
    name: str,
    help_text: str,
    histograms: Mapping[tuple[str, ...], Histogram],
    labels: tuple[str, ...] = (),
) -> "Metric":
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(PREFIX + name, help_text, labels=labels)
    for label_values, histogram in histograms.items():
        buckets, total = histogram.read()
        named = [(_bound(bound), count) for bound, count in buckets]
        family.add_metric(label_values, named, total)
    return family


def _bound(bound: float) -> str:
    return "+Inf" if math.isinf(bound) else str(float(bound))


def _number(value: float | str | None) -> float:
    """A figure of the status; its stamps become seconds since 1970."""
    if value is None:
        return 0.0
    if isinstance(value, str):
        return datetime.fromisoformat(value).timestamp()
    return value
