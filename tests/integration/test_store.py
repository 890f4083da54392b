"""The store on a real disk: what its connection was told, and what it does."""

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from leanbase_relay.errors import StoreError, StoreFull
from leanbase_relay.store import schema
from leanbase_relay.store.chunk import Chunk
from leanbase_relay.store.deposit import DeadLetter, Deposit
from leanbase_relay.store.reader import Reader
from leanbase_relay.store.row import row_of
from leanbase_relay.store.store import Store
from leanbase_relay.store.totals import Position
from leanbase_relay.store.writer import Limits, Receipt, Writer
from tests.support.clock import FakeClock


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "relay.db")
    yield store
    store.close()


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("synchronous", 2),  # FULL: "stored" means synced
        ("journal_mode", "wal"),
        ("auto_vacuum", 2),
        ("secure_delete", 0),
        ("user_version", schema.VERSION),
    ],
)
def test_the_live_connection_has_the_pragmas(
    store: Store, pragma: str, value: int | str
) -> None:
    assert store._conn.execute(f"pragma {pragma}").fetchone() == (value,)


def test_a_newer_store_is_refused_with_the_remedy(store: Store) -> None:
    store._conn.execute("pragma user_version = 99")

    with pytest.raises(StoreError, match="newer leanbase-relay"):
        Store.open(store.path)


def append(store: Store, events: int) -> None:
    chunk = Chunk("default", events, b",".join([b"{}"] * events))
    with store.transaction():
        store.append(row_of(chunk, stamped=None), now_ms=1)


def test_chunk_ids_are_never_used_twice(store: Store) -> None:
    append(store, 1)
    with store.transaction():
        store.ack("default", Position(2, 0))

    append(store, 1)

    assert store._conn.execute("select id from chunk").fetchall() == [(2,)]


def test_a_chunk_dropped_in_flight_is_not_counted_twice(store: Store) -> None:
    append(store, 5)
    append(store, 5)
    with store.transaction():
        store.ack("default", Position(1, 2))
        store.drop_oldest(1)
        store.ack("default", Position(1, 4))

    totals = store.totals["default"]

    assert (totals.delivered, totals.dropped, totals.backlog_events) == (2, 3, 5)


def test_a_failed_transaction_changes_nothing(store: Store) -> None:
    append(store, 3)

    def ack_and_fail() -> None:
        with store.transaction():
            store.ack("default", Position(2, 0))
            raise sqlite3.OperationalError("disk I/O error")

    with pytest.raises(sqlite3.OperationalError):
        ack_and_fail()

    assert store.totals["default"].backlog_events == 3
    reader = Reader(store.path)
    assert reader.totals() == store.totals
    reader.close()


def writer(store: Store, *, room: int, drop_oldest: bool) -> Writer:
    limits = Limits(0, drop_oldest, 64 << 20, 5000)
    live = store.measure().live
    return Writer(
        store,
        FakeClock(),
        limits=Limits(limits.for_log + live + room, drop_oldest, 64 << 20, 5000),
    )


def deposit(seed: int) -> Deposit:
    noise = hashlib.shake_256(b"%d" % seed).hexdigest(20_000)  # does not compress
    return Deposit((Chunk("default", 1, b'{"x":"%s"}' % noise.encode()),))


def test_a_full_store_refuses_and_takes_again_after_acks(store: Store) -> None:
    at_work = writer(store, room=300_000, drop_oldest=False)
    receipts: list[Receipt] = []
    while not at_work.full:
        receipts.append(at_work.submit(deposit(len(receipts))))
        at_work.step()
    with pytest.raises(StoreFull):
        receipts[-1].wait()
    stored = store.totals["default"].accepted
    assert stored == len(receipts) - 1

    at_work.apply(lambda store: store.ack("default", Position(stored + 1, 0)))
    at_work.step()
    at_work.submit(deposit(1000))
    at_work.step()

    assert store.totals["default"].accepted == stored + 1


def test_dropping_the_oldest_is_counted(store: Store) -> None:
    at_work = writer(store, room=300_000, drop_oldest=True)
    for number in range(40):
        at_work.submit(deposit(number))
        at_work.step()

    totals = store.totals["default"]

    assert totals.accepted == 40
    assert totals.dropped > 0
    assert totals.backlog_events == 40 - totals.dropped
    assert not at_work.full


def test_the_oldest_dead_letters_go_first_and_are_counted(store: Store) -> None:
    with store.transaction():
        for number in range(10):
            letter = DeadLetter("intake", "default", str(number), "test", b"x" * 1000)
            store.refuse(letter, now_ms=number)
        store.trim_dead_letters(5 * 1200)

    kept = store._conn.execute("select reason from dead_letter order by id").fetchall()
    assert kept == [("5",), ("6",), ("7",), ("8",), ("9",)]
    assert store.totals["default"].dead_letters_given_up == 5
    assert store.totals["default"].refused == 10
