"""The write-ahead log, read by us and by SQLite; whole, torn and damaged."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from leanbase_relay.store.image import Image
from leanbase_relay.store.schema import PAGE_BYTES
from leanbase_relay.store.store import Store
from leanbase_relay.store.wal import Log, read_log
from tests.support.damage import fill, noise, overwrite

HEADER = 32
STEP = 24 + PAGE_BYTES


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a kill leaves: a file, and a log that has been begun anew once."""
    directory = tmp_path_factory.mktemp("killed")
    store = Store.open(directory / "at-work.db")
    fill(store, chunks=30, longest=6000)
    store._conn.execute("pragma wal_checkpoint(restart)").fetchall()
    fill(store, chunks=10, longest=6000, first=30)
    for part in ("", "-wal"):
        shutil.copyfile(f"{store.path}{part}", directory / f"relay.db{part}")
    store.close()
    return directory / "relay.db"


@pytest.fixture
def store(killed: Path, tmp_path: Path) -> Path:
    for part in ("", "-wal"):
        shutil.copyfile(f"{killed}{part}", tmp_path / f"relay.db{part}")
    return tmp_path / "relay.db"


def log_of(store: Path) -> Path:
    return store.with_name("relay.db-wal")


def read(store: Path) -> Log:
    with log_of(store).open("rb") as file:
        return read_log(file)


def commits(store: Path) -> Iterator[int]:
    """The frames, from 0 on, with which the commits of this use of the log end."""
    log = log_of(store).read_bytes()
    for number in range((len(log) - HEADER) // STEP):
        at = HEADER + number * STEP
        if log[at + 8 : at + 16] == log[16:24] and any(log[at + 4 : at + 8]):
            yield number


def frame(number: int) -> int:
    return HEADER + number * STEP


def frames_by_sqlite(store: Path) -> int:
    """Up to which frame SQLite reads the log."""
    with closing(sqlite3.connect(store)) as conn:
        conn.execute("select count(*) from sqlite_schema").fetchone()
        index = store.with_name("relay.db-shm").read_bytes()
    return int.from_bytes(index[16:20], "little")


def test_a_log_is_read_as_sqlite_reads_it(store: Path) -> None:
    log = read(store)
    with Image(store) as image:
        ours = [image.page(number) for number in range(1, image.last + 1)]

    with closing(sqlite3.connect(store)) as conn:
        conn.execute("pragma wal_checkpoint(truncate)").fetchall()
    theirs = store.read_bytes()
    assert log.fault is None
    assert log.size == len(theirs) // PAGE_BYTES == len(ours)
    assert b"".join(page or b"" for page in ours) == theirs


def test_the_log_of_a_kill_ends_where_sqlite_says(store: Path) -> None:
    (*_, last) = commits(store)
    assert last + 1 < (log_of(store).stat().st_size - HEADER) // STEP, "old frames"

    assert frames_by_sqlite(store) == last + 1


def test_a_last_commit_that_is_torn_was_never_promised(store: Path) -> None:
    """SQLite leaves it out, and so do we: nobody was told `stored`."""
    (*_, before, last) = commits(store)
    assert last > before + 1
    overwrite(log_of(store), frame(last - 1) + 100, b"torn")

    log = read(store)

    assert log.fault is None
    assert frames_by_sqlite(store) == before + 1
    assert max(log.pages.values()) < frame(before + 1)


def test_what_was_synced_behind_a_bad_frame_is_read(store: Path) -> None:
    (first, *_, last) = commits(store)
    bad = first - 1
    page = int.from_bytes(log_of(store).read_bytes()[frame(bad) :][:4])
    overwrite(log_of(store), frame(bad) + 1000, b"damaged")

    log = read(store)

    assert log.fault is not None
    assert "frame" in log.fault
    assert frames_by_sqlite(store) <= bad
    assert max(log.pages.values()) == frame(last) + 24
    assert (page in log.lost) != (log.pages.get(page, 0) > frame(bad))


def test_a_page_whose_newest_version_is_bad_is_lost(store: Path) -> None:
    before = read(store)
    (*_, second_last, _) = commits(store)
    page = next(
        page for page, at in before.pages.items() if at < frame(second_last - 1)
    )
    overwrite(log_of(store), before.pages[page] + 7, noise(1, 9))

    log = read(store)

    assert log.lost == {page}
    assert page not in log.pages
    with Image(store) as image:
        assert image.page(page) is None


def test_a_log_without_its_header_is_read_all_the_same(store: Path) -> None:
    before = read(store)
    overwrite(log_of(store), 0, bytes(HEADER))

    log = read(store)

    assert log.fault == "its log has no header"
    assert log.pages == before.pages
    assert frames_by_sqlite(store) == 0


def test_a_frame_whose_head_is_bad_does_not_end_it(store: Path) -> None:
    (first, *_, last) = commits(store)
    overwrite(log_of(store), frame(first), noise(3, 24))

    log = read(store)

    assert log.fault is not None
    assert max(log.pages.values()) == frame(last) + 24


def test_without_sums_a_log_is_believed(store: Path) -> None:
    before = read(store)
    overwrite(log_of(store), frame(3) + 1000, b"damaged")

    with log_of(store).open("rb") as file:
        log = read_log(file, sums=False)

    assert log == before


@pytest.mark.parametrize("size", [0, 5, HEADER, HEADER + 100, HEADER + STEP - 1])
def test_a_log_that_is_cut_off_at_its_beginning_is_empty(
    store: Path, size: int
) -> None:
    with log_of(store).open("r+b") as file:
        file.truncate(size)

    assert read(store) == Log()


def test_a_log_of_zeros_is_empty(store: Path) -> None:
    """What some file systems leave of a file that was never synced."""
    log_of(store).write_bytes(bytes(HEADER + 5 * STEP))

    assert read(store) == Log()


def test_a_log_with_other_pages_is_another_databases(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("pragma page_size = 1024")
        conn.execute("pragma journal_mode = wal")
        conn.execute("create table t (x)")
        shutil.copyfile(f"{path}-wal", tmp_path / "relay.db-wal")

    log = read(tmp_path / "relay.db")

    assert log == Log(fault="its log is another database's")
