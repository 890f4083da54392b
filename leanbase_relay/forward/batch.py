"""Batches: a contiguous run of a lane's backlog as one request. Pure.

A batch is made of pieces of chunks, whole ones wherever possible: then its body is
what lies in the store, joined, and nothing is unpacked. Only a position inside a chunk,
a limit below a chunk's size, or a half of a refused batch takes a chunk apart.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from leanbase_relay import deflate
from leanbase_relay.store.chunk import Damaged, Packed, join, pack, split, unpack
from leanbase_relay.store.reader import StoredChunk
from leanbase_relay.store.totals import Position

_LARGE_BYTES = 64 << 10
"""Smaller pieces are packed together anew: alone they would take more room on the wire
than it takes time."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Neighbouring events of one chunk.

    Attributes:
        chunk: the chunk's id.
        first: how many of the chunk's events stand before the piece.
        events: how many it has.
        last: whether the chunk ends with it.
        packed: the events, joined by commas; a whole chunk as it lies in the store.
        size: bytes of that, unpacked.
        accepted_at_ms: when the chunk was committed.
        stamped, historical, requeues: of the chunk; see `StoredChunk`.
    """

    chunk: int
    first: int
    events: int
    last: bool
    packed: Packed
    size: int
    accepted_at_ms: int
    stamped: str | None = None
    historical: bool = False
    requeues: int = 0

    @property
    def event_bytes(self) -> bytes:
        """The events, joined by commas.

        Raises:
            Damaged: they cannot be unpacked, though the checksum is right.
        """
        return unpack(self.packed)

    @property
    def goes_as_it_is(self) -> bool:
        """Whether it is sent as it lies in the store."""
        return self.size >= _LARGE_BYTES and deflate.can_be_joined(self.packed.data)

    @property
    def end(self) -> Position:
        """Where a lane stands that has finished this piece."""
        if self.last:
            return Position(self.chunk + 1, 0)
        return Position(self.chunk, self.first + self.events)

    def cut(self, start: int, stop: int) -> "Piece":
        """The events from `start` up to `stop`, counted within the piece."""
        if start == 0 and stop >= self.events:
            return self
        return self._of(split(self.event_bytes)[start:stop], start)

    def singles(self) -> "Iterator[Piece]":
        """A piece for each event."""
        for number, event in enumerate(split(self.event_bytes)):
            yield self._of([event], number)

    def _of(self, events: Sequence[bytes], start: int) -> "Piece":
        event_bytes = join(events)
        return replace(
            self,
            first=self.first + start,
            events=len(events),
            last=self.last and start + len(events) == self.events,
            packed=pack(event_bytes),
            size=len(event_bytes),
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """What one request carries: never empty, in the order of acceptance."""

    pieces: tuple[Piece, ...]

    @property
    def events(self) -> int:
        """How many events there are."""
        return sum(piece.events for piece in self.pieces)

    @property
    def size(self) -> int:
        """Bytes of all events, before compression."""
        return sum(piece.size + 1 for piece in self.pieces) - 1

    @property
    def end(self) -> Position:
        """Where a lane stands that has finished this batch."""
        return self.pieces[-1].end

    @property
    def accepted_at_ms(self) -> int:
        """When the oldest event was accepted."""
        return self.pieces[0].accepted_at_ms

    @property
    def historical(self) -> bool:
        """Whether all of it is an import; a request has one kind only."""
        return self.pieces[0].historical

    @property
    def event_bytes(self) -> bytes:
        """All events, joined by commas."""
        return join(piece.event_bytes for piece in self.pieces)

    def parts(self) -> "Iterator[bytes | Packed]":
        """What comes to all events, joined by commas; what is large stays packed."""
        for number, piece in enumerate(self.pieces):
            if number:
                yield b","
            yield piece.packed if piece.goes_as_it_is else piece.event_bytes

    def position_after(self, events: int) -> Position:
        """Where a lane stands that has finished so many events of this batch."""
        for piece in self.pieces:
            if events < piece.events:
                return Position(piece.chunk, piece.first + events)
            events -= piece.events
            if not events:
                return piece.end
        raise ValueError("the batch has fewer events")

    def cut(self, start: int, stop: int) -> "Batch":
        """The events from `start` up to `stop`; at least one."""
        return Batch(tuple(_between(self.pieces, start, stop)))

    def halves(self) -> "tuple[Batch, Batch]":
        """Two batches that come to this one; only for more than one event."""
        middle = self.events // 2
        return self.cut(0, middle), self.cut(middle, self.events)

    def singles(self) -> "Iterator[Batch]":
        """One batch for each event."""
        for piece in self.pieces:
            yield from (Batch((single,)) for single in piece.singles())


class DamagedChunk(Exception):
    """The first chunk of the backlog cannot be read."""

    def __init__(self, chunk: StoredChunk, reason: str) -> None:
        super().__init__(reason)
        self.chunk = chunk


def build(
    chunks: Sequence[StoredChunk],
    start: Position,
    *,
    max_events: int,
    max_bytes: int,
    look_inside: bool = False,
) -> Batch:
    """Make a batch of the oldest chunks.

    Args:
        chunks: neighbours, the first being where `start` is or the first after it.
        start: the lane's position.
        max_events: the batch has no more.
        max_bytes: nor more bytes than these, unless its only event is larger.
        look_inside: whether to see that the chunks can be unpacked, too.

    Raises:
        DamagedChunk: the first chunk does not match its checksum. (Behind others, it
            ends the batch, and is the first next time.)
    """
    pieces: list[Piece] = []
    events, size = 0, -1  # no comma follows the last one
    for chunk in chunks:
        try:
            piece = _piece(chunk, start, look_inside=look_inside)
        except Damaged as bad:
            if pieces:
                break
            raise DamagedChunk(chunk, str(bad)) from bad
        events += piece.events
        size += piece.size + 1
        full = events > max_events or size > max_bytes
        if pieces and (full or piece.historical != pieces[0].historical):
            break
        pieces.append(piece)
    if len(pieces) == 1:
        pieces[0] = _within(pieces[0], max_events, max_bytes)
    return Batch(tuple(pieces))


def _piece(chunk: StoredChunk, start: Position, *, look_inside: bool) -> Piece:
    if look_inside:
        unpack(chunk.packed)
    elif not chunk.packed.is_right:
        raise Damaged("the checksum does not match")
    piece = Piece(
        chunk=chunk.id,
        first=0,
        events=chunk.events,
        last=True,
        packed=chunk.packed,
        size=chunk.bytes,
        accepted_at_ms=chunk.accepted_at_ms,
        stamped=chunk.stamped,
        historical=chunk.historical,
        requeues=chunk.requeues,
    )
    if chunk.id != start.chunk:
        return piece
    rest = piece.cut(start.events, chunk.events)
    if not rest.events:
        raise Damaged("it ends before the position in it")
    return rest


def _within(piece: Piece, max_events: int, max_bytes: int) -> Piece:
    """As many events as fit; at least one."""
    if piece.events <= max_events and piece.size <= max_bytes:
        return piece
    count, size = 0, -1
    for event in split(piece.event_bytes)[:max_events]:
        size += len(event) + 1
        if count and size > max_bytes:
            break
        count += 1
    return piece.cut(0, count)


def _between(pieces: Sequence[Piece], start: int, stop: int) -> Iterator[Piece]:
    """The parts of pieces that hold the events from `start` up to `stop`."""
    passed = 0
    for piece in pieces:
        first = max(start - passed, 0)
        last = min(stop - passed, piece.events)
        if first < last:
            yield piece.cut(first, last)
        passed += piece.events
