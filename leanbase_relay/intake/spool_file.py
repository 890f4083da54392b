"""One open spool file: how far it is taken, and what can be taken of it now.

Reading runs ahead of taking: `offset` moves as runs are read, while the progress that
counts is the one the store has committed. So a file that could not be stored is closed
and begun again, at the next scan, from there.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

from leanbase_relay.intake.spool_text import (
    Fingerprint,
    GzipText,
    PlainText,
    Run,
    Runs,
    Text,
    is_gzip,
)
from leanbase_relay.store.chunk import MAX_CHUNK_BYTES
from leanbase_relay.store.deposit import FileId, FileProgress

MAX_SKIPPED_BYTES = 256 << 20
"""What one visit reads of lines that are too long: half a second, for which the others
wait. The next visit goes on from there."""


class Stamp(NamedTuple):
    """What changes when a file does."""

    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Stamp":
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def file_id(device: int, inode: int) -> FileId:
    """Which file this is, in numbers that SQLite can hold: its integers are signed."""
    return FileId(_signed(device), _signed(inode))


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number


@dataclass(slots=True)
class Trail:
    """What is remembered of a file between scans; a restart may forget it.

    Attributes:
        stamp, since: as the file was last seen, and since when it is so.
        held_since: since when a writer is known to have it open.
        leave_until: not before then it is tried again to remove the file.
        left_because: what the system said when it was tried.
        refused, blank: lines, for the log.
    """

    stamp: Stamp
    since: float
    held_since: float | None = None
    leave_until: float = 0.0
    left_because: str = ""
    refused: int = 0
    blank: int = 0


class SpoolFile:
    """An open file, its place, and how far it is read.

    Args:
        fd: open for reading; closed by `close`.
        directory: the open directory of the file.
        base: its name there.
        name: its path below the spool directory, for people.
        project: whose events it has.
    """

    def __init__(
        self, fd: int, *, directory: int, base: str, name: str, project: str
    ) -> None:
        self.fd = fd
        self.directory = directory
        self.base = base
        self.name = name
        self.project = project
        status = os.fstat(fd)
        self.id = file_id(status.st_dev, status.st_ino)
        self.stamp = Stamp.of(status)
        self.trail = Trail(self.stamp, since=0.0)
        self.gzip = is_gzip(fd, base)
        self.removed = False
        """Whether its name is gone and only this descriptor is left."""
        self.progress = FileProgress(self.id, name, 0, 0, Fingerprint().digest())
        """As committed."""
        self._text: Text = PlainText(fd, 0, 0)
        self._saved_upto = 0
        self._runs: Runs | None = None
        self._offset = 0
        self._lines = 0
        self._fingerprint = Fingerprint()

    def close(self) -> None:
        """Let go of it; again is harmless."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def stat(self) -> Stamp:
        """How the file is now."""
        return Stamp.of(os.fstat(self.fd))

    def save(self) -> None:
        """Have on the disk what was read of it since `begin`, once.

        Else a power cut could leave less of it than was taken, and what remains would
        look like a file that was begun anew. A disk that refuses does not hinder: what
        is in doubt there had better be taken.
        """
        if self._offset > self._saved_upto:
            self._saved_upto = sys.maxsize  # whatever this visit reads
            with suppress(OSError):
                os.fdatasync(self.fd)

    def has_entry(self) -> bool:
        """Whether the directory still calls this very file by its name."""
        try:
            status = os.stat(self.base, dir_fd=self.directory, follow_symlinks=False)
        except OSError:
            return False
        return file_id(status.st_dev, status.st_ino) == self.id

    # Reading.

    def begin(
        self,
        known: FileProgress | None,
        *,
        max_line_bytes: int,
        check: Callable[[], None],
    ) -> bool:
        """Stand where taking was left; False if that was not in this file.

        It is read to its present end, not to one that moves away.

        Args:
            known: the progress stored under this inode number.
            max_line_bytes: lines up to this length come whole.
            check: called before each piece is read; raises to end the reading.
        """
        self.stamp = self.stat()
        reached = known is not None and self._reach(known, check)
        if known is None or not reached:
            known = FileProgress(self.id, self.name, 0, 0, Fingerprint().digest())
            self._text = GzipText(self.fd) if self.gzip else self._plain(0)
            self._fingerprint = Fingerprint()
        self.progress = replace(known, file=self.id, name=self.name)
        self._offset, self._lines = known.offset, known.lines
        self._saved_upto = known.offset
        # Gzip would be inflated again up to there, and has a bound of its own; and a
        # removed file is not visited again.
        at_once = self.gzip or self.removed
        self._runs = Runs(
            self._text,
            check=check,
            max_line_bytes=max_line_bytes,
            within=known.within_line,
            max_skipped_bytes=sys.maxsize if at_once else MAX_SKIPPED_BYTES,
        )
        return reached

    @property
    def runs(self) -> Runs:
        """The lines from there on."""
        assert self._runs is not None, "begin first"
        return self._runs

    @property
    def lines(self) -> int:
        """How many lines were read, from the beginning of the file."""
        return self._lines

    @property
    def where(self) -> str:
        """The line that was read last, and how far, for people."""
        return f"line {self._lines}, byte {self._offset:,} of {self.stamp.size:,}"

    @property
    def damage(self) -> str | None:
        """Why it ends too early, if it does."""
        if self._text.damage is None:
            return None
        offset = self._offset + len(self.runs.rest)
        return f"gzip is {self._text.damage} at decompressed offset {offset}"

    @property
    def torn(self) -> bytes:
        """What is left where the damage is."""
        return self.runs.rest or self._text.unread

    @property
    def is_whole(self) -> bool:
        """Whether all was read, something, and it ends as it should."""
        torn = self.runs.rest or self.runs.within
        return self._offset > 0 and not torn and self.damage is None

    def advance(self, run: Run, lines: int) -> FileProgress:
        """Go past a run; the progress to store together with its events."""
        self._offset += run.size
        self._lines += lines
        self._fingerprint.add(run.text)
        self._fingerprint.add(run.end)
        digest = self._fingerprint.digest()
        return FileProgress(
            self.id,
            self.name,
            self._offset,
            self._lines,
            digest,
            within_line=self.runs.within,
        )

    def _reach(self, known: FileProgress, check: Callable[[], None]) -> bool:
        """Go to the stored offset, if the stored progress is of this file.

        Inode numbers are reused at once. A finished file was about to be removed, so
        only the very same state of it is still that file. One that is not finished
        may have grown, so there its content must tell.
        """
        if known.finished_ctime_ns not in (None, self.stamp.ctime_ns):
            return False
        if self.gzip:
            reached = self._inflate_to(known.offset, check)
        else:
            if self.stamp.size < known.offset:
                return False
            finished = known.finished_ctime_ns is not None
            if finished and self.stamp.size != known.offset:
                return False
            self._text = self._plain(known.offset)
            self._fingerprint = Fingerprint.of(self.fd, known.offset)
            reached = True
        return reached and self._fingerprint.digest() == known.digest

    def _plain(self, offset: int) -> PlainText:
        return PlainText(self.fd, offset, self.stamp.size)

    def _inflate_to(self, offset: int, check: Callable[[], None]) -> bool:
        self._text = GzipText(self.fd)
        self._fingerprint = Fingerprint()
        while offset > 0:
            check()
            text = self._text.read(min(offset, MAX_CHUNK_BYTES))
            if not text:
                return False
            self._fingerprint.add(text)
            offset -= len(text)
        return True
