"""Reads a script of faults from YAML: all complaints at once, each with its entry.

An entry of ``faults`` says what happens and to how many requests or for how long;
``refuse`` says which events spoil their whole request.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from leanbase_relay.errors import ConfigError
from leanbase_relay.settings import no_such_setting, shown
from leanbase_relay.sink.envelope import Event
from leanbase_relay.sink.script import Script, Step
from leanbase_relay.sink.script_terms import (
    ANY,
    FAULT_TERMS,
    REFUSAL_TERMS,
    Values,
    contradictions,
    fault_of,
    read_entry,
)

_KNOWN = ("faults", "refuse")


@dataclass(frozen=True, slots=True)
class FaultFile:
    """What a file of faults asks of a sink."""

    script: Script = field(default_factory=Script)
    refuses: Callable[[Event], bool] | None = None


def load(path: Path) -> FaultFile:
    """Read and check the file.

    Raises:
        ConfigError: with all that is wrong in it.
    """
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        problems = list(_written_twice(node))
        document = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError([f"{path}: is not YAML: {_where(error)}"]) from None
    if not isinstance(document, dict):
        wanted = "write 'faults:' and a list below it"
        raise ConfigError([f"{path}: holds no script; {wanted}"])
    problems += [no_such_setting(str(key), _KNOWN) for key in document.keys() - _KNOWN]
    steps = list(_steps(document.get("faults"), _lines_of_faults(node), problems))
    refuses = _refusal(document.get("refuse"), problems)
    if problems:
        raise ConfigError([f"{path}: {problem}" for problem in problems])
    return FaultFile(Script(tuple(steps)), refuses)


def _steps(given: object, lines: list[int], problems: list[str]) -> Iterator[Step]:
    if given is not None and not isinstance(given, list):
        problems.append(f"faults: {shown(given)} is not a list; begin lines with '-'")
        return
    for number, entry in enumerate(given or []):
        where = f"faults: entry {number + 1} (line {lines[number]})"
        if not isinstance(entry, dict) or not entry:
            problems.append(f"{where}: {shown(entry)} is no fault; write name: value")
            continue
        values, wrong = read_entry(entry, FAULT_TERMS)
        wrong = wrong or [*contradictions(values)]
        problems += [f"{where}: {problem}" for problem in wrong]
        if not wrong:
            yield _step(values)


def _step(values: Values) -> Step:
    is_long = "for" in values or "forever" in values
    return Step(
        fault=fault_of(values),
        times=None if is_long else values.get("times", 1),
        seconds=values.get("for"),
        after=values.get("after", 0),
        every_seconds=values.get("every"),
    )


def _refusal(given: object, problems: list[str]) -> Callable[[Event], bool] | None:
    """A predicate for events of which at least one entry of the list is true."""
    if given is None:
        return None
    wanted: list[Values] = []
    for number, entry in enumerate(given if isinstance(given, list) else [given]):
        where = f"refuse: entry {number + 1}"
        if not isinstance(entry, dict) or not entry:
            problems.append(f"{where}: {shown(entry)} is no event; write event: name")
            continue
        values, wrong = read_entry(entry, REFUSAL_TERMS)
        problems += [f"{where}: {problem}" for problem in wrong]
        wanted.append(values)
    return lambda event: any(_is_like(event, each) for each in wanted)


def _is_like(event: Event, wanted: Values) -> bool:
    if "event" in wanted and event.get("event") != wanted["event"]:
        return False
    properties = event.get("properties")
    if not isinstance(properties, dict):
        return "property" not in wanted
    return all(
        name in properties and value in (ANY, properties[name])
        for name, value in wanted.get("property", {}).items()
    )


def _where(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return "look for a value that needs quotes"


def _written_twice(node: yaml.Node | None) -> Iterator[str]:
    """Complaints about repeated keys, of which YAML would quietly take the last."""
    if isinstance(node, yaml.SequenceNode):
        for each in node.value:
            yield from _written_twice(each)
    if not isinstance(node, yaml.MappingNode):
        return
    seen = set[str]()
    for key, value in node.value:
        name = str(key.value)
        if name in seen:
            line = key.start_mark.line + 1
            yield f"line {line}: {name} is given a second time; write it once"
        seen.add(name)
        yield from _written_twice(value)


def _lines_of_faults(node: yaml.Node | None) -> list[int]:
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if key.value == "faults" and isinstance(value, yaml.SequenceNode):
            return [each.start_mark.line + 1 for each in value.value]
    return []
