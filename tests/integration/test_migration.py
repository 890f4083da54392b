"""A store that an earlier version made goes on with all that it holds."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from leanbase_relay.store import schema
from leanbase_relay.store.chunk import pack
from leanbase_relay.store.reader import Reader
from leanbase_relay.store.store import Store
from leanbase_relay.store.totals import BEGINNING, Totals

# As the first version left it, with two events and a dead letter.
FIRST_VERSION = (
    "pragma auto_vacuum = incremental",
    "pragma journal_mode = wal",
    *schema._FIRST,
    "pragma user_version = 1",
)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "relay.db"
    packed = pack(b'{"n":1},{"n":2}')
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        for statement in FIRST_VERSION:
            conn.execute(statement)
        conn.execute(
            "insert into chunk (project, events, bytes, accepted_at_ms, checksum, data)"
            " values ('default', 2, 15, 7, ?, ?)",
            (packed.checksum, packed.data),
        )
        conn.execute(
            "insert into project (name, accepted, delivered, backlog_bytes, dead,"
            " dead_letters, dead_letter_bytes) values ('default', 5, 2, 15, 1, 1, 202)"
        )
        conn.execute(
            "insert into dead_letter (door, project, reason, origin, died_at_ms, line)"
            " values ('upstream', 'default', 'no', 'store', 7, x'7b7d')"
        )
        # sqlite-utils' own record of what was applied.
        conn.execute(
            "create table _sqlite_migrations (id integer primary key,"
            " migration_set text, name text, applied_at text)"
        )
        conn.execute(
            "insert into _sqlite_migrations (migration_set, name, applied_at)"
            " values ('leanbase-relay', 'first_tables', '2026-11-01')"
        )
    return path


def test_a_store_of_the_first_version_keeps_all_it_has(old: Path) -> None:
    with closing(Store.open(old)) as store, closing(Reader(old)) as reader:
        (chunk,) = reader.peek("default", BEGINNING, max_events=9, max_bytes=99)

        assert (chunk.events, chunk.stamped, chunk.historical) == (2, None, False)
        assert store.totals["default"] == Totals(
            accepted=5,
            delivered=2,
            dead=1,
            backlog_bytes=15,
            dead_letters=1,
            dead_letter_bytes=202,
        )
        letters = store._conn.execute("select events, requeues from dead_letter")
        assert letters.fetchall() == [(1, 0)]
        assert store._conn.execute("pragma user_version").fetchone() == (
            schema.VERSION,
        )


def test_a_stopped_store_of_an_earlier_version_can_be_looked_into(old: Path) -> None:
    """`status` before the first start of a new version."""
    with closing(Reader(old)) as reader:
        assert reader.totals()["default"].backlog_events == 2
