from dataclasses import replace

from leanbase_relay.store.chunk import Chunk, unpack
from leanbase_relay.store.row import merged, row_of


def chunk(*numbers: int, project: str = "default") -> Chunk:
    event_bytes = b",".join(b"%d" % number for number in numbers)
    return Chunk(project, len(numbers), event_bytes)


def merge(*chunks: Chunk, max_events: int = 100, max_bytes: int = 1000) -> list[Chunk]:
    return list(merged(chunks, max_events=max_events, max_bytes=max_bytes))


def test_neighbours_of_a_project_become_one() -> None:
    shop = chunk(7, project="shop")

    assert merge(chunk(1, 2), shop, chunk(3)) == [chunk(1, 2, 3), shop]


def test_a_chunk_keeps_within_its_limits_unless_it_came_larger() -> None:
    assert merge(chunk(1, 2), chunk(3), chunk(4), max_events=3) == [
        chunk(1, 2, 3),
        chunk(4),
    ]
    assert merge(chunk(1), chunk(2), max_bytes=1) == [chunk(1), chunk(2)]
    assert merge(chunk(1, 2, 3), max_events=2) == [chunk(1, 2, 3)]


def test_an_import_stays_for_itself_and_in_its_place() -> None:
    an_import = replace(chunk(2), historical=True)

    assert merge(chunk(1), an_import, chunk(3)) == [chunk(1), an_import, chunk(3)]


def test_what_was_brought_back_stays_for_itself() -> None:
    again = replace(chunk(2), requeues=1)

    assert merge(chunk(1), again, again) == [
        chunk(1),
        replace(chunk(2, 2), requeues=1),
    ]


def test_the_stamped_events_are_known_in_the_whole_too() -> None:
    first = replace(chunk(1, 2, 3), stamped=((0, 1), (2, 1)))
    second = replace(chunk(4, 5), stamped=((0, 1),))

    (whole,) = merge(first, second, chunk(6))

    assert whole.stamped == ((0, 1), (2, 2))


def test_a_row_holds_the_chunk_packed_and_knows_its_room() -> None:
    row = row_of(chunk(*range(100)), stamped=None)

    assert unpack(row.packed) == chunk(*range(100)).event_bytes
    assert row.size == len(chunk(*range(100)).event_bytes)
    assert row.room % 4096 == 0
    assert row.room >= len(row.packed.data)
