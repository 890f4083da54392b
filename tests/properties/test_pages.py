"""Our reading of SQLite's files is SQLite's own, and no bytes make it fall."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leanbase_relay.store import pages, tables
from leanbase_relay.store.image import Image
from leanbase_relay.store.pages import Unreadable
from leanbase_relay.store.schema import PAGE_BYTES
from leanbase_relay.store.store import Store
from tests.support.damage import noise

NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3) | st.none()
TEXTS = st.text(max_size=80)
# Lengths around those at which a row leaves its page, and longer ones.
LENGTHS = st.one_of(
    st.integers(0, 600), st.integers(3900, 4200), st.integers(8000, 30_000)
)
LETTERS = st.lists(st.tuples(NUMBERS, TEXTS, TEXTS | st.none(), LENGTHS), max_size=60)

INSERT = """
    insert into dead_letter (id, door, project, event, distinct_id, status, reason,
                             origin, accepted_at_ms, died_at_ms, line)
    values (?, 'intake', ?, ?, ?, ?, 'no', ?, ?, ?, zeroblob(?))
"""


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("store") / "relay.db"
    Store.open(path).close()
    return path.read_bytes()


def rows_of(path: Path, table: str) -> Iterator[tuple[object, ...]]:
    with Image(path) as image:
        for number in tables.find(image)[table].reached:
            for row in image.rows(number):
                assert row is not None
                assert row.whole
                yield (row.rowid, *row.values[1:])


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(letters=LETTERS, folded=st.booleans())
def test_rows_are_read_as_sqlite_reads_them(
    tmp_path: Path, empty: bytes, letters: list[tuple[object, ...]], *, folded: bool
) -> None:
    path = tmp_path / "relay.db"
    path.write_bytes(empty)
    path.with_name("relay.db-wal").unlink(missing_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("begin")
        for number, (status, text, other, length) in enumerate(letters):
            values = (number * 300, text, other, other, status, text, status)
            conn.execute(INSERT, (*values, number, length))
        conn.execute("commit")
        if folded:
            conn.execute("pragma wal_checkpoint(truncate)")
        by_sqlite = conn.execute("select * from dead_letter order by id").fetchall()

        assert list(rows_of(path, "dead_letter")) == by_sqlite


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 1 << 32),
    st.sampled_from([pages.TABLE_LEAF, pages.INDEX_LEAF, pages.INDEX_INNER]),
    st.integers(0, 2000),
)
def test_no_page_makes_it_fall(seed: int, kind: int, count: int) -> None:
    page = bytes([kind, 0, 0, *count.to_bytes(2)]) + noise(seed, PAGE_BYTES - 5)
    for cell in _cells(page):
        if cell is not None:
            with _Doubt():
                pages.shape(cell.local)
            with _Doubt():
                pages.values(cell.local, cell.rowid)
    with _Doubt():
        pages.children(page, 2)


def _cells(page: bytes) -> Iterator[pages.Cell | None]:
    with _Doubt():
        yield from pages.cells(page, 2)


class _Doubt:
    """Lets `Unreadable` pass, and nothing else."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and issubclass(kind, Unreadable)


def test_a_tree_that_bites_its_tail_has_an_end(tmp_path: Path) -> None:
    """A page that names itself, and one above it, as what is below it."""
    path = tmp_path / "relay.db"
    Store.open(path).close()
    with Image(path) as image:
        root = tables.read_schema(image).roots["chunk"]
    cell = (root.to_bytes(4) + b"\x01").ljust(8, b"\0")
    head = b"\x05\x00\x00\x00\x01" + bytes(3) + root.to_bytes(4) + b"\x0f\xf0"
    page = bytearray(head.ljust(PAGE_BYTES, b"\0"))
    page[0xFF0 : 0xFF0 + len(cell)] = cell
    with path.open("r+b") as file:
        file.seek((root - 1) * PAGE_BYTES)
        file.write(page)

    with Image(path) as image:
        found = tables.find(image)["chunk"]

    assert (found.reached, found.whole) == ([], False)


def test_noise_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    path.write_bytes(noise(7, 60 * PAGE_BYTES))

    with Image(path) as image:
        found = tables.find(image)

    assert not any(table.reached for table in found.values())
