"""The store: all that changes the database, but for the schema.

Owns the rule that an event leaves the backlog by exactly one of three doors, `ack`,
`bury` or, at the operator's wish, `drop_oldest` and `purge`; that only `requeue` leads
back; and that at every moment ``accepted = delivered + dead + dropped + backlog``.
Knows nothing of sockets, files or HTTP. Belongs to the writer's thread; who only looks
has a `Reader`.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Self

from leanbase_relay.store import backlog, letters, schema
from leanbase_relay.store.backlog import ChunkSize, Share
from leanbase_relay.store.chunk import Packed
from leanbase_relay.store.deposit import DeadLetter, FileId, FileProgress
from leanbase_relay.store.letters import KeptLetter
from leanbase_relay.store.presence import Presence
from leanbase_relay.store.reader import StoredChunk, in_order
from leanbase_relay.store.row import Row
from leanbase_relay.store.size import Space, file_bytes, log_path
from leanbase_relay.store.totals import Position, Totals, read_totals, save_totals

_APPEND = """
    insert into chunk (project, events, bytes, accepted_at_ms, checksum, data,
                       stamped, historical, requeues)
    values (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_KNOW = "insert or ignore into known_id (digest) values (?)"
_FORGET_KNOWN = """
    delete from known_id where digest in (select digest from known_id limit ?)
"""
_SMALL = """
    select id, events, bytes, accepted_at_ms, checksum,
           iif(length(data) <= 65536, data, x''), stamped, historical, requeues
      from chunk
     where project = ? and id > ?
     order by id
     limit ?
"""
_DELETE = "delete from chunk where id = ?"
_MERGE = """
    update chunk
       set events = ?, bytes = ?, accepted_at_ms = ?, checksum = ?, data = ?,
           stamped = ?
     where id = ?
"""
_RESTAMP = """
    update chunk set bytes = ?, checksum = ?, data = ?, stamped = null where id = ?
"""
_RECOUNT = "update chunk set events = ? where id = ?"
_PASSED = """
    select coalesce(sum(events), 0), coalesce(sum(bytes), 0)
      from chunk where project = ? and id < ?
"""
_SET_PROGRESS = """
    insert or replace into spool_file
        (device, inode, name, offset, lines, digest, finished_ctime_ns, within_line)
    values (?, ?, ?, ?, ?, ?, ?, ?)
"""

_NOTHING = Totals()


class Dropped(NamedTuple):
    """What a purge gave up.

    Attributes:
        events, bytes: of the backlog.
        last: the last chunk that went; None if none did.
    """

    events: int = 0
    bytes: int = 0
    last: int | None = None


class Store:
    """The writing side.

    What changes something is called inside a `transaction`.
    """

    def __init__(self, conn: sqlite3.Connection, path: Path) -> None:
        self.path = path
        self._file_path = str(path)
        self._log_path = log_path(path)
        self._conn = conn
        self._totals = read_totals(conn)
        self._known_ids = _count_known_ids(conn)
        self._presence = Presence(self._file_path, self._log_path)
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

        Raises:
            StoreUnavailable: SQLite or the disk said no.
            StoreGone: see `check_presence`.
        """
        self.check_presence()
        self._conn.close()
        self._conn = schema.connect(self.path)
        self._totals = read_totals(self._conn)
        self._known_ids = _count_known_ids(self._conn)
        self._presence = Presence(self._file_path, self._log_path)
        self.totals = self._totals.copy()

    def check_presence(self) -> None:
        """See that what is written goes where the next start will look for it.

        Raises:
            StoreGone: the file or its log was removed, or another is in its place.
        """
        self._presence.check()

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

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within a transaction: if this part of it fails, it alone is undone."""
        totals, known_ids = dict(self._totals), self._known_ids
        self._conn.execute("savepoint alone")
        try:
            yield
        except sqlite3.Error:
            raise  # all of it is undone, and the connection not to be believed
        except BaseException:
            self._conn.execute("rollback to alone")
            self._conn.execute("release alone")
            self._totals, self._known_ids = totals, known_ids
            raise
        self._conn.execute("release alone")

    # Events come …

    def append(self, row: Row, *, now_ms: int) -> None:
        """Add a chunk at the end of its project's backlog.

        What was accepted before comes back from the dead letters, and keeps its time.
        """
        chunk, before = row.chunk, row.accepted_at_ms
        self._conn.execute(
            _APPEND,
            (
                chunk.project,
                chunk.events,
                row.size,
                now_ms if before is None else before,
                row.packed.checksum,
                row.packed.data,
                row.stamped,
                chunk.historical,
                chunk.requeues,
            ),
        )
        if chunk.identified:
            rows = ((digest,) for digest in chunk.identified)
            self._known_ids += self._conn.executemany(_KNOW, rows).rowcount
        new = before is None
        self._count(
            chunk.project,
            accepted=chunk.events if new else 0,
            anonymous=chunk.anonymous if new else 0,
            size=row.size,
        )

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
                progress.within_line,
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
            chunks = backlog.oldest(self._conn, limit=32)
            if not chunks:
                break
            for chunk in chunks:
                if freed >= size:
                    break
                dropped += self._drop(chunk)
                freed += chunk.data_bytes
        return dropped

    def purge(self, share: Share, *, max_chunks: int, max_bytes: int) -> Dropped:
        """Give up the first chunks of a share.

        Args:
            share: what is to go in the end.
            max_chunks: no more at once.
            max_bytes: nor much more data than so many bytes.
        """
        dropped = Dropped()
        freed = 0
        for chunk in backlog.within(self._conn, share, limit=max_chunks):
            dropped = Dropped(
                dropped.events + self._drop(chunk),
                dropped.bytes + chunk.event_bytes,
                chunk.id,
            )
            freed += chunk.data_bytes
            if freed >= max_bytes:
                break
        return dropped

    def recount(self, chunk: int, events: int) -> None:
        """Have a chunk's row say how many events it has; nothing comes or leaves."""
        self._conn.execute(_RECOUNT, (events, chunk))

    # Dead letters.

    def keeps(self, letter: int) -> bool:
        """Whether a dead letter is still there."""
        return letters.is_kept(self._conn, letter)

    def requeue(
        self, returning: Iterable[KeptLetter], rows: Iterable[Row], *, now_ms: int
    ) -> None:
        """Bring dead letters back as chunks at the end of their backlogs.

        Args:
            returning: all of them still there, and of one event each.
            rows: what they come to. Those of the door `upstream` tell when they were
                accepted; those of the door `intake` never were, and are now.
            now_ms: the time of the new acceptances.
        """
        gone = self._take_out(returning)
        dead = Counter(
            kept.letter.project for kept in gone if kept.letter.door == "upstream"
        )
        for project, events in dead.items():
            self._count(project, dead=-events)
        for row in rows:
            self.append(row, now_ms=now_ms)

    def purge_letters(self, unwanted: Iterable[KeptLetter]) -> list[KeptLetter]:
        """Delete dead letters for good; those that were still there. Counts stay."""
        return self._take_out(unwanted)

    def trim_dead_letters(self, max_bytes: int) -> int:
        """Give up the oldest dead letters until the rest fits; counted.

        Returns:
            How many were given up.
        """
        given_up = 0
        excess = self.dead_letter_bytes - max_bytes
        while excess > 0:
            rows = letters.oldest(self._conn)
            if not rows:
                break
            for letter, project, size in rows:
                if excess <= 0:
                    break
                letters.remove(self._conn, letter)
                self._count_letters(project, -1, -size, given_up=1)
                excess -= size + letters.OVERHEAD_BYTES
                given_up += 1
        return given_up

    # What a lane has to remember.

    def learn(self, project: str, size: int, *, upstream: int) -> None:
        """Note the largest request that an upstream takes, in bytes; 0 = not known."""
        known = self._taught_by(project, upstream)
        self._totals[project] = replace(known, learnt_bytes=size)

    def count_dead(self, project: str, in_a_row: int, *, upstream: int) -> None:
        """Note how many an upstream refused since it last took one."""
        known = self._taught_by(project, upstream)
        self._totals[project] = replace(known, dead_in_a_row=in_a_row)

    def _taught_by(self, project: str, upstream: int) -> Totals:
        """The totals, without what another upstream taught."""
        totals = self.of(project)
        if totals.taught_by not in (0, upstream):
            totals = replace(totals, learnt_bytes=0, dead_in_a_row=0)
        return replace(totals, taught_by=upstream)

    def freeze(self, project: str, chunk: int) -> None:
        """Note that stamps up to this chunk are not to be put right any more."""
        self._totals[project] = replace(self.of(project), frozen_chunk=chunk)

    def restamp(self, project: str, chunk: int, packed: Packed, *, size: int) -> None:
        """Replace a chunk's bytes by the same events with their stamps put right."""
        row = self._conn.execute("select bytes from chunk where id = ?", (chunk,))
        before = row.fetchone()
        if before is None:  # dropped in the meantime
            return
        self._conn.execute(_RESTAMP, (size, packed.checksum, packed.data, chunk))
        self._count(project, size=size - before[0])

    def trim_known_ids(self, most: int) -> None:
        """Forget a tenth of the known ids, whichever, when there are too many.

        That is harmless: such an event is anonymous again until its id is named anew,
        and the upstream still puts it with the person it knows.
        """
        if self._known_ids > most:
            forgotten = self._conn.execute(_FORGET_KNOWN, (most // 10,))
            self._known_ids -= forgotten.rowcount

    # Small rows; see `merging`.

    def small_rows(self, project: str, after: int, *, limit: int) -> list[StoredChunk]:
        """The rows behind a chunk, with their data where those are small."""
        rows = self._conn.execute(_SMALL, (project, after, limit)).fetchall()
        return list(in_order(rows, project, after + 1))

    def merge(self, row: Row, ids: list[int], accepted_at_ms: int) -> None:
        """Put one row in the place of neighbours; it takes the last one's id."""
        packed, last = row.packed, ids[-1]
        self._conn.executemany(_DELETE, ((one,) for one in ids[:-1]))
        self._conn.execute(
            _MERGE,
            (
                row.chunk.events,
                row.size,
                accepted_at_ms,
                packed.checksum,
                packed.data,
                row.stamped,
                last,
            ),
        )
        self._count(row.chunk.project, size=len(ids) - 1)  # the commas between them

    # Space.

    @property
    def has_backlog(self) -> bool:
        """Whether anything waits, in any project."""
        return any(one.backlog_events for one in self.totals.values())

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

    def file_bytes(self) -> int:
        """How large the database file is at this moment, without the log."""
        return file_bytes(self._file_path)

    def log_bytes(self) -> int:
        """How long the write-ahead log is."""
        return file_bytes(self._log_path)

    def give_back(self, *, pages: int) -> None:
        """Return free pages to the file system: a small step, not a rewrite."""
        # It does a page each time it is stepped, and gives no rows: of such a statement
        # `execute` takes one step and no more, while a script goes to its end.
        self._conn.executescript(f"pragma incremental_vacuum({pages})")

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
        for project, one in self._totals.items():
            if one is not self.totals.get(project):
                save_totals(self._conn, project, one)

    def _count(
        self,
        project: str,
        *,
        accepted: int = 0,
        anonymous: int = 0,
        refused: int = 0,
        dead: int = 0,
        size: int = 0,
    ) -> None:
        totals = self.of(project)
        self._totals[project] = replace(
            totals,
            accepted=totals.accepted + accepted,
            anonymous=totals.anonymous + anonymous,
            refused=totals.refused + refused,
            dead=totals.dead + dead,
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
        events = max(passed + upto.events - before.events, 0)
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
            dead_in_a_row=totals.dead_in_a_row if dead else 0,
        )
        return int(events)

    def _has(self, chunk: int) -> bool:
        found = self._conn.execute("select 1 from chunk where id = ?", (chunk,))
        return found.fetchone() is not None

    def _drop(self, chunk: ChunkSize) -> int:
        """Give up a chunk; how many of its events had not left already."""
        self._conn.execute("delete from chunk where id = ?", (chunk.id,))
        totals = self.of(chunk.project)
        position = totals.position
        done = position.events if position.chunk == chunk.id else 0
        self._totals[chunk.project] = replace(
            totals,
            dropped=totals.dropped + chunk.events - done,
            backlog_bytes=max(totals.backlog_bytes - chunk.event_bytes, 0),
            position=Position(position.chunk, 0) if done else position,
        )
        return chunk.events - done

    def _keep(self, letter: DeadLetter, now_ms: int) -> None:
        letters.keep(self._conn, letter, now_ms=now_ms)
        self._count_letters(letter.project, 1, len(letter.line))

    def _take_out(self, unwanted: Iterable[KeptLetter]) -> list[KeptLetter]:
        gone = [kept for kept in unwanted if letters.remove(self._conn, kept.id)]
        for project in {kept.letter.project for kept in gone}:
            sizes = [kept.size for kept in gone if kept.letter.project == project]
            self._count_letters(project, -len(sizes), -sum(sizes))
        return gone

    def _count_letters(
        self, project: str, more: int, line_bytes: int, *, given_up: int = 0
    ) -> None:
        """So many letters came, with lines of so many bytes; or went, if negative."""
        totals = self.of(project)
        size = line_bytes + more * letters.OVERHEAD_BYTES
        self._totals[project] = replace(
            totals,
            dead_letters=totals.dead_letters + more,
            dead_letter_bytes=totals.dead_letter_bytes + size,
            dead_letters_given_up=totals.dead_letters_given_up + given_up,
        )


def _count_known_ids(conn: sqlite3.Connection) -> int:
    """Once, at the start; from then on they are counted as they come and go."""
    count: int = conn.execute("select count(*) from known_id").fetchone()[0]
    return count
