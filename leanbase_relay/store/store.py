"""The store: every statement that touches the database, but for the schema.

Owns the rule that an event leaves the backlog by exactly one of three doors, `ack`,
`bury` or, at the operator's wish, `drop_oldest`; and that at every moment
``accepted = delivered + dead + dropped + backlog``. Knows nothing of sockets, files
or HTTP. `Store` writes and belongs to the writer's thread; `Reader` only reads, and
each thread that looks has its own.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

from leanbase_relay.store import schema
from leanbase_relay.store.chunk import Packed
from leanbase_relay.store.deposit import DeadLetter, FileId, FileProgress

_APPEND = """
    insert into chunk (project, events, bytes, accepted_at_ms, checksum, data)
    values (?, ?, ?, ?, ?, ?)
"""
_PASSED = """
    select coalesce(sum(events), 0), coalesce(sum(bytes), 0)
      from chunk where project = ? and id < ?
"""
_OLDEST = (
    "select id, project, events, bytes, length(data) from chunk order by id limit ?"
)
_KEEP_LETTER = """
    insert into dead_letter (door, project, event, distinct_id, uuid, status, reason,
                             origin, accepted_at_ms, died_at_ms, line)
    values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_OLDEST_LETTERS = (
    "select id, project, length(line) from dead_letter order by id limit 100"
)
_SAVE = """
    insert or replace into project
        (name, accepted, delivered, dead, dropped, refused, backlog_bytes,
         position_chunk, position_events, dead_letters, dead_letter_bytes,
         dead_letters_given_up)
    values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_SET_PROGRESS = """
    insert or replace into spool_file
        (device, inode, name, offset, lines, digest, finished_ctime_ns)
    values (?, ?, ?, ?, ?, ?, ?)
"""
_TOTALS = """
    select name, accepted, delivered, dead, dropped, refused, backlog_bytes,
           position_chunk, position_events, dead_letters, dead_letter_bytes,
           dead_letters_given_up
      from project
"""
_OLDEST_FROM = """
    select accepted_at_ms from chunk where project = ? and id >= ? order by id limit 1
"""
_PEEK = """
    select id, events, bytes, accepted_at_ms, checksum, data
      from chunk
     where project = ? and id >= ?
     order by id
"""

LETTER_OVERHEAD_BYTES = 200
"""What a dead letter takes beside its line, roughly: reason, origin, names."""


class Position(NamedTuple):
    """Up to where a lane has finished: all chunks before, and so many events of it."""

    chunk: int
    events: int


BEGINNING = Position(0, 0)


@dataclass(frozen=True, slots=True)
class Totals:
    """What happened to a project's events, over the life of the store."""

    accepted: int = 0
    delivered: int = 0
    dead: int = 0
    dropped: int = 0
    refused: int = 0
    backlog_bytes: int = 0
    position: Position = BEGINNING
    dead_letters: int = 0
    dead_letter_bytes: int = 0
    dead_letters_given_up: int = 0

    @property
    def backlog_events(self) -> int:
        """Events accepted that have not left by one of the three doors."""
        return self.accepted - self.delivered - self.dead - self.dropped


_NOTHING = Totals()


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """One row of the backlog, still packed."""

    id: int
    events: int
    bytes: int
    accepted_at_ms: int
    packed: Packed


class Store:
    """The writing side.

    What changes something is called inside a `transaction`.
    """

    def __init__(self, conn: sqlite3.Connection, path: Path) -> None:
        self.path = path
        self._log_path = _log_path(path)
        self._conn = conn
        self._totals = _read_totals(conn)
        self.totals = self._totals.copy()
        """As committed; read by other threads, replaced as a whole."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create the file.

        Raises:
            StoreUnavailable: SQLite or the disk said no.
            StoreError: the file was made by a newer version.
        """
        return cls(schema.connect(path), path)

    def close(self) -> None:
        self._conn.close()

    def reopen(self) -> None:
        """Begin anew on what the disk holds.

        After a failed write or fsync nobody knows what this connection believes.
        """
        self._conn.close()
        self._conn = schema.connect(self.path)
        self._totals = _read_totals(self._conn)
        self.totals = self._totals.copy()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing; after it, and only then, it is on the disk."""
        self._conn.execute("begin immediate")
        try:
            yield
            self._save_totals()
            self._conn.execute("commit")
        except BaseException:
            self._totals = dict(self.totals)
            if self._conn.in_transaction:
                self._conn.execute("rollback")
            raise
        self.totals = dict(self._totals)

    # Events come …

    def append(
        self, project: str, packed: Packed, *, events: int, size: int, now_ms: int
    ) -> None:
        """Add a chunk at the end of a project's backlog."""
        self._conn.execute(
            _APPEND, (project, events, size, now_ms, packed.checksum, packed.data)
        )
        self._count(project, accepted=events, size=size)

    def refuse(self, letter: DeadLetter, *, now_ms: int) -> None:
        """Count a line that intake turned down, and keep it as a dead letter."""
        self._count(letter.project, refused=1)
        self._keep(letter, now_ms)

    def set_progress(self, progress: FileProgress) -> None:
        """Note how far a spool file is taken."""
        self._conn.execute(
            _SET_PROGRESS,
            (
                progress.file.device,
                progress.file.inode,
                progress.name,
                progress.offset,
                progress.lines,
                progress.digest,
                progress.finished_ctime_ns,
            ),
        )

    def forget(self, file: FileId) -> None:
        """Drop the progress of a spool file that is gone."""
        self._conn.execute(
            "delete from spool_file where device = ? and inode = ?",
            (file.device, file.inode),
        )

    # … and leave.

    def ack(self, project: str, upto: Position) -> None:
        """Move the position past delivered events; a chunk wholly passed goes."""
        self._leave(project, upto, dead=False)

    def bury(
        self, project: str, upto: Position, letter: DeadLetter, *, now_ms: int
    ) -> None:
        """Turn what stands between the position and `upto` into a dead letter."""
        if self._leave(project, upto, dead=True):
            self._keep(letter, now_ms)

    def drop_oldest(self, size: int) -> int:
        """Give up the oldest chunks until at least `size` bytes of data are freed.

        Returns:
            How many events were dropped.
        """
        freed = dropped = 0
        while freed < size:
            rows = self._conn.execute(_OLDEST, (32,)).fetchall()
            if not rows:
                break
            for chunk, project, events, event_bytes, data_bytes in rows:
                if freed >= size:
                    break
                self._conn.execute("delete from chunk where id = ?", (chunk,))
                totals = self.of(project)
                position = totals.position
                done = position.events if position.chunk == chunk else 0
                self._totals[project] = replace(
                    totals,
                    dropped=totals.dropped + events - done,
                    backlog_bytes=max(totals.backlog_bytes - event_bytes, 0),
                    position=Position(position.chunk, 0) if done else position,
                )
                freed += data_bytes
                dropped += events - done
        return dropped

    def trim_dead_letters(self, max_bytes: int) -> int:
        """Give up the oldest dead letters until the rest fits; counted.

        Returns:
            How many were given up.
        """
        given_up = 0
        excess = self.dead_letter_bytes - max_bytes
        while excess > 0:
            rows = self._conn.execute(_OLDEST_LETTERS).fetchall()
            if not rows:
                break
            for letter, project, size in rows:
                if excess <= 0:
                    break
                excess -= size + LETTER_OVERHEAD_BYTES
                self._conn.execute("delete from dead_letter where id = ?", (letter,))
                self._count_letters(project, -1, -size - LETTER_OVERHEAD_BYTES, 1)
                given_up += 1
        return given_up

    # Space.

    @property
    def dead_letter_bytes(self) -> int:
        """What the dead letters take, as this transaction has them."""
        return sum(one.dead_letter_bytes for one in self._totals.values())

    def measure(self) -> "Space":
        """How much room the file takes, and how much of that is in use."""
        (pages,) = self._conn.execute("pragma page_count").fetchone()
        (free,) = self._conn.execute("pragma freelist_count").fetchone()
        return Space(
            live=(pages - free) * schema.PAGE_BYTES,
            free=free * schema.PAGE_BYTES,
            log=self.log_bytes(),
        )

    def log_bytes(self) -> int:
        """How long the write-ahead log is."""
        return _file_bytes(self._log_path)

    def give_back(self, *, pages: int) -> None:
        """Return free pages to the file system: a small step, not a rewrite."""
        # A vacuum step does one page each time it is stepped: fetch them all.
        self._conn.execute(f"pragma incremental_vacuum({pages})").fetchall()

    def truncate_log(self) -> None:
        """Empty the write-ahead log, if no reader needs it."""
        # This kind of checkpoint waits for readers, and we are not to be kept by one.
        self._conn.execute("pragma busy_timeout = 0")
        try:
            self._conn.execute("pragma wal_checkpoint(truncate)").fetchall()
        finally:
            self._conn.execute(f"pragma busy_timeout = {schema.BUSY_MS}")

    # Inside.

    def of(self, project: str) -> Totals:
        """The totals of a project as this transaction has them."""
        return self._totals.get(project, _NOTHING)

    def _save_totals(self) -> None:
        """Write the totals that this transaction changed: once, whatever it did."""
        for project, totals in self._totals.items():
            if totals is not self.totals.get(project):
                self._conn.execute(
                    _SAVE,
                    (
                        project,
                        totals.accepted,
                        totals.delivered,
                        totals.dead,
                        totals.dropped,
                        totals.refused,
                        totals.backlog_bytes,
                        *totals.position,
                        totals.dead_letters,
                        totals.dead_letter_bytes,
                        totals.dead_letters_given_up,
                    ),
                )

    def _count(
        self, project: str, *, accepted: int = 0, refused: int = 0, size: int = 0
    ) -> None:
        totals = self.of(project)
        self._totals[project] = replace(
            totals,
            accepted=totals.accepted + accepted,
            refused=totals.refused + refused,
            backlog_bytes=totals.backlog_bytes + size,
        )

    def _leave(self, project: str, upto: Position, *, dead: bool) -> int:
        """Move the position, and count what it passes.

        That is taken from the rows themselves, so that a chunk dropped in the meantime
        cannot be counted twice.
        """
        totals = self.of(project)
        before = totals.position
        if upto.events and not self._has(upto.chunk):
            upto = Position(upto.chunk, 0)  # dropped while it was in flight
        if upto <= before:
            return 0
        passed, size = self._conn.execute(_PASSED, (project, upto.chunk)).fetchone()
        events = passed + upto.events - before.events
        self._conn.execute(
            "delete from chunk where project = ? and id < ?", (project, upto.chunk)
        )
        delivered, buried = (0, events) if dead else (events, 0)
        self._totals[project] = replace(
            totals,
            delivered=totals.delivered + delivered,
            dead=totals.dead + buried,
            backlog_bytes=max(totals.backlog_bytes - size, 0),
            position=upto,
        )
        return int(events)

    def _has(self, chunk: int) -> bool:
        found = self._conn.execute("select 1 from chunk where id = ?", (chunk,))
        return found.fetchone() is not None

    def _keep(self, letter: DeadLetter, now_ms: int) -> None:
        self._conn.execute(
            _KEEP_LETTER,
            (
                letter.door,
                letter.project,
                letter.event,
                letter.distinct_id,
                letter.uuid,
                letter.status,
                letter.reason,
                letter.origin,
                letter.accepted_at_ms,
                now_ms,
                letter.line,
            ),
        )
        size = len(letter.line) + LETTER_OVERHEAD_BYTES
        self._count_letters(letter.project, 1, size, 0)

    def _count_letters(self, project: str, more: int, size: int, given_up: int) -> None:
        totals = self.of(project)
        self._totals[project] = replace(
            totals,
            dead_letters=totals.dead_letters + more,
            dead_letter_bytes=totals.dead_letter_bytes + size,
            dead_letters_given_up=totals.dead_letters_given_up + given_up,
        )


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes: in use in the file, free in the file, and in the write-ahead log."""

    live: int
    free: int
    log: int

    @property
    def total(self) -> int:
        """What `du` shows."""
        return self.live + self.free + self.log


class Reader:
    """The reading side: a short look each time, never a long transaction."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._conn = schema.connect_to_read(path)

    def close(self) -> None:
        self._conn.close()

    def totals(self) -> dict[str, Totals]:
        """The totals of every project."""
        return _read_totals(self._conn)

    def peek(
        self, project: str, start: Position, *, max_events: int, max_bytes: int
    ) -> list[StoredChunk]:
        """The oldest chunks from a position on.

        As many as stay within the limits, and at least one if there is any.
        """
        chunks: list[StoredChunk] = []
        events = size = 0
        rows = self._conn.execute(_PEEK, (project, start.chunk))
        try:
            for chunk, count, event_bytes, accepted_at_ms, checksum, data in rows:
                events += count
                size += event_bytes + 1
                if chunks and (events > max_events or size > max_bytes):
                    break
                packed = Packed(data, checksum)
                chunks.append(
                    StoredChunk(chunk, count, event_bytes, accepted_at_ms, packed)
                )
        finally:
            rows.close()  # ends the read transaction at once
        return chunks

    def oldest_accepted_at_ms(
        self, project: str, start: Position = BEGINNING
    ) -> int | None:
        """When the first event from a position on was accepted; None if none is."""
        row = self._conn.execute(_OLDEST_FROM, (project, start.chunk)).fetchone()
        return row[0] if row else None

    def spool_progress(self) -> Iterable[FileProgress]:
        """How far the known spool files are taken."""
        rows = self._conn.execute("select * from spool_file").fetchall()
        return [
            FileProgress(FileId(device, inode), name, offset, lines, digest, finished)
            for device, inode, name, offset, lines, digest, finished in rows
        ]

    def size(self) -> int:
        """Bytes of database and write-ahead log on the disk."""
        return _file_bytes(str(self._path)) + _file_bytes(_log_path(self._path))


def _read_totals(conn: sqlite3.Connection) -> dict[str, Totals]:
    totals = {}
    for row in conn.execute(_TOTALS):
        name, *counts = row[:7]
        chunk, done, *letters = row[7:]
        totals[name] = Totals(*counts, *([Position(chunk, done), *letters]))
    return totals


def _log_path(path: Path) -> str:
    return f"{path}-wal"


def _file_bytes(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - asked after each commit
    except FileNotFoundError:
        return 0
