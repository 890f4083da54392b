"""A store as the first version left it: two events that wait, and a dead letter."""

import sqlite3
from contextlib import closing
from pathlib import Path

from leanbase_relay.store import schema
from leanbase_relay.store.chunk import pack

EVENTS = 2
ACCEPTED = 5

_FILLED = (
    (
        "insert into project (name, accepted, delivered, backlog_bytes, dead,"
        " dead_letters, dead_letter_bytes) values ('default', 5, 2, 15, 1, 1, 202)"
    ),
    (
        "insert into dead_letter (door, project, reason, origin, died_at_ms, line)"
        " values ('upstream', 'default', 'no', 'store', 7, x'7b7d')"
    ),
    # sqlite-utils' own record of what was applied.
    (
        "create table _sqlite_migrations (id integer primary key, migration_set text,"
        " name text, applied_at text)"
    ),
    (
        "insert into _sqlite_migrations (migration_set, name, applied_at)"
        " values ('leanbase-relay', 'first_tables', '2026-11-01')"
    ),
    "pragma user_version = 1",
)


def make(path: Path) -> None:
    """Write it."""
    packed = pack(b'{"n":1},{"n":2}')
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("pragma auto_vacuum = incremental")
        conn.execute("pragma journal_mode = wal")
        for statement in (*schema._FIRST, *_FILLED):
            conn.execute(statement)
        conn.execute(
            "insert into chunk (project, events, bytes, accepted_at_ms, checksum, data)"
            " values ('default', 2, 15, 7, ?, ?)",
            (packed.checksum, packed.data),
        )
