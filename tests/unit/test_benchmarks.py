"""The guard of the benchmarks, and the documents' tables: pure parts of them."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks import table
from benchmarks.check import falls
from benchmarks.plot import Chart, Series
from benchmarks.question import Figure, Question, at_least, at_most

SVG = "{http://www.w3.org/2000/svg}"

QUESTION = Question(
    "made-up",
    lambda _: {},
    (
        Figure("rate", "a rate", "events/s", at_least(10)),
        Figure("more", "more is better", "times", at_least(1), is_ratio=True),
        Figure("less", "less is better", "times", at_most(2), is_ratio=True),
        Figure("peer", "a peer", "events/s", absent="NOT MEASURED: get it"),
    ),
)


def kept(**medians: float) -> dict[str, Any]:
    rounds = [medians, medians]
    return {
        "machine": {"processors": "2"},
        "questions": {"made-up": {"medians": medians, "rounds": rounds}},
    }


@pytest.mark.parametrize(
    ("now", "fallen"),
    [
        ({"more": 0.81, "less": 1.24}, []),
        ({"more": 0.79, "less": 1.0}, ["more"]),
        ({"more": 1.0, "less": 1.26}, ["less"]),
        ({"more": 2.0, "less": 0.5}, []),
        ({"less": 1.0}, []),
    ],
)
def test_a_ratio_that_fell_by_more_than_a_fifth_is_named(
    now: dict[str, float], fallen: list[str]
) -> None:
    found = falls([QUESTION], kept(more=1.0, less=1.0, rate=100.0), {"made-up": now})

    assert [fall.figure.key for fall in found] == fallen


def test_a_time_that_fell_is_the_machine_s() -> None:
    assert not list(falls([QUESTION], kept(rate=100.0), {"made-up": {"rate": 1.0}}))


def test_a_figure_that_was_never_kept_cannot_fall() -> None:
    assert not list(falls([QUESTION], kept(rate=1.0), {"made-up": {"more": 0.1}}))


def test_a_peer_that_is_not_there_is_said_to_be_missing() -> None:
    text = table.markdown([QUESTION], kept(rate=100.0, more=1.0, less=3.0))

    assert "| **a peer** | NOT MEASURED: get it |" in text
    assert "| **less is better** | 3 times | 3 … 3 | <= 2 | below |" in text


def test_a_table_replaces_what_stood_between_its_marks(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    start = "<!-- figures: written by `make bench-keep` -->"
    document.write_text(f"before\n{start}\nold\n<!-- end of figures -->\nafter\n")

    table.write_into(document, "figures", "new\nrow \\1")

    assert table.stands_in(document, "figures") == "new\nrow \\1"
    assert document.read_text().startswith("before\n")
    assert document.read_text().endswith("\nafter\n")


def parsed(chart: Chart) -> ET.Element:
    return ET.fromstring(chart.svg())  # noqa: S314 - our own


def test_a_chart_is_svg_with_every_point_in_it() -> None:
    chart = Chart(
        title="Cost < gain",
        across="Events",
        up="µs",
        series=[
            Series("storing", [(10, 2.5), (1_000, 2.6)]),
            Series("sending", [(10, 0.5), (1_000, 0.4)]),
        ],
    )

    drawn = parsed(chart)

    texts = [each.text for each in drawn.iter(f"{SVG}text")]
    assert {"2.5", "2.6", "0.5", "0.4", "10", "1,000", "Cost < gain"} <= set(texts)
    assert len(list(drawn.iter(f"{SVG}polyline"))) == 2
    low, high = (
        [float(at.split(",")[1]) for at in line.attrib["points"].split()]
        for line in drawn.iter(f"{SVG}polyline")
    )
    assert max(low) < min(high)  # what costs more stands higher


def test_equal_points_are_drawn_too() -> None:
    chart = Chart("t", "a", "u", [Series("one", [(1, 1.0)])])

    assert parsed(chart) is not None
