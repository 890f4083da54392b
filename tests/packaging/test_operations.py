"""docs/operations.md: every complaint of `status` is in it, and no other."""

import re
from pathlib import Path

import pytest

from leanbase_relay.intake.spool_problems import Problem

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operations.md").read_text()
SOURCES = (
    *("status", "daemon", "store/aside"),
    *("intake/spool_problems", "intake/complaints", "intake/admission"),
)

COMPLAINTS = re.search(r"## What `status`.*?\n## ", PAGE, re.DOTALL)
assert COMPLAINTS is not None
ROWS = re.findall(r"^\| (?!sentence|---)(.*?) \|", COMPLAINTS[0], re.MULTILINE)


def said() -> str:
    """All texts of the modules that complain, each gap a `…`."""
    sources = [
        (ROOT / f"leanbase_relay/{name}.py").read_text().replace('f"', '"')
        for name in SOURCES
    ]
    joined = re.sub(r'"\s*"', "", "\n".join(sources))
    return re.sub(r"\{[^{}]*\}", "…", joined)


@pytest.mark.parametrize("problem", Problem, ids=lambda problem: problem.name)
def test_every_complaint_of_the_spool_has_its_row(problem: Problem) -> None:
    text = re.sub(r"\{\w+\}", "…", problem.value)

    assert any(text.startswith(row.removesuffix("…").rstrip()) for row in ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_every_row_is_a_complaint_that_is_made(row: str) -> None:
    assert row.removesuffix("…").rstrip() in said()


def test_the_paths_of_the_page_are_those_of_the_package() -> None:
    files = re.findall(r"systemd/[\w./-]+\.(?:service|socket|conf)", PAGE)

    assert files
    assert all((ROOT / file).is_file() for file in files)
