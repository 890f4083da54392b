"""The image of a store: its pages as the last commit left them, file and log together.

Reads both files as they are and changes neither; SQLite itself is not asked. Only for a
store that this process has not open: to close a file lets go of SQLite's locks on it.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from leanbase_relay.store import pages, wal
from leanbase_relay.store.pages import Cell, Row, Unreadable
from leanbase_relay.store.schema import PAGE_BYTES
from leanbase_relay.store.size import log_path

MAX_CACHED_MAPS = 16


class Image:
    """Pages by number, from 1 on; open until left.

    Attributes:
        log: what the write-ahead log has.
        file_pages: how many pages the file itself has.
        last: the highest number that a page may have.
        is_empty: whether there is nothing, in neither of them.

    Args:
        with_log: False looks at the file alone.
        sums: False believes the log without its checksums, which take most of the time.
    """

    def __init__(self, path: Path, *, with_log: bool = True, sums: bool = True) -> None:
        self._file = _opened(path)
        self._log_file = _opened(Path(log_path(path))) if with_log else None
        self.log = _read_log(self._log_file, sums=sums)
        self.file_pages = _length(self._file) // PAGE_BYTES
        self.is_empty = not _length(self._file) and self.log == wal.Log()
        self.last = self._highest()
        self._maps: dict[int, bytes | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        for file in (self._file, self._log_file):
            if file is not None:
                file.close()

    def page(self, number: int) -> bytes | None:
        """A page; None if it cannot be read."""
        if number in self.log.lost:
            return None
        at = self.log.pages.get(number)
        if at is not None:
            return _read(self._log_file, at)
        return _read(self._file, (number - 1) * PAGE_BYTES) if number > 0 else None

    def numbers(self) -> Iterator[int]:
        """The numbers of the pages that there are; those of a log may be any."""
        yield from range(1, min(self.file_pages, self.last) + 1)
        yield from sorted(n for n in self.log.pages if n > self.file_pages)

    def purpose(self, number: int) -> int | None:
        """What a page is for, as `pages.purpose`; None if nothing says so."""
        where = pages.map_of(number)
        if where not in self._maps:
            if len(self._maps) >= MAX_CACHED_MAPS:
                self._maps.clear()
            self._maps[where] = self.page(where)
        map_page = self._maps[where]
        if map_page is None:
            return None
        return pages.purpose(map_page, number, self.last)

    def row(self, cell: Cell) -> Row:
        """All of a row, or what of it can be read.

        Raises:
            Unreadable: not even its head can.
        """
        parts, left, number = [cell.local], cell.size - len(cell.local), cell.overflow
        while left > 0:
            page = self.page(number) if number > 1 else None
            if page is None:
                break
            parts.append(page[4 : 4 + left])
            left -= pages.OVERFLOW_BYTES
            number = int.from_bytes(page[:4])
        return pages.values(b"".join(parts), cell.rowid)

    def rows(self, number: int) -> Iterator[Row | None]:
        """The rows of a page, one at a time; None for each that cannot be read."""
        page = self.page(number)
        if page is None:
            yield None
            return
        try:
            for cell in pages.cells(page, number):
                yield None if cell is None else self._row_or_none(cell)
        except Unreadable:
            yield None

    def heads(self, number: int) -> Iterator[Row]:
        """The rows of a page as far as they stand on it: their first values."""
        page = self.page(number)
        if page is None:
            return
        with suppress(Unreadable):
            for cell in pages.cells(page, number):
                with suppress(Unreadable):
                    if cell is not None:
                        yield pages.values(cell.local, cell.rowid)

    def _highest(self) -> int:
        if self.log.size is not None and not self.log.fault:
            return self.log.size
        return max(self.file_pages, max(self.log.pages, default=0))

    def _row_or_none(self, cell: Cell) -> Row | None:
        try:
            return self.row(cell)
        except Unreadable:
            return None


def _opened(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb", buffering=1 << 16)
    except FileNotFoundError:
        return None


def _read_log(file: BinaryIO | None, *, sums: bool) -> wal.Log:
    if file is None:
        return wal.Log()
    try:
        return wal.read_log(file, sums=sums)
    except OSError as error:
        return wal.Log(fault=f"its log cannot be read: {error.strerror}")


def _length(file: BinaryIO | None) -> int:
    return 0 if file is None else os.fstat(file.fileno()).st_size


def _read(file: BinaryIO | None, at: int) -> bytes | None:
    """A page of a file; None beyond its end, and where the disk refuses."""
    if file is None:
        return None
    try:
        page = os.pread(file.fileno(), PAGE_BYTES, at)
    except OSError:
        return None
    return page if len(page) == PAGE_BYTES else None
