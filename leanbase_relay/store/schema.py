"""The schema: tables, pragmas, migrations, and how a connection is opened.

sqlite-utils applies the migrations, each in one transaction with the record of it.
`user_version` says how far a file is, so that a daemon whose store is up to date
starts without importing it.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

from msgspec import Meta

from leanbase_relay import lasting
from leanbase_relay.errors import StoreError, StoreUnavailable
from leanbase_relay.store.size import log_path

if TYPE_CHECKING:
    from sqlite_utils.db import Database

PAGE_BYTES = 4096
CHECKPOINT_PAGES = 2048
"""Pages in the write-ahead log at which a commit also checkpoints: 8 MiB."""

BUSY_MS = 5000

Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""What a column can hold: requests that name a number are held to it."""

_FIRST = (
    # Totals are rows that change in the transaction of the events they count: nothing
    # is ever counted by scanning, and they cannot disagree with the chunks.
    """
    create table project (
        name text primary key,
        accepted integer not null default 0,
        delivered integer not null default 0,
        dead integer not null default 0,
        dropped integer not null default 0,
        refused integer not null default 0,
        backlog_bytes integer not null default 0,
        position_chunk integer not null default 0,
        position_events integer not null default 0,
        dead_letters integer not null default 0,
        dead_letter_bytes integer not null default 0,
        dead_letters_given_up integer not null default 0
    ) strict, without rowid
    """,
    # AUTOINCREMENT: without it an emptied table begins again at 1, and an ack that
    # comes late would delete a chunk that was never sent.
    """
    create table chunk (
        id integer primary key autoincrement,
        project text not null,
        events integer not null,
        bytes integer not null,
        accepted_at_ms integer not null,
        checksum integer not null,
        data blob not null
    ) strict
    """,
    "create index chunk_by_project on chunk (project, id)",
    """
    create table dead_letter (
        id integer primary key autoincrement,
        door text not null,
        project text not null,
        event text,
        distinct_id text,
        uuid text,
        status integer,
        reason text not null,
        origin text not null,
        accepted_at_ms integer,
        died_at_ms integer not null,
        line blob not null
    ) strict
    """,
    """
    create table spool_file (
        device integer not null,
        inode integer not null,
        name text not null,
        offset integer not null,
        lines integer not null,
        digest blob not null,
        finished_ctime_ns integer,
        primary key (device, inode)
    ) strict, without rowid
    """,
)

_SECOND = (
    # What a whole row has in common; batches and rows never mix these.
    "alter table chunk add column historical integer not null default 0",
    "alter table chunk add column requeues integer not null default 0",
    # Which events bear the relay's own stamp, and by which clock: `store.stamps`.
    "alter table chunk add column stamped text",
    "alter table dead_letter add column events integer not null default 1",
    "alter table dead_letter add column requeues integer not null default 0",
    "alter table dead_letter add column historical integer not null default 0",
    # Up to which chunk stamps may not change any more, since they may be upstream.
    "alter table project add column frozen_chunk integer not null default 0",
    # What the upstream's 413 taught: the most bytes of a request; 0 = not known.
    "alter table project add column learnt_bytes integer not null default 0",
)

_THIRD = (
    "alter table project add column anonymous integer not null default 0",
    # Of a project and a distinct_id, the first 64 bits of a hash; see `store.known`.
    "create table known_id (digest integer primary key) strict",
)

_FOURTH = (
    # What the upstream taught beside `learnt_bytes`, and which one it was.
    "alter table project add column dead_in_a_row integer not null default 0",
    "alter table project add column taught_by integer not null default 0",
)

# A migration adds tables, or columns behind the others: so a row that is taken from a
# damaged file, of whichever version, fits into today's table (`store.salvage`).
_MIGRATIONS = (
    ("first_tables", _FIRST),
    ("what_the_upstream_answers", _SECOND),
    ("persons", _THIRD),
    ("what_one_upstream_taught", _FOURTH),
    (
        "lines_without_end",
        ("alter table spool_file add column within_line integer not null default 0",),
    ),
    # Chunks are packed as gzip: an older version would take them for damaged.
    ("chunks_that_can_be_joined", ()),
)

VERSION = len(_MIGRATIONS)
"""What `user_version` is after the last migration."""


def connect(path: Path) -> sqlite3.Connection:
    """Open the one connection that writes, creating or migrating the file.

    Raises:
        StoreUnavailable: SQLite or the disk said no.
        StoreError: the file was made by a newer version.
    """
    try:
        doubt_cache(path)
        conn = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, cached_statements=64
        )
    except (sqlite3.Error, OSError) as error:
        raise _unavailable(path, error) from error
    try:
        _prepare(conn, path)
        # SQLite does so too when it first syncs a new log, but forgives a failure: then
        # the log, and all that is said to be stored in it, may have no name tomorrow.
        lasting.sync_directory(path.parent)
    except (sqlite3.Error, OSError) as error:
        conn.close()
        raise _unavailable(path, error) from error
    except BaseException:
        conn.close()
        raise
    return conn


def _unavailable(path: Path, error: Exception) -> StoreUnavailable:
    return StoreUnavailable(f"{path}: {getattr(error, 'strerror', None) or error}")


def doubt_cache(path: Path) -> None:
    """Have the log of a store, if there is one, read as the disk has it.

    When an fsync fails, Linux keeps the pages and takes them for clean: they read as if
    they were saved, and the next fsync says yes. A commit that was refused for it would
    come back from there after a kill, and what is appended behind it would be lost with
    it when the power fails.
    """
    try:
        fd = os.open(log_path(path), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(fd)  # what a killed daemon had not synced yet may still be saved
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a connection that can only read.

    Keep its transactions short: while one is open the write-ahead log cannot be reset
    and grows.
    """
    conn = _opened_to_read(path, "mode=ro")
    try:
        conn.execute("pragma schema_version").fetchone()
    except sqlite3.OperationalError:
        # A stopped store has no write-ahead log, and SQLite makes one even to read,
        # which not every reader may. With no log and no writer the file is all.
        conn.close()
        if path.with_name(f"{path.name}-wal").exists():
            raise
        conn = _opened_to_read(path, "immutable=1")
    except BaseException:
        conn.close()
        raise
    conn.execute("pragma query_only = on")
    return conn


def pattern(version: int) -> sqlite3.Connection:
    """An empty store of a version, in memory: how one has to be."""
    conn = sqlite3.connect(":memory:", isolation_level=None)
    for _, statements in _MIGRATIONS[:version]:
        for statement in statements:
            conn.execute(statement)
    return conn


def refuse_newer(path: Path, version: int) -> NoReturn:
    """Leave a store alone that this version does not know.

    Raises:
        StoreError: always.
    """
    raise StoreError(
        f"{path} was made by a newer leanbase-relay (its schema is {version}, this one "
        f"knows {VERSION}); nothing was touched. Install that version again"
    )


def _opened_to_read(path: Path, how: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{how}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )


def _prepare(conn: sqlite3.Connection, path: Path) -> None:
    (version,) = conn.execute("pragma user_version").fetchone()
    if version > VERSION:
        refuse_newer(path, version)
    if version == 0:
        # These two only take effect before the first table is made; later, the second
        # would write, which a full disk does not allow. Space is then given back in
        # small steps (`incremental_vacuum`), never by rewriting the whole file.
        conn.execute(f"pragma page_size = {PAGE_BYTES}")
        conn.execute("pragma auto_vacuum = incremental")
    conn.execute("pragma journal_mode = wal")
    # We have already told the producer "stored". NORMAL may forget the last commits
    # when the power fails, and the producer will not send them again.
    conn.execute("pragma synchronous = full")
    # Debian's SQLite overwrites what is deleted; each ack would write all of its
    # chunks a second time, as zeros.
    conn.execute("pragma secure_delete = off")
    conn.execute(f"pragma wal_autocheckpoint = {CHECKPOINT_PAGES}")
    conn.execute(f"pragma journal_size_limit = {CHECKPOINT_PAGES * PAGE_BYTES}")
    conn.execute("pragma temp_store = memory")
    conn.execute(f"pragma busy_timeout = {BUSY_MS}")
    if version < VERSION:
        _migrate(conn)


def _migrate(conn: sqlite3.Connection) -> None:
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations

    migrations = Migrations("leanbase-relay")
    for version, (name, statements) in enumerate(_MIGRATIONS, start=1):
        migrations(name=name)(_step(version, statements))
    migrations.apply(Database(conn, execute_plugins=False))


def _step(version: int, statements: Iterable[str]) -> Callable[["Database"], None]:
    def apply(db: "Database") -> None:
        for statement in statements:
            db.execute(statement)
        db.execute(f"pragma user_version = {version}")

    return apply
