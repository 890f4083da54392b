"""Requests taken run by run: what their size changes, which is nothing."""

import json

import pytest

from leanbase_relay.intake.answer import Answer
from leanbase_relay.intake.event import Judge
from leanbase_relay.intake.taking import RUN_BYTES, Taker
from leanbase_relay.store.chunk import split
from tests.support.http import event, spelled

NOW_MS = 1_772_366_400_123
BAD = b'{"event":"e"}'


def taker() -> Taker:
    judge = Judge(max_bytes=900 << 10, projects=frozenset({"default"}), from_sdk=True)
    return Taker(judge, NOW_MS, 10, "http 127.0.0.1:1")


@pytest.mark.parametrize("size", [10, RUN_BYTES // 10, RUN_BYTES // 2, RUN_BYTES + 1])
def test_events_keep_their_order_and_bad_ones_their_numbers(size: int) -> None:
    good = [spelled(event(n, properties={"t": "x" * size})) for n in range(12)]
    events = [*good[:3], BAD, *good[3:], BAD]

    judged = taker().judged(iter(events), project="default", historical=False)

    stored = [one for chunk in judged.chunks for one in split(chunk.event_bytes)]
    assert stored == good
    assert [no.line for no in judged.refusals] == [4, 14]
    assert judged.lines == 14


def test_an_event_on_several_lines_is_brought_onto_one() -> None:
    pretty = json.dumps(event(1), indent=1).replace("\n", "\r\n").encode()

    judged = taker().judged([pretty, BAD], project="default", historical=False)

    (chunk,) = judged.chunks
    assert json.loads(chunk.event_bytes) == event(1)
    assert b"\n" not in chunk.event_bytes
    assert [no.line for no in judged.refusals] == [2]


def test_an_import_is_one_in_all_its_chunks() -> None:
    large = [spelled(event(n, properties={"t": "x" * RUN_BYTES})) for n in range(3)]

    judged = taker().judged(large, project="default", historical=True)

    assert {chunk.historical for chunk in judged.chunks} == {True}


def test_dead_letters_name_the_peer_and_the_event_and_have_a_weight() -> None:
    taking = taker()
    judged = taking.judged([BAD] * 3, project="default", historical=False)

    taken = taking.taken(judged, Answer(400))

    assert [letter.origin for letter in taken.deposit.refused] == [
        f"http 127.0.0.1:1 event={number}" for number in (1, 2, 3)
    ]
    assert taken.size > 3 * 1024
