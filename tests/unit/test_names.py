"""What events are called: all of those that wait, and samples of those that came."""

import json
from collections.abc import Sequence

import pytest

from leanbase_relay.store.chunk import Chunk
from leanbase_relay.store.names import (
    KEPT_SECONDS,
    MOST_BYTES,
    SAMPLE_BYTES,
    Names,
    names_of,
    names_of_beginning,
)
from leanbase_relay.store.row import Row, row_of
from tests.support.clock import FakeClock

NEXT = b',{"event": "'


def chunk_of(names: Sequence[str], **properties: object) -> bytes:
    return b",".join(
        json.dumps({"event": name, "properties": {"n": n, **properties}}).encode()
        for n, name in enumerate(names)
    )


def row(names: Sequence[str], project: str = "default", **properties: object) -> Row:
    return row_of(
        Chunk(project, len(names), chunk_of(names, **properties)), stamped=None
    )


def told(names: Names) -> dict[tuple[str, str | None], int]:
    return {
        (one["project"], one["event"]): one["events"] for one in names.look()["events"]
    }


def test_names_are_counted_but_those_that_are_done() -> None:
    events = chunk_of(["a", "b", "a", "c"])

    assert names_of(events) == {"a": 2, "b": 1, "c": 1}
    assert names_of(events, after=2) == {"a": 1, "c": 1}
    assert names_of(b"") == {}


def test_a_chunk_that_breaks_off_anywhere_has_the_names_of_its_whole_events() -> None:
    """What looks like the end of an event stands in each one's properties, too."""
    trap = [{"x": "},{"}, {"y": '{"event":"never"},{"event":"never"}'}]
    events = chunk_of(["a", "b", "c"], trap=trap)
    wholes = [end for end in range(len(events)) if events[end:].startswith(NEXT)]
    wholes.append(len(events))
    assert len(wholes) == 3

    for end in range(len(events) + 1):
        found = names_of_beginning(events[:end])

        assert list(found) == ["a", "b", "c"][: sum(whole <= end for whole in wholes)]
    assert names_of_beginning(events) == {"a": 1, "b": 1, "c": 1}


def test_few_events_are_told_exactly() -> None:
    clock = FakeClock()
    names = Names(clock)
    names.note([row(["a", "b"]), row(["b"], "shop")])
    clock.now += 1
    names.note([row(["a"])])

    assert told(names) == {("default", "a"): 2, ("default", "b"): 1, ("shop", "b"): 1}
    assert names.look()["accepted"] == 4
    assert names.look()["exact"]
    assert names.look()["seconds"] == 1.0


def test_many_events_are_counted_exactly_and_divided_by_samples() -> None:
    clock = FakeClock()
    names = Names(clock)
    noise = [n * 7919 % 1013 for n in range(20)]
    for _ in range(60):
        clock.now += 1
        names.note(
            [row(["a", "a", "a", "b"] * 100, noise=noise), row(["c"] * 5, "shop")]
        )
        names.note([row(["a", "a", "a", "b"] * 100, noise=noise)])

    found = told(names)

    assert names.look()["accepted"] == 60 * 805
    assert not names.look()["exact"]
    assert found["shop", "c"] == 300
    assert found["default", "a"] == pytest.approx(36_000, rel=0.1)
    assert found["default", "a"] + found["default", "b"] == pytest.approx(48_000, abs=1)


def test_what_is_older_is_forgotten() -> None:
    clock = FakeClock()
    names = Names(clock)
    names.note([row(["old"])])
    clock.now += KEPT_SECONDS / 2
    names.note([row(["new"])])
    clock.now += KEPT_SECONDS / 2 + 2

    assert told(names) == {("default", "new"): 1}
    assert names.look()["seconds"] == KEPT_SECONDS


def test_with_very_many_projects_fewer_seconds_are_kept() -> None:
    clock = FakeClock()
    names = Names(clock)
    noise = [n * 7919 % 10_007 for n in range(4_000)]
    large = row(["a"], noise=noise)
    assert len(large.packed.data) > SAMPLE_BYTES
    rows = [Row(Chunk(f"p{n}", 1, b""), large.packed, large.size) for n in range(100)]
    for _ in range(60):
        clock.now += 1
        names.note(rows)

    look = names.look()

    assert names._bytes <= MOST_BYTES + 100 * SAMPLE_BYTES
    assert look["seconds"] == pytest.approx(look["accepted"] / 100, abs=2)
    assert look["seconds"] < 15


def test_events_that_are_too_large_for_a_sample_are_counted_without_a_name() -> None:
    names = Names(FakeClock())
    names.note([row(["a"], noise=[n * 7919 % 10_007 for n in range(40_000)])])

    assert told(names) == {("default", None): 1}
