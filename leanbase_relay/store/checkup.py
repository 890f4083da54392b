"""A checkup: all of a store, read to its last byte and changed nowhere.

For `doctor`. It takes as long as the disk takes to read the file; beside a running
daemon only what can be done in short looks, since a long one makes the log grow.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from leanbase_relay.clock import Clock
from leanbase_relay.store import schema
from leanbase_relay.store.chunk import Packed, head_of

_MOST_FAULTS = 20
_SLICE_BYTES = 4 << 20
_LENGTHS = """
    select id, length(data) from chunk where id > ? order by id limit 256
"""
_CHUNKS = """
    select id, project, events, checksum, data
      from chunk where id > ? and id <= ? order by id
"""

# After 3.7.0 two connections that write may lose a commit between them; these have the
# mend, and all from 3.51.3 on. https://sqlite.org/wal.html, "The WAL-Reset Bug".
_RESET_MENDED = (3, 51, 3)
_RESET_BACKPORTS = {(3, 44): 6, (3, 50): 7}


@dataclass(frozen=True, slots=True)
class Chunks:
    """What the checksums of all chunks say.

    Attributes:
        chunks, events, bytes: that were looked at; bytes as they are stored.
        damaged: the ids of those whose checksum is wrong.
        damaged_events: how many events those have.
        seconds: how long it took.
    """

    chunks: int
    events: int
    bytes: int
    damaged: tuple[int, ...]
    damaged_events: int
    seconds: float


def faults_of_pages(path: Path) -> list[str]:
    """What SQLite finds when it looks at every page and every index; empty if nothing.

    Raises:
        sqlite3.Error: it cannot even look.
    """
    with closing(schema.connect_to_read(path)) as conn:
        rows = conn.execute(f"pragma integrity_check({_MOST_FAULTS})").fetchall()
    said = [line.strip() for (text,) in rows for line in str(text).splitlines()]
    return [line for line in said if line and line != "ok" and line[:3] != "***"]


def check_chunks(path: Path, clock: Clock) -> Chunks:
    """Take the checksum of every chunk, a few at a time.

    Raises:
        sqlite3.Error: a chunk cannot be read at all.
    """
    began = clock.monotonic()
    chunks = events = size = damaged_events = 0
    damaged: list[int] = []
    with closing(schema.connect_to_read(path)) as conn:
        after = 0
        while upto := _end_of_slice(conn, after):
            for number, name, count, checksum, data in conn.execute(
                _CHUNKS, (after, upto)
            ):
                chunks += 1
                events += count
                size += len(data)
                if not Packed(data, checksum, head_of(name, count)).is_right:
                    damaged.append(number)
                    damaged_events += count
            after = upto
    seconds = clock.monotonic() - began
    return Chunks(chunks, events, size, tuple(damaged), damaged_events, seconds)


def has_reset_defect(version: tuple[int, ...]) -> bool:
    """Whether a version of SQLite has the WAL-reset defect."""
    major, minor, patch, *_ = version
    return version < _RESET_MENDED and patch < _RESET_BACKPORTS.get(
        (major, minor), patch + 1
    )


def _end_of_slice(conn: sqlite3.Connection, after: int) -> int | None:
    """The last of the next chunks that are together small enough to be read at once."""
    end, size = None, 0
    for number, length in conn.execute(_LENGTHS, (after,)).fetchall():
        size += length
        if end is not None and size > _SLICE_BYTES:
            break
        end = number
    return end
