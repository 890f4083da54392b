"""Rules of the house that no linter knows."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CEILING_LINES = 400

# A file may be longer where cutting it would hide what belongs together.
LONGER = {
    "client.py": "apps import it alone: it has nothing beside it",
    "daemon.py": "the life of the process, from lock to exit code, in one place",
    "intake/line.py": "one event's rules, each of them small, in the order of judging",
    "status.py": "all that it tells: figures, states, each sentence of `problems`",
    "store/store.py": "every statement that changes the database",
    "store/writer.py": "the one thread that writes: group, commit, room, trouble",
}
VAGUE = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "base"}
KNOWN_VAGUE = {"cli/common.py"}  # options and complaints that commands share

FILES = {
    str(file.relative_to(ROOT / "leanbase_relay")): file
    for file in sorted((ROOT / "leanbase_relay").rglob("*.py"))
}


def lines(file: Path) -> int:
    return len(file.read_text().splitlines())


def test_a_file_is_short_or_says_why_not() -> None:
    long = {name for name, file in FILES.items() if lines(file) > CEILING_LINES}

    assert long == LONGER.keys() & long, "shorten it, or give the reason here"


def test_no_reason_is_kept_for_a_file_that_is_short() -> None:
    assert {name for name in LONGER if lines(FILES[name]) <= CEILING_LINES} == set()


@pytest.mark.parametrize("name", FILES)
def test_a_module_opens_with_its_deed(name: str) -> None:
    tree = ast.parse(FILES[name].read_text())

    assert ast.get_docstring(tree) or not tree.body


def test_no_module_has_a_name_that_says_nothing() -> None:
    vague = {name for name in FILES if Path(name).stem in VAGUE}

    assert vague == KNOWN_VAGUE & vague


def test_the_drawing_of_the_house_has_every_module() -> None:
    design = (ROOT / "docs" / "design.md").read_text()
    drawing = design.partition("\nleanbase_relay/\n")[2].partition("```")[0]
    drawn = set(re.findall(r"\w+", drawing))

    missing = {
        name
        for name in FILES
        if not name.startswith(("cli/", "sink/", "intake/spool_"))
        and not name.endswith(("__init__.py", "__main__.py"))
        and Path(name).stem not in drawn
    }
    assert missing == set()


def test_a_class_manages_nothing() -> None:
    names = [
        f"{name}: {node.name}"
        for name, file in FILES.items()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef)
        and node.name.endswith(("Manager", "Handler", "Helper", "Util"))
        and not node.bases  # a library may want such a subclass
    ]

    assert names == []


def test_the_environment_never_tells_the_code_that_it_is_tested() -> None:
    told = [name for name, file in FILES.items() if "TESTING" in file.read_text()]

    assert told == []
