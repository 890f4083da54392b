"""Dashboard and alerts speak of metrics that there are, with labels that they have."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from leanbase_relay.forward.attempts import Attempts
from leanbase_relay.forward.verdict import Answer
from leanbase_relay.observe.metrics import Measured, exposition
from leanbase_relay.status import screen_status
from leanbase_relay.store.commits import Commits
from tests.unit.test_status import BUSY, view

GRAFANA = Path(__file__).parents[2] / "examples" / "grafana"
METRIC = re.compile(r"\b(leanbase_relay_\w+)(?:\{([^}]*)\})?")
LABEL = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
BY = re.compile(r"\bby \(([^)]*)\)")
OF_PROMETHEUS = {"instance", "job", "le"}


@pytest.fixture(scope="module")
def labels() -> dict[str, set[str]]:
    """Each sample's name, and the labels that it has."""
    attempts = Attempts()
    attempts.note(Answer(status=200), events=1, size=2, seconds=0.1)
    look = screen_status(view(projects={"default": BUSY}))
    text = exposition(look, Measured(Commits(), {"default": attempts}))
    found: dict[str, set[str]] = defaultdict(set)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] |= sample.labels.keys()
    return found


def dashboard() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((GRAFANA / "dashboard.json").read_text())
    return read


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((GRAFANA / "alerts.yaml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def expressions() -> Iterator[str]:
    for panel in dashboard()["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (one.get("definition", "") for one in dashboard()["templating"]["list"])
    yield from (rule["expr"] for rule in rules())


def test_every_metric_and_label_that_is_asked_for_exists(
    labels: dict[str, set[str]],
) -> None:
    asked = 0
    for expression in expressions():
        of_all: set[str] = set()
        for name, selector in METRIC.findall(expression):
            asked += 1
            assert name in labels, f"{name} in {expression}"
            wanted = {label for label, _ in LABEL.findall(selector)}
            assert wanted <= labels[name] | OF_PROMETHEUS, expression
            of_all |= labels[name]
        for group in BY.findall(expression):
            assert {one.strip() for one in group.split(",")} <= of_all | OF_PROMETHEUS
    assert asked > 25


def test_what_only_grows_is_asked_for_its_rate_and_nothing_else() -> None:
    for expression in expressions():
        for name, _ in METRIC.findall(expression):
            grows = name.endswith(("_total", "_bucket", "_sum", "_count"))
            if grows:
                assert re.search(rf"(rate|increase)\({name}", expression), expression


def test_every_alert_says_what_it_is_about_and_how_bad() -> None:
    names = [rule["alert"] for rule in rules()]

    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]


def test_panels_do_not_lie_upon_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not taken & cells
        assert max(x for x, _ in cells) < 24
        taken |= cells
