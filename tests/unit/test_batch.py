import json
from dataclasses import replace

import pytest

from leanbase_relay.forward.batch import Batch, build
from leanbase_relay.store.chunk import join, pack
from leanbase_relay.store.reader import StoredChunk
from leanbase_relay.store.totals import Position
from tests.support.batch import piece_of

NOW = 1_800_000_000.25


def event(number: int) -> bytes:
    return b'{"n":%d}' % number  # 7 bytes below 10


def chunk(chunk_id: int, *numbers: int) -> StoredChunk:
    events = join(event(number) for number in numbers)
    return StoredChunk(chunk_id, len(numbers), len(events), chunk_id * 10, pack(events))


def numbers(batch: Batch) -> list[int]:
    return [one["n"] for one in json.loads(b"[%b]" % batch.event_bytes)]


def built(
    *chunks: StoredChunk,
    start: Position = Position(0, 0),  # noqa: B008 - a tuple
    max_events: int = 100,
    max_bytes: int = 1000,
) -> Batch:
    return build(chunks, start, max_events=max_events, max_bytes=max_bytes)


def test_whole_chunks_are_joined_as_they_are() -> None:
    batch = built(chunk(1, 0, 1), chunk(4, 2))

    assert batch.event_bytes == join([event(0), event(1), event(2)])
    assert batch.events == 3
    assert batch.size == 23
    assert batch.end == Position(5, 0)
    assert batch.accepted_at_ms == 10


@pytest.mark.parametrize(
    ("start", "expected", "end"),
    [
        (Position(1, 0), [0, 1, 2, 3], Position(3, 0)),
        (Position(1, 2), [2, 3], Position(3, 0)),
        (Position(0, 5), [0, 1, 2, 3], Position(3, 0)),  # of a chunk that is gone
    ],
)
def test_a_batch_begins_at_the_position(
    start: Position, expected: list[int], end: Position
) -> None:
    batch = built(chunk(1, 0, 1, 2), chunk(2, 3), start=start)

    assert numbers(batch) == expected
    assert batch.end == end


@pytest.mark.parametrize(
    ("max_events", "max_bytes", "expected", "end"),
    [
        (3, 1000, [0, 1, 2], Position(2, 0)),
        (2, 1000, [0, 1], Position(1, 2)),
        (4, 1000, [0, 1, 2], Position(2, 0)),  # the second would have to be cut
        (5, 1000, [0, 1, 2, 3, 4], Position(3, 0)),
        (100, 23, [0, 1, 2], Position(2, 0)),
        (100, 22, [0, 1], Position(1, 2)),
        (100, 1, [0], Position(1, 1)),  # larger than the limit, but alone
    ],
)
def test_a_batch_keeps_within_its_limits(
    max_events: int, max_bytes: int, expected: list[int], end: Position
) -> None:
    batch = built(
        chunk(1, 0, 1, 2), chunk(2, 3, 4), max_events=max_events, max_bytes=max_bytes
    )

    assert numbers(batch) == expected
    assert batch.end == end


def test_halves_end_where_the_second_begins() -> None:
    first, second = built(chunk(1, 0, 1), chunk(2, 2, 3, 4)).halves()

    assert (numbers(first), first.end) == ([0, 1], Position(2, 0))
    assert (numbers(second), second.end) == ([2, 3, 4], Position(3, 0))


def test_a_half_may_end_inside_a_chunk() -> None:
    first, second = built(chunk(7, 0, 1, 2)).halves()

    assert (numbers(first), first.end) == ([0], Position(7, 1))
    assert (numbers(second), second.end) == ([1, 2], Position(8, 0))


def test_a_piece_of_all_is_the_piece_itself() -> None:
    piece = piece_of(event(0), event(1))

    assert piece.cut(0, 2) is piece


def test_a_batch_never_mixes_an_import_with_what_is_new() -> None:
    an_import = replace(chunk(2, 2, 3), historical=True)

    first = built(chunk(1, 0, 1), an_import, chunk(3, 4))
    second = built(an_import, chunk(3, 4), start=first.end)

    assert (numbers(first), first.historical) == ([0, 1], False)
    assert (numbers(second), second.historical) == ([2, 3], True)


def test_a_place_within_the_batch_is_a_position() -> None:
    batch = built(chunk(1, 0, 1), chunk(2, 2, 3, 4))

    assert [batch.position_after(number) for number in (1, 2, 3, 5)] == [
        Position(1, 1),
        Position(2, 0),
        Position(2, 1),
        batch.end,
    ]
