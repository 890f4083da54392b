"""Batches: within their limits, contiguous, and together the backlog."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanbase_relay.forward.batch import Batch, DamagedChunk, build
from leanbase_relay.store.chunk import Packed, join, pack, split
from leanbase_relay.store.reader import StoredChunk
from leanbase_relay.store.totals import BEGINNING, Position

event = st.integers(0, 10**9).map(lambda n: b'{"event":"e","n":%d}' % n)
backlog = st.lists(st.lists(event, min_size=1, max_size=9), min_size=1, max_size=9)


def stored(chunks: list[list[bytes]]) -> list[StoredChunk]:
    return [
        StoredChunk(number, len(events), len(join(events)), 1, pack(join(events)))
        for number, events in enumerate(chunks, 1)
    ]


def batches(chunks: list[StoredChunk], max_events: int, max_bytes: int) -> list[Batch]:
    made, position = [], BEGINNING
    while left := [chunk for chunk in chunks if chunk.id >= position.chunk]:
        made.append(build(left, position, max_events=max_events, max_bytes=max_bytes))
        assert made[-1].end > position
        position = made[-1].end
    return made


@given(chunks=backlog, max_events=st.integers(1, 30), max_bytes=st.integers(1, 400))
def test_batches_keep_their_limits_and_come_to_the_backlog(
    chunks: list[list[bytes]], max_events: int, max_bytes: int
) -> None:
    made = batches(stored(chunks), max_events, max_bytes)

    assert [e for batch in made for e in split(batch.event_bytes)] == list(
        chain.from_iterable(chunks)
    )
    for batch in made:
        assert 1 <= batch.events <= max_events
        assert batch.size == len(batch.event_bytes)
        assert batch.events == 1 or batch.size <= max_bytes


@given(chunks=backlog)
def test_halves_and_singles_come_to_the_whole(chunks: list[list[bytes]]) -> None:
    (batch,) = batches(stored(chunks), 1000, 1 << 20)
    singles = list(batch.singles())

    assert join(single.event_bytes for single in singles) == batch.event_bytes
    assert singles[-1].end == batch.end
    assert sorted(single.end for single in singles) == [one.end for one in singles]
    if batch.events > 1:
        first, second = batch.halves()
        assert join([first.event_bytes, second.event_bytes]) == batch.event_bytes
        assert abs(first.events - second.events) <= 1
        assert second.end == batch.end


def test_a_flipped_bit_is_noticed_and_named() -> None:
    good, bad = stored([[b'{"a":1}'], [b'{"b":2}']])
    data = bad.packed.data
    flipped = Packed(data[:-1] + bytes([data[-1] ^ 1]), bad.packed.checksum)
    damaged = StoredChunk(bad.id, bad.events, bad.bytes, 1, flipped)

    before = build([good, damaged], BEGINNING, max_events=9, max_bytes=999)

    assert before.end == Position(2, 0)
    with pytest.raises(DamagedChunk):
        build([damaged], before.end, max_events=9, max_bytes=999)
