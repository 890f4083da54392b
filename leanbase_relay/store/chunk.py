"""Chunks: runs of accepted events, and the packed form that one row holds.

The event bytes of a chunk are event objects joined by commas and nothing else, so
that a request body is made of chunks by joining them again, without parsing. A row
keeps them deflated, with a checksum over them and over what it says of them, whose
events they are and how many: a flipped bit on the disk costs at most its own chunk and
is noticed before anything is sent.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec

from leanbase_relay import deflate

MAX_CHUNK_BYTES = 1 << 20
"""Bytes of events in one chunk, unless a single event is larger."""

_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Damaged(Exception):
    """The stored bytes of a chunk are not those that were written."""


Stamped = tuple[tuple[int, int], ...]
"""Runs of events, each as the number of its first one and how many they are."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of accepted events of one project.

    Attributes:
        project: the configured name of the project.
        events: how many events there are, at least one.
        event_bytes: the events, joined by commas.
        stamped: the events whose timestamp is the relay's own, by this machine's clock.
        historical: whether they are an import (`historical_migration`).
        requeues: how often they were brought back from the dead letters.
        anonymous: how many of them make no person profile.
        identified: what `known` keeps of the ids that become known with them.
    """

    project: str
    events: int
    event_bytes: bytes
    stamped: Stamped = ()
    historical: bool = False
    requeues: int = 0
    anonymous: int = 0
    identified: tuple[int, ...] = ()

    def is_like(self, other: "Chunk") -> bool:
        """Whether both may stand in one row."""
        return (
            self.project == other.project
            and self.historical == other.historical
            and self.requeues == other.requeues
        )


@dataclass(frozen=True, slots=True)
class Packed:
    """A chunk's event bytes as they are stored.

    Attributes:
        head: what the checksum goes on from; see `head_of`.
    """

    data: bytes
    checksum: int
    head: int = 0

    @property
    def is_right(self) -> bool:
        """Whether the checksum matches."""
        if zlib.crc32(self.data, self.head) == self.checksum:
            return True
        return zlib.crc32(self.data) == self.checksum  # of an earlier version


class Owner(NamedTuple):
    """What a chunk's row says of it: whose events, how many, how large unpacked."""

    project: str
    events: int
    size: int


def head_of(project: str, events: int) -> int:
    """What stands for a row's words of its chunk in the chunk's checksum."""
    return zlib.crc32(b"%d %b" % (events, project.encode()))


def pack(event_bytes: bytes, head: int = 0, *, tightly: bool = False) -> Packed:
    """Deflate event bytes and take the checksum of the result."""
    compress = deflate.compress_tightly if tightly else deflate.compress
    data = compress(event_bytes)
    return Packed(data, zlib.crc32(data, head), head)


def unpack(packed: Packed) -> bytes:
    """Give the event bytes back.

    Raises:
        Damaged: the checksum does not match, or the data do not inflate.
    """
    if not packed.is_right:
        raise Damaged("the checksum does not match")
    try:
        return deflate.decompress(packed.data)
    except deflate.Corrupt as bad:
        raise Damaged(f"cannot be inflated: {bad}") from bad


def true_owner(packed: Packed, projects: Iterable[str]) -> Owner | None:
    """What the row of a chunk should say, if its data are right and it itself is not.

    Args:
        packed: whose checksum does not match.
        projects: of which it may be.
    """
    try:
        event_bytes = deflate.decompress(packed.data)
        events = len(split(event_bytes))
    except (deflate.Corrupt, msgspec.DecodeError):
        return None
    for project in projects:
        if replace(packed, head=head_of(project, events)).is_right:
            return Owner(project, events, len(event_bytes))
    return None


def runs_of(numbers: Iterable[int]) -> Stamped:
    """Numbers that only grow, as runs of neighbours."""
    return _merged((number, 1) for number in numbers)


def joined(chunks: Sequence[Chunk]) -> Chunk:
    """Neighbours that are like each other, as one chunk."""
    if len(chunks) == 1:
        return chunks[0]
    events = 0
    stamped: list[tuple[int, int]] = []
    for chunk in chunks:
        stamped += [(events + first, count) for first, count in chunk.stamped]
        events += chunk.events
    event_bytes = join([chunk.event_bytes for chunk in chunks])
    return replace(
        chunks[0],
        events=events,
        event_bytes=event_bytes,
        stamped=_merged(stamped),
        anonymous=sum(chunk.anonymous for chunk in chunks),
        identified=tuple(one for chunk in chunks for one in chunk.identified),
    )


def _merged(runs: Iterable[tuple[int, int]]) -> Stamped:
    """Runs that touch each other, as one."""
    merged: list[tuple[int, int]] = []
    for first, count in runs:
        if merged and sum(merged[-1]) == first:
            merged[-1] = (merged[-1][0], merged[-1][1] + count)
        else:
            merged.append((first, count))
    return tuple(merged)


def split(event_bytes: bytes) -> list[bytes]:
    """Take a run of events apart; each keeps the bytes it came with."""
    return [bytes(event) for event in _split(b"[%b]" % event_bytes)]


def join(events: Iterable[bytes]) -> bytes:
    """Put events together; the inverse of `split`."""
    return b",".join(events)
