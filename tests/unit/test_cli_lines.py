"""Runs of lines: whole, countable, with a project, and each with its place."""

import io
import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanbase_relay.cli import lines as module
from leanbase_relay.cli.lines import Places, filled, from_line, head, runs, with_head


def read(file: io.BytesIO, size: int, _: int) -> bytes:
    """So many bytes, however many are asked for."""
    return file.read(size)


def test_runs_end_at_a_newline_wherever_the_blocks_end() -> None:
    text = b'{"a":1}\n\n{"b":2}\r\n{"c":3}'

    for size in range(1, len(text) + 1):
        file = io.BytesIO(text)
        found = list(runs(partial(read, file, size)))
        assert b"".join(found) == text + b"\n"
        assert all(run.endswith(b"\n") for run in found)


def test_a_line_without_end_is_cut_and_its_neighbours_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_HELD_BYTES", 10)
    file = io.BytesIO(b"one\n" + b"x" * 1000 + b"\ntwo\n")

    first, cut, last = b"".join(runs(partial(read, file, 7))).splitlines()

    assert (first, last) == (b"one", b"two")
    assert cut == b"x" * 17


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (b"", 0),
        (b"a\n", 1),
        (b"a\nb\r\n", 2),
        (b"\n\n\na\n", 1),
        (b"a\n\r\n \t\n\x0b\nb\n", 2),
        (b" a\n", 1),
        (b" \n", 0),
    ],
)
def test_blank_lines_are_not_counted(run: bytes, expected: int) -> None:
    assert filled(run) == expected


@pytest.mark.parametrize("others", [b"", b"[]\n", b"\n", b"\r\n", b"{}\n", b"{\n"])
def test_a_project_stands_at_the_head_of_each_object(others: bytes) -> None:
    """The fast way and the careful one agree; what is no event stays as it is."""
    run = others + b'{"event":"a"}\n \t{ "event":"b"}\r\n{"event":"{\\"c\\""}\n'

    found = with_head(run, head(project='sh"op', historical=False))

    first, second, third = found.removeprefix(others).splitlines()
    assert found.startswith(others)
    assert json.loads(first) == {"project": 'sh"op', "event": "a"}
    assert json.loads(second) == {"project": 'sh"op', "event": "b"}
    assert json.loads(third) == {"project": 'sh"op', "event": '{"c"'}


def test_a_run_of_plain_lines_takes_the_fast_way_to_the_same_end() -> None:
    run = b'{"event":"a"}\n' * 3

    assert (
        with_head(run, head(project="p", historical=False))
        == b'{"project":"p","event":"a"}\n' * 3
    )


def test_a_line_is_found_in_its_file() -> None:
    places = Places()
    places.begin("a.jsonl")
    places.add(b"1\n2\n3\n")
    places.begin("empty.jsonl")
    places.begin("b.jsonl")
    places.add(b"1\n" * 20)

    assert places.of(1) == "a.jsonl:1"
    assert places.of(3) == "a.jsonl:3"
    assert places.of(4) == "b.jsonl:1"
    assert places.of(17) == "b.jsonl:14"


def test_lines_count_from_where_one_went_on() -> None:
    places = Places()
    places.begin("a.jsonl", 101)
    places.add(b"101\n102\n")
    places.begin("b.jsonl")
    places.add(b"1\n")

    assert [places.of(line) for line in (1, 2, 3)] == [
        *("a.jsonl:101", "a.jsonl:102", "b.jsonl:1")
    ]


@given(st.lists(st.lists(st.booleans(), max_size=6), max_size=5), st.integers(0, 40))
def test_the_first_unsettled_line_is_found_among_blank_ones(
    runs_: list[list[bool]], settled: int
) -> None:
    """Against going through the lines one by one."""
    places = Places()
    places.begin("a.jsonl")
    for run in runs_:
        places.add(b"".join(b"{}\n" if filled else b" \n" for filled in run))
    lines = [filled for run in runs_ for filled in run]
    numbers = [number for number, filled in enumerate(lines, 1) if filled]

    expected = [*numbers, len(lines) + 1]
    if settled < len(expected):
        assert places.after(settled) == expected[settled]
    assert places.filled == len(numbers)


def test_runs_from_a_line_on() -> None:
    text = b"".join(b"%d\n" % number for number in range(1, 10))

    for size in range(1, len(text) + 1):
        for first in range(1, 12):
            found = from_line(runs(partial(read, io.BytesIO(text), size)), first)
            assert b"".join(found) == text[2 * (first - 1) :]


def test_the_head_says_what_the_relay_takes_off_at_once() -> None:
    assert head(project=None, historical=False) == b""
    assert head(project="p", historical=True) == (
        b'"historical_migration":true,"project":"p",'
    )


def test_what_a_line_has_at_its_head_already_is_not_put_there_twice() -> None:
    """`dead-letters export --project shop` and `send --project shop`."""
    members = head(project="shop", historical=False)

    once = with_head(b'{"event":"a"}\n{"project":"shop","event":"b"}\n', members)

    assert once == b'{"project":"shop","event":"a"}\n{"project":"shop","event":"b"}\n'
    assert with_head(once, members) == once
