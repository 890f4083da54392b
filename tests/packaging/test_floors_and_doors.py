"""Floors and doors: who may import whom, read from the source and not remembered."""

import ast
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = "leanbase_relay"

# From the top of the house to its ground. A room may use its own modules and the
# rooms on lower floors; two rooms on one floor do not know each other.
FLOORS = (
    {"__main__", "client"},  # apps import it alone; nothing here does
    {"cli"},
    {"daemon"},
    {"observe"},
    {"assembly", "control", "sockets", "status", "watch", "wishes"},
    {"intake", "forward", "sink"},
    {"store"},
    {"ground"},
)
GROUND = {
    "__init__",
    "clock",
    "config",
    "deflate",
    "descriptors",
    "errors",
    "keys",
    "lasting",
    "listener",
    "logs",
    "lz64",
    "measures",
    "seldom",
    "settings",
    "splice",
    "systemd",
    "words",
}
# The stand-in upstream is a house of its own: nothing but the ground is shared.
EXCEPTIONS = {("sink", "store"): False}

DOORS = {
    "aiohttp": {"intake.web"},
    "click": {"cli"},
    "isal": {"deflate"},
    "msgspec": {
        "intake.capture_v1",
        "intake.envelope",
        "intake.event",
        "intake.line",
        "intake.pieces",
        "intake.profiles",
        "splice",
        "store.chunk",
        "store.letters",
        "store.look",
        "store.names",
        "store.schema",
        "store.stamps",
        "cli",
        "forward.letter",
        "forward.sending",
        "forward.verdict",
        "forward.v1",
        "wishes",
    },
    "prometheus_client": {"observe.metrics"},
    "requests": {"forward.upstream"},
    "rich": {"cli"},
    "simdjson": {"intake.event", "intake.line"},
    "sqlite_utils": {"store.schema"},
    "tenacity": {"forward.backoff"},
    "urllib3": {"forward.upstream"},  # comes with requests
    "watchdog": {"intake.spool"},
    "yaml": {"config", "sink.script_file"},
}
DISTRIBUTIONS = {
    "PyYAML": "yaml",
    "prometheus-client": "prometheus_client",
    "pysimdjson": "simdjson",
    "sqlite-utils": "sqlite_utils",
}

Imports = dict[str, set[str]]


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names of what is imported anywhere in a module, for typing too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def imports_of(source: Path) -> Imports:
    """For each module, without the package's name: what it imports."""
    found = {}
    for file in sorted(source.rglob("*.py")):
        parts = file.relative_to(source).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        found[name] = set(imported(ast.parse(file.read_text())))
    return found


def room(module: str) -> str:
    top = module.split(".", maxsplit=1)[0]
    return "ground" if top in GROUND else top


def floor(room: str) -> int:
    for number, rooms in enumerate(FLOORS):
        if room in rooms:
            return number
    pytest.fail(f"{room} has no floor; give it one in docs/design.md and here")


def may_use(user: str, used: str) -> bool:
    if user == used:
        return True
    return floor(used) > floor(user) and EXCEPTIONS.get((user, used), True)


def upward(imports: Imports, names: set[str]) -> list[str]:
    """Each import that does not point down."""
    wrong = []
    for module, used in imports.items():
        for name in sorted(used):
            top, _, rest = name.partition(".")
            if top != PACKAGE:
                continue
            # ``from leanbase_relay import __version__`` is of the ground
            target = rest.split(".")[0] if rest.split(".")[0] in names else "__init__"
            if not may_use(room(module), room(target)):
                wrong.append(f"{module} imports {name}")
    return wrong


def libraries(imports: Imports) -> dict[str, set[str]]:
    """Through which modules each library comes in; `cli` as a whole."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, used in imports.items():
        for name in used:
            library = name.split(".")[0]
            if library != PACKAGE and library not in sys.stdlib_module_names:
                found[library].add("cli" if room(module) == "cli" else module)
    return found


@pytest.fixture(scope="module")
def imports() -> Imports:
    return imports_of(ROOT / PACKAGE)


@pytest.fixture(scope="module")
def names(imports: Imports) -> set[str]:
    return {module.split(".")[0] for module in imports}


def test_imports_point_down(imports: Imports, names: set[str]) -> None:
    assert upward(imports, names) == []


def test_each_library_has_its_doors_and_no_others(imports: Imports) -> None:
    assert libraries(imports) == DOORS


def test_the_dependencies_are_the_libraries_that_have_doors() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {
        dependency.split(";")[0].split(">=")[0].strip(): ">=" in dependency
        for dependency in project["dependencies"]
    }

    known = {DISTRIBUTIONS.get(name, name) for name in declared}
    assert known == DOORS.keys() - {"urllib3"}
    assert all(declared.values()), "each has a floor"


@pytest.mark.parametrize(
    ("module", "line", "said"),
    [
        ("store.writer", "from leanbase_relay.forward import lane", "forward.lane"),
        ("intake.socket", "from leanbase_relay.forward.lane import Lane", "lane.Lane"),
        ("forward.lane", "import leanbase_relay.intake.event", "intake.event"),
        ("sink.server", "from leanbase_relay.store import chunk", "store.chunk"),
        ("clock", "from leanbase_relay import config, daemon", "relay.daemon"),
        ("control", "from leanbase_relay.status import status", "status.status"),
        ("daemon", "def f():\n    from leanbase_relay.cli import main", "cli.main"),
        ("cli.capture", "from leanbase_relay.client import Client", "client.Client"),
    ],
)
def test_an_import_that_points_up_is_seen(
    names: set[str], module: str, line: str, said: str
) -> None:
    wrong = upward({module: set(imported(ast.parse(line)))}, names)

    assert len(wrong) == 1
    assert wrong[0].endswith(said)


def test_a_second_door_is_seen(imports: Imports) -> None:
    leaky = imports | {"intake.spool_file": {"requests.sessions.Session"}}

    assert libraries(leaky)["requests"] == {"forward.upstream", "intake.spool_file"}
