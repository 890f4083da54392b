"""The text of a spool file, plain or gzip, and how it is cut into runs of lines.

Everything here is bounded, whatever the file holds: a text is read in pieces, a run
is at most one chunk long, and of a line that has no end only its beginning is kept.
"""

import errno
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

from leanbase_relay.store.chunk import MAX_CHUNK_BYTES

KEPT_BYTES = 64 << 10
"""What is kept of a line that is too long, and of the torn end of a damaged file."""

MAX_INFLATED_BYTES = 64 << 30
"""Text that one gzip file may hold. Memory does not depend on it: it bounds the
minutes for which one file can keep all others waiting. An honest file of a gigabyte
holds about 20 GiB."""

_PIECE_BYTES = 256 << 10
_END_BYTES = 4 << 10
_GZIP = b"\x1f\x8b"
_WITH_GZIP_HEADER = 16 + zlib.MAX_WBITS


class Text(Protocol):
    """A text that is read from its beginning, or from an offset, on and on."""

    @property
    def damage(self) -> str | None:
        """Why the text ends too early; None when it ends as it should."""

    @property
    def unread(self) -> bytes:
        """What stands in the file where the damage begins, a piece of it."""

    def read(self, limit: int) -> bytes:
        """At most so many bytes; none at the end, which may not be the last word."""

    def skip_hole(self) -> int:
        """Go past zeros that nobody wrote and that take no room; how many."""


class PlainText:
    """The bytes as they stand in the file, from an offset to an end."""

    damage = None
    unread = b""

    def __init__(self, fd: int, offset: int, end: int) -> None:
        self._fd = fd
        self._offset = offset
        self._end = end

    def read(self, limit: int) -> bytes:
        room = max(self._end - self._offset, 0)
        text = os.pread(self._fd, min(limit, room), self._offset)
        self._offset += len(text)
        return text

    def skip_hole(self) -> int:
        try:
            data = os.lseek(self._fd, self._offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # no data from here on
                return 0
            data = self._end
        size = max(min(data, self._end) - self._offset, 0)
        self._offset += size
        return size


class GzipText:
    """What the members of a gzip file inflate to, one after the other."""

    def __init__(self, fd: int, *, max_bytes: int = MAX_INFLATED_BYTES) -> None:
        self._fd = fd
        self._at = 0
        self._room = max_bytes
        self._inflater = zlib.decompressobj(_WITH_GZIP_HEADER)
        self._between = False  # members; at the beginning a first one must come
        self.unread = b""
        self.damage: str | None = None

    def read(self, limit: int) -> bytes:
        text = b""
        while not text and self.damage is None and self._more():
            text = self._inflate(limit)
        self._room -= len(text)
        return text

    def skip_hole(self) -> int:
        return 0

    def _more(self) -> bool:
        """Whether there is something to inflate, or left to come out."""
        if self._inflater.eof:
            self._inflater = zlib.decompressobj(_WITH_GZIP_HEADER)
            self._between = True
            self.unread = self.unread.lstrip(b"\0")  # padding is allowed there
        while not self.unread:
            piece = os.pread(self._fd, _PIECE_BYTES, self._at)
            if not piece:
                return not self._between
            self._at += len(piece)
            self.unread = piece.lstrip(b"\0") if self._between else piece
        return True

    def _inflate(self, limit: int) -> bytes:
        if self._room <= 0:
            self.damage = "too large"
            return b""
        at_end = not self.unread
        try:
            text = self._inflate_carefully(min(limit, self._room))
        except zlib.error:
            self.damage = "followed by other bytes" if self._between else "corrupt"
            return b""
        self._between = False
        if at_end and not text and not self._inflater.eof:
            self.damage = "truncated"
        return text

    def _inflate_carefully(self, limit: int) -> bytes:
        """Inflate; on the way to damage, by ever smaller steps up to its very edge.

        zlib throws away what the failing call had already inflated.
        """
        while True:
            before = self._inflater.copy()
            try:
                text = self._inflater.decompress(self.unread, limit)
            except zlib.error:
                if limit == 1:
                    raise
                self._inflater = before
                limit //= 2
            else:
                inflater = self._inflater
                self.unread = inflater.unused_data or inflater.unconsumed_tail
                return text


def is_gzip(fd: int, name: str) -> bool:
    """Whether a file holds gzip: its first bytes say so.

    A name that says so is believed too, unless the file begins like an event: what is
    neither is one damaged file then, and not a thousand damaged lines.
    """
    start = os.pread(fd, len(_GZIP), 0)
    return start == _GZIP or (name.endswith(".gz") and start[:1] not in (b"", b"{"))


@dataclass(frozen=True, slots=True)
class Run:
    """Whole lines; or one part of a line that is too long.

    Attributes:
        text: the bytes; of a line that is too long its beginning, in the first part.
        size: how many bytes of the file's text it stands for.
        end: the last bytes of a part.
    """

    text: bytes
    size: int
    end: bytes = b""

    @property
    def too_long(self) -> bool:
        """Whether it is a part of a line that is too long."""
        return self.size > len(self.text)


NOTHING = Run(b"", 0)


class Runs:
    """A text cut at the ends of lines.

    Args:
        text: as far as it is to be read.
        check: called before each piece is read; raises to end the reading.
        max_line_bytes: lines up to this length come whole.
        within: whether the text begins within a line that was found too long before.
        max_skipped_bytes: what is read at most of lines that are too long.
    """

    def __init__(
        self,
        text: Text,
        *,
        check: Callable[[], None] = lambda: None,
        max_line_bytes: int,
        within: bool = False,
        max_skipped_bytes: int = sys.maxsize,
    ) -> None:
        self._text = text
        self._check = check
        self._limit = max(MAX_CHUNK_BYTES, max_line_bytes + 1)
        self._room = max_skipped_bytes
        self.rest = b""
        """What follows the last newline, so far."""
        self.within = within
        """Whether what follows belongs to a line that is too long."""

    @property
    def paused(self) -> bool:
        """Whether it was left within a line because there is so much of it."""
        return self.within and self._room <= 0

    def __iter__(self) -> Iterator[Run]:
        """The runs up to the end of the text."""
        while True:
            if self.within:
                yield from self._skip()
            if self.within:
                return
            # One chunk; more only for a line that is longer and yet allowed.
            size = min(
                (len(self.rest) // MAX_CHUNK_BYTES + 1) * MAX_CHUNK_BYTES, self._limit
            )
            text = self._fill(size)
            end = text.rfind(b"\n") + 1
            self.rest = text[end:]
            if end:
                yield Run(text[:end], end)
            elif len(text) < size:
                return
            elif size == self._limit:
                self.rest, self.within = b"", True
                yield Run(text[:KEPT_BYTES], len(text), text[-_END_BYTES:])

    def _fill(self, size: int) -> bytes:
        pieces = [self.rest]
        room = size - len(self.rest)
        while room > 0 and (piece := self._read(room)):
            pieces.append(piece)
            room -= len(piece)
        return b"".join(pieces)

    def _skip(self) -> Iterator[Run]:
        """Go to the end of a line that is too long, if it comes."""
        size, last = 0, b""
        while self.within:
            if hole := self._text.skip_hole():
                size, last = size + hole, bytes(min(hole, _END_BYTES))
            piece = self._read(min(MAX_CHUNK_BYTES, self._room))
            if not piece:
                break
            end = piece.find(b"\n") + 1
            part = piece[:end] if end else piece
            size, last = size + len(part), (last + part)[-_END_BYTES:]
            self._room -= len(part)
            if end:
                self.rest, self.within = piece[end:], False
        if size:
            yield Run(b"", size, last)

    def _read(self, limit: int) -> bytes:
        self._check()
        return self._text.read(limit)


class Fingerprint:
    """Of a text up to some offset: of its first and its last bytes."""

    def __init__(self, start: bytes = b"", end: bytes = b"") -> None:
        self._start = start
        self._end = end

    @classmethod
    def of(cls, fd: int, offset: int) -> "Fingerprint":
        """Of a plain file, up to an offset."""
        size = min(offset, _END_BYTES)
        return cls(os.pread(fd, size, 0), os.pread(fd, size, offset - size))

    def add(self, text: bytes) -> None:
        """Go on by so many bytes."""
        self._start += text[: _END_BYTES - len(self._start)]
        self._end = (self._end + text[-_END_BYTES:])[-_END_BYTES:]

    def digest(self) -> bytes:
        """A few bytes that stand for the text."""
        return blake2b(self._start + self._end, digest_size=16).digest()
