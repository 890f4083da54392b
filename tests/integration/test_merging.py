"""Small rows of an old backlog become large ones, and nobody notices."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from benchmarks.events import blocks
from leanbase_relay.store import stamps
from leanbase_relay.store.chunk import Chunk, split, unpack
from leanbase_relay.store.merging import LEAST_ROWS, MAX_SPAN_MS, Claims, Merging
from leanbase_relay.store.reader import Reader, StoredChunk
from leanbase_relay.store.row import row_of
from leanbase_relay.store.store import Store
from leanbase_relay.store.totals import BEGINNING, Position
from tests.support.clock import FakeClock


class House:
    """A store, and who merges in it; an hour after the events came."""

    def __init__(self, path: Path, clock: FakeClock) -> None:
        self.store = Store.open(path)
        self.reader = Reader(path)
        self.clock = clock
        self.claims = Claims()
        self.made = 0
        self.merging = self.begun()

    def begun(self) -> Merging:
        return Merging(
            self.store, self.clock, self.claims, max_events=50, max_bytes=1 << 20
        )

    def add(
        self, rows: int, *, ago: float = 3600.0, size: int = 0, **kind: object
    ) -> None:
        """So many rows of one event each."""
        for _ in range(rows):
            text = b'{"n":%d,"x":"%b"}' % (self.made, b"x" * size)
            self.made += 1
            chunk = Chunk("default", 1, text, **kind)  # type: ignore[arg-type]
            note = stamps.noted(chunk.stamped, self.clock)
            now_ms = round((self.clock.wall() - ago) * 1000)
            with self.store.transaction():
                self.store.append(row_of(chunk, stamped=note), now_ms=now_ms)

    def merge(self) -> int:
        """Until there is nothing to do; how many steps that took."""
        steps = 0
        while self.merging.step():
            steps += 1
            assert steps < 1000
        return steps

    def rows(self) -> list[StoredChunk]:
        return self.reader.peek(
            "default", BEGINNING, max_events=9999, max_bytes=1 << 30
        )

    def events(self) -> list[int]:
        texts = [one for row in self.rows() for one in split(unpack(row.packed))]
        return [int(text[5:].partition(b",")[0]) for text in texts]

    def sizes(self) -> list[int]:
        return [row.events for row in self.rows()]


@pytest.fixture
def house(tmp_path: Path, clock: FakeClock) -> Iterator[House]:
    house = House(tmp_path / "relay.db", clock)
    yield house
    house.reader.close()
    house.store.close()


def test_small_rows_become_large_ones_with_the_same_events(house: House) -> None:
    house.add(120)

    house.merge()

    assert house.sizes() == [50, 50, 20]
    assert house.events() == list(range(120))
    totals = house.store.totals["default"]
    assert totals.backlog_events == 120
    assert totals.backlog_bytes == sum(row.bytes for row in house.rows())
    assert all(len(unpack(row.packed)) == row.bytes for row in house.rows())


@pytest.mark.parametrize(
    "events", [5_000, pytest.param(1_000_000, marks=pytest.mark.slow)]
)
def test_events_that_came_one_by_one_take_120_bytes_each_once_they_are_merged(
    house: House, events: int
) -> None:
    """A shop's events, of 465 bytes on average, with the index and all else."""
    hours_ago_ms = round((house.clock.wall() - 6 * 3600) * 1000)
    numbers = count()
    for block in blocks(events):
        with house.store.transaction():
            for line in block.splitlines():
                row = row_of(Chunk("default", 1, line), stamped=None)
                house.store.append(row, now_ms=hours_ago_ms + 10 * next(numbers))
    before = house.store.measure().live
    assert before / events > 300

    merging = Merging(
        house.store, house.clock, house.claims, max_events=5000, max_bytes=1 << 20
    )
    while merging.step():
        pass

    assert house.store.measure().live / events < 120
    assert house.store.totals["default"].backlog_events == events


def test_what_is_young_flows_and_is_left_alone(house: House) -> None:
    house.add(50, ago=5)

    assert house.merge() == 0

    house.clock.now += 60
    house.merge()
    assert house.sizes() == [50]


def test_a_few_rows_are_not_worth_it(house: House) -> None:
    house.add(LEAST_ROWS - 1)

    house.merge()

    assert house.sizes() == [1] * (LEAST_ROWS - 1)


def test_a_large_row_stays_as_it_is(house: House) -> None:
    house.add(20)
    house.add(2, size=40_000)
    house.add(20)

    house.merge()

    assert house.sizes() == [20, 1, 1, 20]
    assert house.events() == list(range(42))


def test_what_differs_is_not_mixed(house: House) -> None:
    house.add(10)
    house.add(10, historical=True)
    house.add(10, requeues=1)
    house.add(10, stamped=((0, 1),))

    house.merge()

    kinds = [(row.events, row.historical, row.requeues) for row in house.rows()]
    assert kinds == [
        (10, False, 0),
        (10, True, 0),
        (10, False, 1),
        (10, False, 0),
    ]
    assert stamps.events_of(house.rows()[-1].stamped) == ((0, 10),)


def test_stamps_by_another_clock_are_not_mixed(house: House) -> None:
    house.add(10, stamped=((0, 1),))
    house.clock.wall_offset += 3600
    house.add(10, stamped=((0, 1),))

    house.merge()

    assert house.sizes() == [10, 10]
    before, after = house.rows()
    assert stamps.shift_ms(before.stamped, house.clock) == 3_600_000
    assert stamps.shift_ms(after.stamped, house.clock) == 0


def test_a_row_spans_no_more_than_ten_minutes(house: House) -> None:
    for minutes in range(40):
        house.add(1, ago=7200 - 60 * minutes)

    house.merge()

    assert house.sizes() == [11, 11, 11, *[1] * 7]
    times = [row.accepted_at_ms for row in house.rows()]
    assert times == sorted(times)
    assert times[1] - times[0] > MAX_SPAN_MS


def test_what_a_lane_has_read_is_left_alone(house: House) -> None:
    house.add(60)
    house.claims.claim("default", house.rows()[29].id)

    house.merge()

    assert house.sizes() == [*[1] * 30, 30]


def test_an_ack_from_before_passes_nothing_that_it_did_not_mean(house: House) -> None:
    house.add(60)
    read = house.rows()[:20]
    house.claims.claim("default", read[-1].id)

    house.merge()
    with house.store.transaction():
        house.store.ack("default", Position(read[-1].id + 1, 0))

    assert house.events() == list(range(20, 60))
    assert house.store.totals["default"].delivered == 20


def test_a_row_that_was_begun_is_left_alone(house: House) -> None:
    house.add(30)
    house.merge()
    house.add(30)
    with house.store.transaction():
        house.store.ack("default", Position(house.rows()[0].id, 7))

    house.merging = house.begun()
    house.merge()

    assert house.sizes() == [30, 30]
    assert house.store.totals["default"].backlog_events == 53


def test_a_damaged_row_stays_what_it_is(house: House) -> None:
    house.add(40)
    damaged = house.rows()[20].id
    with house.store.transaction():
        house.store._conn.execute(
            "update chunk set checksum = checksum + 1 where id = ?", (damaged,)
        )

    house.merge()

    assert len(house.rows()) == 40
    assert house.store.totals["default"].backlog_events == 40


def test_what_comes_later_is_merged_later(house: House) -> None:
    house.add(30)
    house.merge()

    house.add(30)
    house.merge()

    assert house.sizes() == [30, 30]
    assert house.events() == list(range(60))


def test_after_a_restart_it_goes_on(house: House) -> None:
    house.add(60)
    house.merging.step()
    house.merging = house.begun()

    house.merge()

    assert house.events() == list(range(60))
    assert house.sizes() == [50, 10]
