"""The documents' figures are the kept ones, and nobody has written them by hand."""

import json
from pathlib import Path

import pytest

from benchmarks import readme, table
from benchmarks.__main__ import KEPT, QUESTIONS
from benchmarks.growth import charts

TEXTS = readme.texts(QUESTIONS.values(), json.loads((KEPT / "full.json").read_text()))


@pytest.mark.parametrize(("document", "name"), TEXTS)
def test_a_table_is_what_was_measured(document: Path, name: str) -> None:
    """`python -m benchmarks docs` writes it."""
    assert table.stands_in(document, name) == TEXTS[document, name]


def test_the_drawings_are_what_was_measured() -> None:
    kept = json.loads((KEPT / "growth.json").read_text())

    for name, chart in charts(kept).items():
        drawn = readme.ROOT / "docs" / f"{name}.svg"
        assert drawn.read_text() == chart.svg()
        assert f"({drawn.name})" in readme.DETAILS.read_text()


def test_every_ratio_that_is_kept_can_be_asked_again() -> None:
    kept = json.loads((KEPT / "quick.json").read_text())["questions"]

    for name, question in QUESTIONS.items():
        ratios = {one.key for one in question.figures if one.is_ratio}
        assert not ratios or ratios & kept[name]["medians"].keys(), name
