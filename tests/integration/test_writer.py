"""The writer on a real store: what it says is stored is; nobody waits for ever."""

import hashlib
import logging
import resource
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from leanbase_relay.errors import (
    ChangeFailed,
    Stopping,
    StoreFull,
    StoreGone,
    StoreUnavailable,
)
from leanbase_relay.store import lock
from leanbase_relay.store.chunk import Chunk
from leanbase_relay.store.deposit import DeadLetter, Deposit, FileId, FileProgress
from leanbase_relay.store.merging import OLD_SECONDS
from leanbase_relay.store.reader import Reader
from leanbase_relay.store.reserve import Reserve
from leanbase_relay.store.row import row_of
from leanbase_relay.store.store import Store
from leanbase_relay.store.totals import Position, Totals
from leanbase_relay.store.vacuum import BUSY_NEXT_SECONDS, STEP_SECONDS, Vacuum
from leanbase_relay.store.writer import (
    MAX_GROUP_BYTES,
    Limits,
    Receipt,
    Writer,
)
from tests.support.clock import FakeClock
from tests.support.intake import GatedStore
from tests.support.root import small_disk

MIB = 1 << 20
ROOMY = Limits(1 << 30, False, 64 * MIB, 5000)  # noqa: FBT003


@pytest.fixture
def store(tmp_path: Path) -> Iterator[GatedStore]:
    store = GatedStore.open(tmp_path / "relay.db")
    yield store
    store.close()


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that do not compress."""
    return hashlib.shake_128(b"%d" % seed).digest(size)


def chunk(text: bytes = b"{}", *, events: int = 1, project: str = "default") -> Chunk:
    return Chunk(project, events, text)


def deposit(text: bytes = b"{}", **kind: int) -> Deposit:
    return Deposit(chunks=(chunk(text, **kind),))  # type: ignore[arg-type]


def letter(line: bytes) -> DeadLetter:
    return DeadLetter("intake", "default", "no JSON", "socket", line)


def idle(writer: Writer) -> None:
    """Let a group of nothing be committed: what was asked before it is done."""
    receipt = writer.apply(lambda _: None)
    writer.step()
    receipt.wait()


def is_held(reserve: Reserve) -> bool:
    return reserve.held


def trouble(writer: Writer) -> str | None:
    return writer.trouble


def is_full(writer: Writer) -> bool:
    return writer.full


@contextmanager
def running(writer: Writer) -> Iterator[None]:
    thread = threading.Thread(target=writer.run, name="writer")
    thread.start()
    try:
        yield
    finally:
        writer.finish()
        thread.join()


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """No file of this process grows beyond: writes fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def disk_bytes(store: Store) -> int:
    """What database and log take, as `du` would say."""
    names = (store.path, store.path.with_name(store.path.name + "-wal"))
    return sum(path.stat().st_size for path in names if path.exists())


# Groups.


def test_many_submissions_are_one_commit(store: GatedStore, clock: FakeClock) -> None:
    commits: list[str] = []
    writer = Writer(store, clock, limits=ROOMY)
    store._conn.set_trace_callback(commits.append)
    receipts = [writer.submit(deposit(b'{"n":%d}' % n)) for n in range(1000)]

    writer.step()

    for receipt in receipts:
        receipt.wait()
    assert commits.count("commit") == 1
    assert store.totals["default"].accepted == 1000


def test_a_group_is_bounded_in_bytes(store: GatedStore, clock: FakeClock) -> None:
    commits: list[str] = []
    writer = Writer(store, clock, limits=ROOMY)
    store._conn.set_trace_callback(commits.append)
    for _ in range(20):
        writer.submit(deposit(b"x" * MIB))

    while store.totals.get("default", Totals()).accepted < 20:
        writer.step()

    assert commits.count("commit") == -(-20 * MIB // MAX_GROUP_BYTES)


def test_small_neighbours_share_a_row_in_their_order(
    store: GatedStore, clock: FakeClock
) -> None:
    writer = Writer(store, clock, limits=ROOMY)
    for n in range(6):
        project = ("default", "shop")[n % 2]
        writer.submit(Deposit((chunk(b'{"n":%d}' % n, project=project),)))

    writer.step()

    with closing(Reader(store.path)) as reader:
        for project, total in (("default", 3), ("shop", 3)):
            (row,) = reader.peek(project, Position(0, 0), max_events=99, max_bytes=MIB)
            assert row.events == total


def test_a_row_keeps_to_the_limits_of_a_chunk(
    store: GatedStore, clock: FakeClock
) -> None:
    limits = Limits(1 << 30, False, MIB, max_chunk_events=3, max_chunk_bytes=100)  # noqa: FBT003
    writer = Writer(store, clock, limits=limits)
    for size in (2, 2, 2, 2, 60, 60, 200):
        writer.submit(deposit(b"x" * size))

    writer.step()

    rows = store._conn.execute("select events, bytes from chunk order by id").fetchall()
    assert rows == [(3, 8), (2, 63), (1, 60), (1, 200)]


# Receipts.


def test_no_receipt_before_the_commit(store: GatedStore, clock: FakeClock) -> None:
    settled: list[Receipt] = []
    writer = Writer(store, clock, limits=ROOMY)
    store.may_commit.clear()
    with running(writer):
        writer.submit(deposit(), settled.append)
        assert store.at_commit.acquire(timeout=5)

        assert settled == []
        with closing(Reader(store.path)) as reader:
            assert reader.totals() == {}
        assert writer.waiting_bytes == 2

        store.may_commit.set()
        writer.apply(lambda _: None).wait()

    assert [receipt.error for receipt in settled] == [None]
    assert writer.waiting_bytes == 0


def test_no_receipt_is_good_when_the_commit_fails(
    store: GatedStore, clock: FakeClock
) -> None:
    writer = Writer(store, clock, limits=ROOMY)
    store.error = sqlite3.OperationalError("disk I/O error")
    receipts = [writer.submit(deposit()) for _ in range(3)]

    writer.step()

    for receipt in receipts:
        with pytest.raises(StoreUnavailable, match="disk I/O error"):
            receipt.wait()
    assert store.totals == {}
    assert trouble(writer) == "disk I/O error"

    store.error = None
    again = writer.submit(deposit())
    writer.step()
    again.wait()
    assert trouble(writer) is None
    assert store.totals["default"].accepted == 1


def test_after_a_failed_commit_the_store_is_opened_and_read_anew(
    store: GatedStore, clock: FakeClock
) -> None:
    writer = Writer(store, clock, limits=ROOMY)
    before = store._conn
    store.error = sqlite3.OperationalError("disk I/O error")
    writer.submit(deposit())
    writer.step()
    store.error = None

    idle(writer)

    assert store._conn is not before
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        before.execute("select 1")


def test_a_store_in_trouble_leaves_the_processor_alone(
    store: GatedStore, clock: FakeClock
) -> None:
    """With tidying due and nothing to write, the thread waits for what comes next."""
    writer = Writer(store, clock, limits=ROOMY)
    writer.submit(deposit())
    writer.step()
    store.error = sqlite3.OperationalError("disk I/O error")
    writer.submit(deposit())
    writer.step()

    clock.now += 60
    writer._tidy_if_due()

    assert trouble(writer) == "disk I/O error"
    assert (writer._patience() or 3600) >= 1


def test_trouble_is_logged_once_and_its_end_too(
    store: GatedStore, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    writer = Writer(store, clock, limits=ROOMY)
    store.error = sqlite3.OperationalError("disk I/O error")
    for _ in range(5):
        writer.submit(deposit())
        writer.step()
    store.error = None
    idle(writer)

    said = [record.getMessage().split()[0] for record in caplog.records]
    assert said == ["store_unavailable", "store_recovered"]


def test_finish_commits_what_waits(store: GatedStore, clock: FakeClock) -> None:
    writer = Writer(store, clock, limits=ROOMY)
    receipts = [writer.submit(deposit(b"x" * MIB)) for _ in range(20)]
    writer.finish()

    writer.run()

    for receipt in receipts:
        receipt.wait()
    assert store.totals["default"].accepted == 20


def test_what_comes_after_the_end_is_told_so(
    store: GatedStore, clock: FakeClock
) -> None:
    settled: list[Receipt] = []
    writer = Writer(store, clock, limits=ROOMY)
    writer.finish()
    late = writer.submit(deposit())
    writer.run()

    with pytest.raises(Stopping):
        late.wait()
    with pytest.raises(Stopping):
        writer.apply(lambda _: None).wait()
    writer.submit(deposit(), settled.append)
    assert isinstance(settled[0].error, Stopping)
    assert writer.waiting_bytes == 0


def test_a_change_with_a_fault_is_undone_alone_and_its_caller_is_told(
    store: GatedStore, clock: FakeClock, log: pytest.LogCaptureFixture
) -> None:
    """Beside it in the group: events before and after it, and another change."""

    def faulty(store: Store) -> None:
        store.learn("default", 77, upstream=1)
        store.append(row_of(chunk(), stamped=None), now_ms=1)
        store.refuse(replace(letter(b"x"), origin="\udcff"), now_ms=1)

    writer = Writer(store, clock, limits=ROOMY)
    before = writer.submit(deposit(b"{}"))
    fault = writer.apply(faulty)
    change = writer.apply(lambda store: store.learn("default", 9, upstream=1))
    after = writer.submit(deposit(b"{}"))

    assert writer.step()

    with pytest.raises(ChangeFailed, match="surrogates not allowed") as raised:
        fault.wait()
    assert isinstance(raised.value.__cause__, UnicodeEncodeError)
    for receipt in (before, change, after):
        receipt.wait()
    totals = store.totals["default"]
    assert (totals.accepted, totals.refused, totals.learnt_bytes) == (2, 0, 9)
    with closing(Reader(store.path)) as reader:
        chunks = reader.peek("default", Position(0, 0), max_events=9, max_bytes=9999)
    assert sum(one.events for one in chunks) == 2
    assert [r.getMessage() for r in log.records] == ["change_failed"]
    assert writer.trouble is None


def test_a_fault_of_ours_ends_the_thread_and_leaves_nobody_waiting(
    store: GatedStore, clock: FakeClock
) -> None:
    """In a deposit: it is one with its neighbours, and cannot be left out."""
    faulty = Deposit(refused=(replace(letter(b"x"), origin="\udcff"),))
    writer = Writer(store, clock, limits=ROOMY)
    receipts = [writer.submit(deposit()), writer.submit(faulty)]
    receipts.append(writer.apply(lambda _: None))
    writer.finish()
    receipts.append(writer.submit(deposit()))

    with pytest.raises(UnicodeEncodeError):
        writer.run()

    for receipt in receipts:
        with pytest.raises(Stopping):
            receipt.wait()
    assert store.totals == {}


def test_news_is_told_after_each_group(store: GatedStore, clock: FakeClock) -> None:
    told: list[int] = []
    writer = Writer(
        store,
        clock,
        limits=ROOMY,
        on_committed=lambda totals: told.append(totals["default"].accepted),
    )
    for _ in range(3):
        writer.submit(deposit())
        writer.step()

    assert told == [1, 2, 3]


def test_a_deposit_is_one_transaction(store: GatedStore, clock: FakeClock) -> None:
    """Events, refused lines and the file's progress: all of it or none."""
    progress = FileProgress(FileId(1, 2), "a.jsonl", 30, 3, b"digest")
    whole = Deposit((chunk(events=2),), (letter(b"{"),), progress)
    writer = Writer(store, clock, limits=ROOMY)
    store.error = sqlite3.OperationalError("disk I/O error")
    writer.submit(whole)
    writer.step()
    store.error = None
    idle(writer)
    with closing(Reader(store.path)) as reader:
        assert (reader.totals(), list(reader.spool_progress())) == ({}, [])

    writer.submit(whole)
    writer.step()

    with closing(Reader(store.path)) as reader:
        totals = reader.totals()["default"]
        assert (totals.accepted, totals.refused, totals.dead_letters) == (2, 1, 1)
        assert list(reader.spool_progress()) == [progress]


# Disks that fail.


def test_a_disk_that_takes_no_more_is_said_and_survived(
    store: GatedStore, clock: FakeClock
) -> None:
    writer = Writer(store, clock, limits=ROOMY)
    with closing(Reader(store.path)) as reader:  # as the daemon has: no last closing
        writer.submit(deposit(noise(MIB)))
        writer.step()
        before = dict(store.totals)

        with files_end_at(3 * MIB):
            refused = [writer.submit(deposit(noise(MIB, n))) for n in range(1, 4)]
            writer.step()
            refused.append(writer.submit(deposit(noise(3 * MIB, 9))))
            writer.step()
            with pytest.raises(StoreUnavailable):
                refused[-1].wait()
            assert trouble(writer)

        taken = [receipt for receipt in refused if receipt.error is None]
        after = writer.submit(deposit(b"{}"))
        writer.step()
        after.wait()
        assert trouble(writer) is None
        expected = before["default"].accepted + len(taken) + 1
        assert reader.totals()["default"].accepted == expected
        (verdict,) = store._conn.execute("pragma integrity_check").fetchone()
        assert verdict == "ok"


def test_a_full_disk_refuses_and_recovers_when_there_is_room_again(
    tmp_path: Path, clock: FakeClock
) -> None:
    with small_disk(tmp_path, "24m"):
        ballast = tmp_path / "ballast"
        ballast.write_bytes(b"\0" * 14 * MIB)
        store = Store.open(tmp_path / "relay.db")
        writer = Writer(store, clock, limits=ROOMY)
        with closing(store), closing(Reader(store.path)) as reader:
            stored = 0
            while True:
                receipt = writer.submit(deposit(noise(MIB, stored)))
                writer.step()
                if receipt.error is not None:
                    break
                stored += 1
            assert isinstance(receipt.error, StoreUnavailable)
            assert "full" in str(receipt.error)
            assert reader.totals()["default"].accepted == stored

            ballast.unlink()
            again = writer.submit(deposit(noise(MIB)))
            writer.step()
            again.wait()
            assert reader.totals()["default"].accepted == stored + 1


def test_what_leaves_is_written_down_from_a_reserve_when_the_disk_is_full(
    tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Steps: fill the disk; acknowledge all the same; make room; take events again."""
    caplog.set_level(logging.INFO)
    with small_disk(tmp_path, "48m"):
        ballast = tmp_path / "ballast"
        ballast.write_bytes(b"\0" * 20 * MIB)
        store = Store.open(tmp_path / "relay.db")
        reserve = Reserve(store.path, 8 * MIB)
        writer = Writer(store, clock, limits=ROOMY, reserve=reserve)
        with closing(store), closing(Reader(store.path)) as reader:
            assert is_held(reserve)
            receipts = fill(writer, lambda n: deposit(noise(MIB, n)), 40)
            stored = sum(receipt.error is None for receipt in receipts)
            assert trouble(writer) == "the disk is full"
            assert not is_held(reserve)
            refused = writer.submit(Deposit(refused=(letter(b"{"),)))
            for chunk_id in range(1, stored):
                upto = Position(chunk_id + 1, 0)
                ack = writer.apply(partial(Store.ack, project="default", upto=upto))
                writer.step()
                ack.wait()
            with pytest.raises(StoreUnavailable, match="the disk is full"):
                refused.wait()
            assert reader.totals()["default"].delivered == stored - 1
            assert trouble(writer) == "the disk is full"

            ballast.unlink()
            tidied(writer, clock)
            assert is_held(reserve)
            assert trouble(writer) is None
            again = writer.submit(deposit(noise(MIB)))
            writer.step()
            again.wait()
        said = [record.getMessage().split()[0] for record in caplog.records]
        assert said == ["store_unavailable", "reserve_given_up", "store_recovered"]


def test_a_reserve_is_made_once_and_found_again(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "relay.db", MIB)
    assert reserve.take()
    look = (tmp_path / "relay.db.reserve").stat()
    assert (look.st_size, look.st_blocks * 512 >= MIB) == (MIB, True)
    assert look.st_mode & 0o007 == 0

    again = Reserve(tmp_path / "relay.db", MIB)
    assert again.take()
    assert (tmp_path / "relay.db.reserve").stat().st_ino == look.st_ino
    assert again.give_up()
    assert not (tmp_path / "relay.db.reserve").exists()
    assert not again.give_up()


# Room.


def tidied(writer: Writer, clock: FakeClock) -> None:
    """Let time pass until there is nothing left to tidy."""
    while writer._tidy_at is not None and writer._tidy_at < clock.now + OLD_SECONDS:
        clock.now = max(clock.now, writer._tidy_at)
        writer._tidy_if_due()


@pytest.mark.slow
def test_space_is_given_back_after_draining(
    store: GatedStore, clock: FakeClock
) -> None:
    writer = Writer(store, clock, limits=ROOMY)
    for number in range(50):
        writer.submit(deposit(noise(MIB, number)))
        writer.step()
    assert disk_bytes(store) > 50 * MIB

    writer.apply(lambda store: store.ack("default", Position(1 << 40, 0)))
    writer.step()
    tidied(writer, clock)

    assert disk_bytes(store) < 6 * MIB
    (verdict,) = store._conn.execute("pragma integrity_check").fetchone()
    assert verdict == "ok"


def test_what_is_given_back_at_once_is_a_small_step(
    store: GatedStore, clock: FakeClock
) -> None:
    writer = Writer(store, clock, limits=ROOMY)
    for number in range(12):
        writer.submit(deposit(noise(MIB, number)))
        writer.step()
    writer.apply(lambda store: store.ack("default", Position(1 << 40, 0)))
    writer.step()
    clock.now += 2
    before = store.measure()

    writer._tidy_if_due()

    assert MIB < before.free - store.measure().free <= 2 * MIB + 8192
    assert writer._tidy_at == pytest.approx(clock.now + 0.01)


def test_a_step_of_giving_back_is_as_large_as_is_done_in_time(
    store: GatedStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite takes the longer for a page the more of them are free."""
    steps: list[int] = []

    def slow(*, pages: int) -> None:
        steps.append(pages)
        clock.now += pages * 0.0003

    vacuum = Vacuum(store, clock)
    monkeypatch.setattr(store, "give_back", slow)
    waits = [vacuum.step() for _ in range(8)]

    assert steps[:5] == [512, 256, 128, 64, 32]
    assert max(steps[4:]) * 0.0003 < 2 * STEP_SECONDS
    assert waits[-1] == pytest.approx(2 * steps[-1] * 0.0003)  # for those who write


def test_giving_back_leaves_the_writer_to_what_goes_out(
    store: GatedStore, clock: FakeClock
) -> None:
    vacuum = Vacuum(store, clock)
    idle = vacuum.step()
    writer = Writer(store, clock, limits=ROOMY)
    writer.submit(deposit(b"{}"))
    writer.step()

    assert idle < vacuum.step() == BUSY_NEXT_SECONDS


def test_an_idle_store_is_left_alone(store: GatedStore, clock: FakeClock) -> None:
    writer = Writer(store, clock, limits=ROOMY)
    idle(writer)
    tidied(writer, clock)

    assert writer._tidy_at is None


def test_the_log_is_not_waited_for_while_somebody_reads(
    store: GatedStore, clock: FakeClock
) -> None:
    """A truncating checkpoint waits for readers by itself, up to the busy timeout."""
    writer = Writer(store, clock, limits=ROOMY)
    writer.submit(deposit(noise(2 * MIB)))
    writer.step()
    long = sqlite3.connect(store.path, isolation_level=None)
    with closing(long):
        long.execute("begin")
        long.execute("select count(*) from chunk").fetchone()
        writer.submit(deposit(noise(MIB)))
        writer.step()
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        store._conn.set_progress_handler(count, 1)
        timed = threading.Timer(2.0, long.interrupt)
        timed.start()
        tidied(writer, clock)
        assert timed.is_alive(), "it waited for the reader"
        timed.cancel()
        timed.join()


def fill(writer: Writer, make: Callable[[int], Deposit], groups: int) -> list[Receipt]:
    receipts = []
    for number in range(groups):
        receipts.append(writer.submit(make(number)))
        writer.step()
    return receipts


@pytest.mark.parametrize("drop_oldest", [False, True])
@pytest.mark.parametrize("size", [5_100, 100_000, MIB])
def test_the_bound_holds_over_database_log_and_dead_letters(
    store: GatedStore, clock: FakeClock, size: int, *, drop_oldest: bool
) -> None:
    limits = Limits(20 * MIB, drop_oldest, 2 * MIB, 5000)
    writer = Writer(store, clock, limits=limits)
    highest = 0
    for number in range(10 * MIB // size):
        refused = (letter(noise(size // 2, -number)),)
        writer.submit(Deposit((chunk(noise(size, number)),), refused))
        writer.submit(Deposit(refused=refused))
        writer.step()
        highest = max(highest, disk_bytes(store))

    totals = store.totals["default"]
    assert highest <= limits.max_bytes
    assert totals.dead_letter_bytes <= limits.dead_letter_bytes
    assert totals.dead_letters_given_up > 0
    assert totals.backlog_events > 0
    assert (totals.dropped > 0) == drop_oldest
    assert writer.full == (not drop_oldest)


def test_a_long_reader_does_not_make_the_log_exceed_the_bound(
    store: GatedStore, clock: FakeClock
) -> None:
    limits = Limits(64 * MIB, True, MIB, 5000)  # noqa: FBT003
    writer = Writer(store, clock, limits=limits)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as long:
        idle(writer)
        long.execute("begin")
        long.execute("select count(*) from chunk").fetchone()

        receipts = fill(writer, lambda n: deposit(noise(MIB, n)), 40)

        assert disk_bytes(store) <= limits.max_bytes
        assert isinstance(receipts[-1].error, StoreFull)
        # Giving events up would not help, so that none is.
        assert store.totals["default"].dropped == 0
        long.execute("commit")

    (again,) = fill(writer, lambda _: deposit(noise(MIB)), 1)
    again.wait()
    assert not is_full(writer)


def test_a_full_store_is_said_once_and_until_there_is_room(
    store: GatedStore, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    limits = Limits(20 * MIB, False, MIB, 5000)  # noqa: FBT003
    writer = Writer(store, clock, limits=limits)
    receipts = fill(writer, lambda n: deposit(noise(MIB, n)), 10)
    stored = sum(receipt.error is None for receipt in receipts)
    assert is_full(writer)

    idle(writer)  # a change that makes no room
    assert is_full(writer)
    fill(writer, lambda n: deposit(noise(MIB, n)), 3)
    assert [r.getMessage() for r in caplog.records] == [
        f"store_full max_bytes={20 * MIB} times=1"
    ]

    writer.apply(lambda store: store.ack("default", Position(3, 0)))
    writer.step()
    assert not is_full(writer)
    (again,) = fill(writer, lambda n: deposit(noise(MIB, n)), 1)
    again.wait()
    assert store.totals["default"].accepted == stored + 1


def test_refused_lines_and_progress_are_kept_when_the_store_is_full(
    store: GatedStore, clock: FakeClock
) -> None:
    limits = Limits(20 * MIB, False, MIB, 5000)  # noqa: FBT003
    writer = Writer(store, clock, limits=limits)
    fill(writer, lambda n: deposit(noise(MIB, n)), 10)
    progress = FileProgress(FileId(1, 2), "a.jsonl", 30, 3, b"digest")

    both = writer.submit(Deposit(refused=(letter(b"{"),), progress=progress))
    events = writer.submit(deposit(noise(MIB)))
    writer.step()

    both.wait()
    with pytest.raises(StoreFull):
        events.wait()
    assert store.totals["default"].refused == 1


# Files that somebody removes.


@pytest.mark.parametrize("name", ["relay.db", "relay.db-wal"])
@pytest.mark.parametrize("how", [Path.unlink, lambda path: path.rename(f"{path}.old")])
def test_stored_is_not_said_of_what_goes_into_a_file_that_was_removed(
    store: GatedStore, clock: FakeClock, how: Callable[[Path], object], name: str
) -> None:
    """It once was, for ever, and the next start had nothing of it."""
    writer = Writer(store, clock, limits=ROOMY)
    before = writer.submit(deposit())
    writer.step()
    before.wait()

    how(store.path.with_name(name))
    after = writer.submit(deposit())
    with pytest.raises(StoreGone, match=rf"{name} was removed or replaced"):
        writer.step()

    with pytest.raises(Stopping):
        after.wait()


def test_a_writer_that_has_nothing_to_do_sees_it_too(
    store: GatedStore, clock: FakeClock
) -> None:
    writer = Writer(store, clock, limits=ROOMY)
    store.path.unlink()

    with pytest.raises(StoreGone):
        writer.step()


def test_a_store_that_was_removed_is_not_made_anew_after_trouble(
    store: GatedStore,
) -> None:
    store.path.unlink()

    with pytest.raises(StoreGone):
        store.reopen()
    assert not store.path.exists()


def test_who_removes_the_lock_ends_the_relay_that_holds_it(
    store: GatedStore, clock: FakeClock
) -> None:
    """It lets a second one in, and two would write one store."""
    with lock.held(store.path) as held:
        writer = Writer(store, clock, limits=ROOMY, lock=held)
        idle(writer)
        store.path.with_name("relay.db.lock").unlink()
        clock.now += 1.0
        change = writer.submit(deposit())
        with pytest.raises(StoreGone, match=r"relay\.db\.lock was removed"):
            writer.step()

    with pytest.raises(Stopping):
        change.wait()
    assert "default" not in store.totals
