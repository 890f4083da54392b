"""The metrics: read back by prometheus-client's own parser, they say what is so."""

from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from leanbase_relay.forward.attempts import Attempts
from leanbase_relay.forward.standing import LaneStatus
from leanbase_relay.forward.verdict import Answer
from leanbase_relay.observe.metrics import PREFIX, Measured, exposition
from leanbase_relay.status import ProjectView, screen_status
from leanbase_relay.store.commits import Commits
from tests.unit.test_status import BUSY, NOW, TOTALS, lane, view

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(text: str) -> Samples:
    return {
        (sample.name.removeprefix(PREFIX), tuple(sorted(sample.labels.items()))): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def samples(measured: Measured | None = None, **members: Any) -> Samples:
    return read(exposition(screen_status(view(**members)), measured))


def of(project: str) -> tuple[tuple[str, str], ...]:
    return (("project", project),)


def test_every_door_an_event_takes_is_told_for_each_project() -> None:
    told = samples(projects={"default": BUSY, "shop": lane("idle")})

    for project in ("default", "shop"):
        assert told["events_accepted_total", of(project)] == 10
        assert told["events_delivered_total", of(project)] == 4
        assert told["events_dropped_total", of(project)] == 1
        assert told["events_refused_total", of(project)] == 5
        assert told["events_dead", of(project)] == 2
        assert told["backlog_events", of(project)] == 3
        assert told["backlog_bytes", of(project)] == 900
        assert told["backlog_oldest_age_seconds", of(project)] == 12.3


def test_what_a_requeue_takes_back_is_no_counter() -> None:
    text = exposition(screen_status(view(projects={"default": BUSY})))

    assert f"# TYPE {PREFIX}events_dead gauge" in text
    assert f"# TYPE {PREFIX}events_accepted_total counter" in text


def test_the_state_is_the_one_that_is_1() -> None:
    told = samples(projects={"default": lane("held"), "shop": lane("idle")})

    on = {labels for (name, labels), value in told.items() if "state" in name and value}
    assert on == {
        (("state", "held"),),
        (("project", "default"), ("state", "held")),
        (("project", "shop"), ("state", "idle")),
    }


@pytest.mark.parametrize(
    ("members", "up"),
    [({}, 1.0), ({"answering": False}, 0.0), ({"pid": None}, 0.0)],
)
def test_it_is_up_while_it_answers(members: dict[str, Any], up: float) -> None:
    assert samples(**members)["up", ()] == up


def test_stamps_are_seconds() -> None:
    told = samples(projects={"default": lane("idle", last_success_at=NOW + 0.5)})

    assert told["last_success_timestamp_seconds", of("default")] == NOW + 0.5


def test_what_was_measured_is_told() -> None:
    commits, attempts = Commits(), Attempts()
    commits.seconds.note(0.003)
    commits.turned_away.note("full", 7)
    attempts.note(Answer(status=503), events=3, size=20, seconds=0.2)

    told = samples(Measured(commits, {"default": attempts}))

    assert told["commit_seconds_count", ()] == 1
    assert told["commit_seconds_bucket", (("le", "0.0025"),)] == 0
    assert told["commit_seconds_bucket", (("le", "0.005"),)] == 1
    assert told["events_turned_away_total", (("reason", "full"),)] == 7
    assert told["lines_refused_total", (("door", "spool"),)] == 0
    one = (("project", "default"), ("status", "503"))
    assert told["attempts_total", one] == 1
    assert told["batch_events_sum", of("default")] == 3
    assert told["request_seconds_sum", of("default")] == pytest.approx(0.2)
    assert told["request_seconds_bucket", (("le", "+Inf"), *of("default"))] == 1


def test_it_tells_what_the_process_takes() -> None:
    told = samples(Measured(Commits(), {}))

    assert told["process_resident_memory_bytes", ()] > 0


def test_whatever_a_project_is_called_the_text_can_be_read() -> None:
    """A store may hold projects by names that today's configuration would refuse."""
    name = 'a"b\\c\nd'
    odd = {name: ProjectView("", totals=replace(TOTALS), lane=LaneStatus())}

    assert samples(projects=odd)["backlog_events", of(name)] == 3
