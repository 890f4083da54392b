"""docs/troubleshooting.md: an entry for each sentence of `problems`, and no other.

Sentences are found in the code: they are made in functions that are called after
problems, and by the spool, which has a list of its kinds.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from leanbase_relay.intake.spool_problems import Problem

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "leanbase_relay"
PAGE = (ROOT / "docs/troubleshooting.md").read_text()

_SECTION = PAGE.partition("## What `status` says")[2].partition("\n## ")[0]
ENTRIES = re.findall(r"^### (.+)$", _SECTION, re.MULTILINE)

MAKERS = re.compile(
    r"_?problems|_\w+_problems|sentence|_needs_restart|_reload|_from_store"
)
ELSEWHERE = {"config.py", "settings.py", "keys.py"}  # of a file, told at the start

NO_SENTENCES = {
    "projects (added or removed)",
    "config_refused problem=%s",
    "If that is for lack of permission, use sudo.",
    "The next start sets it aside and salvages what can be read.",
}
"""Parts of one, and what goes to the log."""

SHORTEST = 24
"""Of a sentence; what is shorter is a word or a key."""


def texts(node: ast.AST) -> Iterator[str]:
    """The texts below a node, each gap a `…`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(
            str(part.value) if isinstance(part, ast.Constant) else "…"
            for part in node.values
        )
    else:
        for child in ast.iter_child_nodes(node):
            yield from texts(child)


def said_in(file: Path) -> Iterator[str]:
    """What the makers of sentences in a file say."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef) and MAKERS.fullmatch(node.name):
            documented = ast.get_docstring(node) is not None
            for statement in node.body[int(documented) :]:
                yield from texts(statement)


def of_the_spool() -> Iterator[str]:
    for problem in Problem:
        yield re.sub(r"\{\w+\}", "…", problem.value)


FILES = [
    file
    for file in sorted(PACKAGE.rglob("*.py"))
    if file.name not in ELSEWHERE and "sink" not in file.parts
]
SENTENCES = sorted(
    {
        text
        for text in (*of_the_spool(), *(text for f in FILES for text in said_in(f)))
        if len(text) >= SHORTEST and text not in NO_SENTENCES
    }
)


def begins(sentence: str, entry: str) -> bool:
    return sentence.startswith(entry.removesuffix("…").rstrip())


def test_the_sentences_are_found() -> None:
    assert len(SENTENCES) >= len(Problem) + 12


@pytest.mark.parametrize("sentence", SENTENCES)
def test_each_sentence_has_its_entry(sentence: str) -> None:
    assert sum(begins(sentence, entry) for entry in ENTRIES) == 1, "write one"


@pytest.mark.parametrize("entry", ENTRIES)
def test_each_entry_is_of_a_sentence_that_is_said(entry: str) -> None:
    assert any(begins(sentence, entry) for sentence in SENTENCES)


@pytest.mark.parametrize("entry", ENTRIES)
def test_each_entry_says_what_happens_and_what_to_do(entry: str) -> None:
    body = _SECTION.partition(f"### {entry}\n")[2].partition("### ")[0]

    assert "**You:**" in body or "**By itself:**" in body
