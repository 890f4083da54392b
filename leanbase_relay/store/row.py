"""Rows: chunks as they go into the table. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from leanbase_relay.store import schema
from leanbase_relay.store.chunk import Chunk, Packed, head_of, joined, pack


@dataclass(frozen=True, slots=True)
class Row:
    """A chunk, packed.

    Attributes:
        chunk: what it is, without its bytes, which are in `packed`.
        size: its event bytes, before compression.
        stamped: whose clock its stamps are by; see `stamps`.
        accepted_at_ms: when that was, for what comes back from the dead letters; None
            is a new acceptance.
    """

    chunk: Chunk
    packed: Packed
    size: int
    stamped: str | None = None
    accepted_at_ms: int | None = None

    @property
    def room(self) -> int:
        """Bytes that the row takes in the file, at most: whole pages."""
        pages = -(-len(self.packed.data) // (schema.PAGE_BYTES - 4)) + 1
        return pages * schema.PAGE_BYTES


def merged(
    chunks: Iterable[Chunk], *, max_events: int, max_bytes: int
) -> Iterator[Chunk]:
    """Small neighbours of a project that are like each other, as one chunk each.

    One is made at a time: all together would be everything a second time.

    Args:
        chunks: in the order in which they came; each project's own order is kept.
        max_events: of one of the results, unless a chunk came larger.
        max_bytes: the same of their bytes.
    """
    runs: list[_Run] = []
    last: dict[str, _Run] = {}
    for chunk in chunks:
        run = last.get(chunk.project)
        if run is None or not run.takes(chunk, max_events, max_bytes):
            run = last[chunk.project] = _Run()
            runs.append(run)
        run.add(chunk)
    for run in runs:
        yield joined(run.chunks)


def row_of(
    chunk: Chunk, *, stamped: str | None, accepted_at_ms: int | None = None
) -> Row:
    """The row of a chunk."""
    return Row(
        replace(chunk, event_bytes=b""),
        pack(chunk.event_bytes, head_of(chunk.project, chunk.events)),
        len(chunk.event_bytes),
        stamped,
        accepted_at_ms,
    )


class _Run:
    """Neighbours that may become one chunk."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self._events = 0
        self._size = 0

    def takes(self, chunk: Chunk, max_events: int, max_bytes: int) -> bool:
        return (
            self._events + chunk.events <= max_events
            and self._size + len(chunk.event_bytes) <= max_bytes
            and chunk.is_like(self.chunks[0])
        )

    def add(self, chunk: Chunk) -> None:
        self.chunks.append(chunk)
        self._events += chunk.events
        self._size += len(chunk.event_bytes)
