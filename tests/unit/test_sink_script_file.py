import re
from pathlib import Path
from typing import Any

import pytest

from leanbase_relay.errors import ConfigError
from leanbase_relay.sink import Fault, Ruling, Step, script_terms
from leanbase_relay.sink.fault import HTML_PAGE
from leanbase_relay.sink.script_file import FaultFile, load

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted((ROOT / "examples/faults").glob("*.yaml"))


def read(directory: Path, text: str) -> FaultFile:
    path = directory / "faults.yaml"
    path.write_text(text)
    return load(path)


def step(directory: Path, entry: str) -> Step:
    (only,) = read(directory, f"faults:\n  - {{{entry}}}\n").script.steps
    return only


def complaints(directory: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        read(directory, text)
    head = f"{directory / 'faults.yaml'}: "
    assert all(problem.startswith(head) for problem in refused.value.problems)
    return [problem.removeprefix(head) for problem in refused.value.problems]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("status: 429", Fault(status=429)),
        (
            "status: 503, headers: {Retry-After: 3}, body: later",
            Fault(status=503, headers={"Retry-After": "3"}, body=b"later"),
        ),
        ("headers: {X-A: b}", Fault(headers={"X-A": "b"})),
        ("portal: true", Fault.html()),
        ("portal: true, status: 511", Fault.html(511)),
        ("redirect: 'http://x/'", Fault.redirect("http://x/")),
        ("redirect: /x, status: 308", Fault.redirect("/x", status=308)),
        ("reset: before_body", Fault.reset(after_body=False)),
        ("reset: after_body", Fault.reset(after_body=True)),
        ("reset: after_body, stores: 0", None),
        ("hang: 10s", Fault.hang(10)),
        ("cut_off: true", Fault.cut_off()),
        ("drip: 250ms", Fault.drip(0.25)),
        ("huge: 64MiB", Fault.huge(64 << 20)),
        ("date_skew: 10m", Fault.skewed(600)),
        ("date_skew: -1h", Fault.skewed(-3600)),
        ("stores: 3", Fault.partial(3)),
        (
            "results: [{result: retry, every: 3, details: not_persisted}]",
            Fault.results(Ruling("retry", "not_persisted", every=3)),
        ),
        (
            "results: {result: missing, uuids: [ABC], stores: true}",
            Fault.results(Ruling(None, uuids=frozenset({"abc"}), stores=True)),
        ),
        (
            "results: {result: drop, event: bad}",
            Fault.results(Ruling("drop", event="bad")),
        ),
    ],
)
def test_each_deed_is_a_fault(
    tmp_path: Path, entry: str, expected: Fault | None
) -> None:
    fault = step(tmp_path, entry).fault

    if expected is None:
        assert (fault.ending, fault.stored_of(5)) == ("reset", 0)
    else:
        assert fault == expected


def test_deeds_can_be_joined(tmp_path: Path) -> None:
    fault = step(tmp_path, "portal: true, drip: 1s, delay: 2s, stores: 2").fault

    assert (fault.body, fault.drip_seconds, fault.delay_seconds) == (HTML_PAGE, 1, 2)
    assert fault.stored_of(5) == 2


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("", {"times": 1}),
        (", times: 3", {"times": 3}),
        (", for: 30s", {"seconds": 30.0}),
        (", forever: true", {}),
        (", after: 5", {"times": 1, "after": 5}),
        (", after: 5 requests, for: 1m", {"seconds": 60.0, "after": 5}),
        (", every: 1s, forever: true", {"every_seconds": 1.0}),
        (", every: 1s, times: 2", {"times": 2, "every_seconds": 1.0}),
    ],
)
def test_an_entry_says_for_how_long(
    tmp_path: Path, entry: str, expected: dict[str, Any]
) -> None:
    fault = Fault(status=503)

    assert step(tmp_path, f"status: 503{entry}") == Step(fault, **expected)


def test_all_complaints_come_at_once_and_name_their_entry(tmp_path: Path) -> None:
    text = """\
faults:
  - status: 99
    tmes: 3
  - hang: 5
    for: ever
  - times: 2
  - status: 503
    times: 2
    forever: true
  - cut_off: true
    hang: 5s

  - status: 503
    every: 1s
  - reset: sometimes
  - headers: {"a b": c}
  - results: [{result: ok, evry: 2}]
  - nothing
refuse:
  - {evnt: bad}
  - 5
fault: []
"""
    duration = "write 250ms, 5s, 5m or 2h, always with the unit, at most 500h"
    deeds = (
        "status, headers, portal, redirect, reset, hang, cut_off, delay, drip, huge, "
        "date_skew, results, stores"
    )
    unknown = "no such setting; did you mean"
    results = "[{'evry': 2, 'result': 'ok'}]"
    of_entries = [
        (1, 2, "status: 99 is no HTTP status; write a number from 100 to 599"),
        (1, 2, f"tmes: {unknown} times?"),
        (2, 4, f"hang: 5 is not a duration; {duration}"),
        (2, 4, f"for: 'ever' is not a duration; {duration}"),
        (3, 6, f"says not what happens; write one of {deeds}"),
        (4, 7, "forever and times contradict each other; write one of them"),
        (5, 10, "cut_off and hang cannot both happen; write two entries"),
        (6, 13, "every: for how long? write for, times or forever beside it"),
        (7, 15, "reset: 'sometimes' is not known; write before_body or after_body"),
        (8, 16, "headers: {'a b': 'c'} are none; write names and values in ASCII"),
        (9, 17, f"results: {results} are none; evry: {unknown} every?"),
        (10, 18, "'nothing' is no fault; write name: value"),
    ]
    assert complaints(tmp_path, text) == [
        "fault: no such setting; did you mean faults?",
        *(f"faults: entry {n} (line {line}): {why}" for n, line, why in of_entries),
        "refuse: entry 1: evnt: no such setting; did you mean event?",
        "refuse: entry 2: 5 is no event; write event: name",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "holds no script; write 'faults:' and a list below it"),
        ("- status: 503", "holds no script; write 'faults:' and a list below it"),
        ("faults: {a: b}", "faults: {'a': 'b'} is not a list; begin lines with '-'"),
        (
            "faults:\n  - status: 503\n    status: 429\n",
            "line 3: status is given a second time; write it once",
        ),
        ("faults:\n  - [", "is not YAML: line 2: expected"),
        ("a: !!python/object:os.system {}", "is not YAML: line 1: could not determine"),
        ("faults: &a\n  - *a\n", "is not YAML: "),
    ],
)
def test_what_is_no_script_is_explained(
    tmp_path: Path, text: str, complaint: str
) -> None:
    (only,) = complaints(tmp_path, text)

    assert only.startswith(complaint)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read: No such"):
        load(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("refuse", "event", "refused"),
    [
        ("{event: bad}", {"event": "bad"}, True),
        ("{event: bad}", {"event": "good"}, False),
        ("[{event: a}, {event: b}]", {"event": "b"}, True),
        ("{property: plan}", {"event": "e", "properties": {"plan": None}}, True),
        ("{property: plan}", {"event": "e", "properties": {}}, False),
        ("{property: plan}", {"event": "e"}, False),
        ("{property: {n: 1}}", {"event": "e", "properties": {"n": 1}}, True),
        ("{property: {n: 1}}", {"event": "e", "properties": {"n": 2}}, False),
        (
            "{event: a, property: n}",
            {"event": "b", "properties": {"n": 1}},
            False,
        ),
    ],
)
def test_events_are_refused_by_name_and_property(
    tmp_path: Path,
    refuse: str,
    event: dict[str, Any],
    refused: bool,  # noqa: FBT001 - a parameter
) -> None:
    predicate = read(tmp_path, f"refuse: {refuse}\n").refuses

    assert predicate is not None
    assert predicate(event) is refused


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_ready_scripts_are_right(path: Path) -> None:
    file = load(path)

    assert file.script.steps or file.refuses


def test_there_are_ready_scripts() -> None:
    assert len(EXAMPLES) >= 3


def test_the_script_of_the_page_is_right(tmp_path: Path) -> None:
    page = (ROOT / "docs/sink.md").read_text()
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)

    file = read(tmp_path, text)
    assert len(file.script.steps) == 4
    assert file.refuses is not None


@pytest.mark.parametrize("name", script_terms.FAULT_TERMS)
def test_the_page_tells_every_term(name: str) -> None:
    page = (ROOT / "docs/sink.md").read_text()

    assert re.search(rf"[` ]{name}[:`]", page)
