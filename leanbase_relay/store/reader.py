"""The reader: looks into the store, and never changes it.

Each thread that looks has its own connection, and each look is short: while a reading
transaction is open, the write-ahead log cannot be folded in and grows.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from leanbase_relay.clock import UNSET_BEFORE
from leanbase_relay.errors import StoreDamaged
from leanbase_relay.store import letters, schema
from leanbase_relay.store.chunk import Packed, head_of
from leanbase_relay.store.deposit import FileId, FileProgress
from leanbase_relay.store.size import file_bytes, log_path
from leanbase_relay.store.totals import BEGINNING, Position, Totals, read_totals

_OLDEST_FROM = """
    select id, accepted_at_ms from chunk
     where project = ? and id >= ? order by id limit 1
"""
_PEEK = """
    select id, events, bytes, accepted_at_ms, checksum, data,
           stamped, historical, requeues
      from chunk
     where project = ? and id >= ?
     order by id
"""


class Life(NamedTuple):
    """A run of the daemon.

    Attributes:
        last_before: the newest chunk that it found.
        begun_at: when it began, by the wall clock as it stands.
    """

    last_before: int
    begun_at: float


class Oldest(NamedTuple):
    """Which chunk has the event that waits for longest, and since when.

    `accepted_at_ms` is by the wall clock of then, right or wrong.
    """

    chunk: int
    accepted_at_ms: int

    def since(self, life: Life | None) -> float | None:
        """Since when it waits, by the wall clock as it stands; None if nobody knows.

        Whatever the clock said, an event that came in this life has not waited for
        longer; and one that was stamped before the clock was set waits for nobody
        knows how long, but at least since this life began.
        """
        stamp = self.accepted_at_ms / 1000
        if life is not None and self.chunk > life.last_before:
            return max(stamp, life.begun_at)
        if stamp >= UNSET_BEFORE:
            return stamp
        return life.begun_at if life else None


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """One row of the backlog, still packed.

    Attributes:
        stamped: which events bear the relay's stamp, by which clock; see `stamps`.
        historical, requeues: see `Chunk`.
    """

    id: int
    events: int
    bytes: int
    accepted_at_ms: int
    packed: Packed
    stamped: str | None = None
    historical: bool = False
    requeues: int = 0


def stored_chunk(row: tuple[Any, ...], project: str) -> StoredChunk:
    """A project's chunk from the columns of `_PEEK`."""
    chunk, events, size, accepted_at_ms, checksum, data, *kind = row
    stamped, historical, requeues = kind
    packed = Packed(data, checksum, head_of(project, events))
    return StoredChunk(
        chunk,
        events,
        size,
        accepted_at_ms,
        packed,
        stamped,
        bool(historical),
        requeues,
    )


def in_order(
    rows: Iterable[tuple[Any, ...]], project: str, lowest: int
) -> Iterator[StoredChunk]:
    """Chunks as they were asked for: from an id on, each behind the one before it.

    A damaged index may give the same ones for ever, and they would go out as often.

    Raises:
        StoreDamaged: it did.
    """
    for row in rows:
        chunk = stored_chunk(row, project)
        if chunk.id < lowest:
            raise StoreDamaged("the index of its chunks is out of order")
        lowest = chunk.id + 1
        yield chunk


class Reader:
    """The reading side of a store."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._conn = schema.connect_to_read(path)

    def close(self) -> None:
        self._conn.close()

    def totals(self) -> dict[str, Totals]:
        """The totals of every project."""
        return read_totals(self._conn)

    def peek(
        self, project: str, start: Position, *, max_events: int, max_bytes: int
    ) -> list[StoredChunk]:
        """The oldest chunks from a position on.

        As many as stay within the limits, and at least one if there is any.

        Raises:
            StoreDamaged: SQLite gives chunks that were not asked for.
        """
        chunks: list[StoredChunk] = []
        events = size = 0
        rows = self._conn.execute(_PEEK, (project, start.chunk))
        try:
            for chunk in in_order(rows, project, start.chunk):
                events += chunk.events
                size += chunk.bytes + 1
                if chunks and (events > max_events or size > max_bytes):
                    break
                chunks.append(chunk)
        finally:
            rows.close()  # ends the read transaction at once
        return chunks

    def has(self, chunk: int) -> bool:
        """Whether a chunk is still there."""
        found = self._conn.execute("select 1 from chunk where id = ?", (chunk,))
        return found.fetchone() is not None

    def oldest(self, project: str, start: Position = BEGINNING) -> Oldest | None:
        """The first event from a position on; None if there is none."""
        row = self._conn.execute(_OLDEST_FROM, (project, start.chunk)).fetchone()
        return Oldest(*row) if row else None

    def last_chunk(self) -> int:
        """The id of the newest chunk; 0 if there is none."""
        (last,) = self._conn.execute("select max(id) from chunk").fetchone()
        return last or 0

    def lately_refused_ms(self) -> dict[str, int]:
        """When the upstream last refused an event of a project for good; roughly."""
        return letters.lately_refused(self._conn)

    def spool_progress(self) -> Iterable[FileProgress]:
        """How far the known spool files are taken."""
        rows = self._conn.execute("select * from spool_file").fetchall()
        return [
            FileProgress(
                FileId(device, inode),
                name,
                offset,
                lines,
                digest,
                finished,
                bool(within),
            )
            for device, inode, name, offset, lines, digest, finished, within in rows
        ]

    def size(self) -> int:
        """Bytes of database and write-ahead log on the disk."""
        return file_bytes(str(self._path)) + file_bytes(log_path(self._path))
