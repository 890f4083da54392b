"""The write-ahead log: which page versions it holds, and whether all can be read. Pure.

SQLite reads a log up to the first frame that is not right and takes that for its end,
which after a power failure it is. A bad frame with synced ones behind it is something
else: then events that we called `stored` would vanish without a word. Each frame's
checksum goes on from the one before it, so that those behind a bad one can still be
told right from wrong.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

from leanbase_relay.store.schema import PAGE_BYTES

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_MAGICS: dict[int, Literal["<", ">"]] = {0x377F0682: "<", 0x377F0683: ">"}
_FORMAT = 3007000
_MASK = 0xFFFF_FFFF
_STEP = _FRAME.size + PAGE_BYTES

Sum = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Log:
    """What a log adds to its file.

    Attributes:
        pages: where in the log the newest committed version of a page begins.
        lost: pages whose newest committed version cannot be read.
        size: pages of the whole database after the last commit; None without any.
        fault: why SQLite would leave out what was committed; None if it would not.
    """

    pages: dict[int, int] = field(default_factory=dict)
    lost: frozenset[int] = frozenset()
    size: int | None = None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class _Frame:
    """One version of one page.

    Attributes:
        page: its number; 0 if the frame is none of this log's.
        size: pages of the database, if a commit ends here; else 0.
        right: whether its checksum says so.
    """

    number: int
    page: int
    size: int = 0
    right: bool = False


def read_log(file: BinaryIO, *, sums: bool = True) -> Log:
    """Read a log from its beginning.

    Args:
        file: the log.
        sums: False takes every frame for right that belongs to it.
    """
    head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        return Log()
    magic, version, page_bytes, _, _, _, one, two = _HEADER.unpack(head)
    order = _MAGICS.get(magic, "<")
    if version != _FORMAT or _summed(head[:24], order, (0, 0)) != (one, two):
        frames = _frames(file, order, _salts_by_frames(file), None)
        return _committed(frames, "its log has no header")
    if page_bytes != PAGE_BYTES:
        return Log(fault="its log is another database's")
    seed = (one, two) if sums else None
    return _committed(_frames(file, order, head[16:24], seed, sums=sums), None)


def _salts_by_frames(file: BinaryIO) -> bytes:
    """What the frames of this use of the log have in common; the first two that agree.

    Behind them there may be frames of an earlier use, with other salts.
    """
    salts = bytes(8)
    for at in range(_HEADER.size, file.seek(0, os.SEEK_END), _STEP):
        file.seek(at)
        before, salts = salts, file.read(_FRAME.size)[8:16]
        if before == salts != bytes(8):
            break
    file.seek(_HEADER.size)
    return salts


def _frames(
    file: BinaryIO,
    order: Literal["<", ">"],
    salts: bytes,
    seed: Sum | None,
    *,
    sums: bool = True,
) -> Iterator[_Frame]:
    """Each frame; those that an earlier use of the file left over are nobody's."""
    number = 0
    while len(frame := file.read(_STEP)) == _STEP:
        number += 1
        page, size, _, _, one, two = _FRAME.unpack_from(frame)
        if page == 0 or frame[8:16] != salts:
            seed = None  # what the next one goes on from is not known
            yield _Frame(number, page=0)
            continue
        # Without a seed nothing can be said; what is in it has checks of its own.
        right = seed is None or (one, two) == _summed(
            frame[:8] + frame[_FRAME.size :], order, seed
        )
        seed = (one, two) if sums else None
        yield _Frame(number, page, size, right)


def _committed(frames: Iterator[_Frame], fault: str | None) -> Log:
    """The state after the last commit that was synced."""
    pages: dict[int, int] = {}
    size = None
    pending: dict[int, int] = {}
    torn: dict[int, int] = {}  # committed, but with a bad frame: perhaps never synced
    torn_size = bad = 0
    for frame in frames:
        if not frame.right and not bad:
            bad = frame.number
        if frame.page == 0:
            continue
        if torn_size:  # it was: nothing is written behind a commit before its sync
            fault = fault or f"frame {bad} of its log is damaged, and not the last"
            pages |= torn
            size, torn, torn_size = torn_size, {}, 0
        at = _HEADER.size + (frame.number - 1) * _STEP + _FRAME.size
        pending[frame.page] = at if frame.right else -1
        if not frame.size:
            continue
        if fault or not bad:
            pages |= pending
            size = frame.size
        else:
            torn, torn_size = pending, frame.size
        pending = {}
    lost = frozenset(page for page, at in pages.items() if at < 0)
    readable = {page: at for page, at in pages.items() if at >= 0}
    return Log(readable, lost, size, fault if size is not None else None)


def _summed(data: bytes, order: Literal["<", ">"], seed: Sum) -> Sum:
    """SQLite's checksum, going on from another one.

    Four pairs at a time, so that Python masks the sums seldom: this is all the time
    that it takes to read a log.
    """
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    one, two = seed
    whole = len(words) - len(words) % 8
    eights = iter(words[:whole])
    for a, b, c, d, e, f, g, h in zip(*[eights] * 8, strict=True):
        one += a + two
        two += b + one
        one += c + two
        two += d + one
        one += e + two
        two += f + one
        one = (one + g + two) & _MASK
        two = (two + h + one) & _MASK
    rest = iter(words[whole:])
    for a, b in zip(rest, rest, strict=True):
        one = (one + a + two) & _MASK
        two = (two + b + one) & _MASK
    return one, two
