"""Removing spool files, and what is still written to them afterwards.

A name is removed under a lease, so nobody opens the file for writing between the last
look at it and the end of its name. Who found it by its name before, and has not got it
yet, does so when the lease is given back. Therefore a removed file stays open until the
next scan, and longer while somebody has it open for writing; where no lease can be had,
for `late_grace`. What they write is taken too.
"""

import logging
import os
from collections import deque
from dataclasses import dataclass, replace

from leanbase_relay.clock import Clock
from leanbase_relay.errors import RelayError
from leanbase_relay.intake import lease
from leanbase_relay.intake.lease import Writers
from leanbase_relay.intake.spool_file import SpoolFile
from leanbase_relay.intake.spool_taking import Taker

log = logging.getLogger(__name__)

MAX_REMOVED = 256
"""Removed files that are kept open; above this the oldest is let go early."""


@dataclass(slots=True)
class _Removed:
    """A file without a name that somebody may still write to.

    Attributes:
        size: how much of it was looked at.
        until: when it may be let go.
        torn: whether what was looked at ends within a line.
    """

    file: SpoolFile
    size: int
    until: float
    torn: bool = False


class Removal:
    """Removes files, and keeps them open as long as it takes."""

    def __init__(
        self, taker: Taker, clock: Clock, *, late_grace_seconds: float
    ) -> None:
        self._taker = taker
        self._clock = clock
        self._late_grace_seconds = late_grace_seconds
        self._removed: deque[_Removed] = deque()

    def remove(self, file: SpoolFile) -> bool:
        """Remove a file that is wholly stored; False if it is not as it was stored.

        Raises:
            OSError: the system does not let us.
        """
        with lease.keep_writers_out(file.fd) as writers:
            changed = file.stat() != file.trail.stamp or not file.has_entry()
            if changed or writers is Writers.SOME:
                return False
            # Who renames another file to this name at this very moment loses it, as
            # he would have lost this one a moment ago: he was overwriting anyway.
            os.unlink(file.base, dir_fd=file.directory)
        unknown = writers is Writers.UNKNOWN
        grace = self._late_grace_seconds if unknown else 0.0
        until = self._clock.monotonic() + grace
        file.removed = True
        file.progress = replace(file.progress, finished_ctime_ns=None)
        self._removed.append(_Removed(file, file.trail.stamp.size, until))
        return True

    def look(self) -> None:
        """Take what was written since, and let go of what nobody writes to."""
        now = self._clock.monotonic()
        for removed in tuple(self._removed):
            # Asked before reading: what was written until then is read after it.
            writers = lease.writers_of(removed.file.fd)
            over = writers is not Writers.SOME and now >= removed.until
            self._take_late(removed, over=over)
            if over:
                self._removed.remove(removed)
                removed.file.close()

    def let_go(self, *, keep: int = MAX_REMOVED) -> None:
        """Let go of the oldest, after a last look."""
        while len(self._removed) > keep:
            self._take_late(self._removed[0], over=True)
            self._removed.popleft().file.close()

    def close(self) -> None:
        """Let go of all, and of what can no longer be stored."""
        try:
            self.let_go(keep=0)
        except RelayError as no:
            log.warning("removed_files_let_go files=%d why=%s", len(self._removed), no)
        while self._removed:
            self._removed.popleft().file.close()

    def _take_late(self, removed: _Removed, *, over: bool) -> None:
        file = removed.file
        size = file.stat().size
        if size == removed.size and not (over and removed.torn):
            return
        before = file.progress.lines
        try:
            self._taker.begin(file, file.progress)
            self._taker.take(file, lambda: over)
        except OSError as error:
            log.warning("late_lines_lost name=%s why=%s", file.name, error)
        self._taker.land_all()
        removed.size, removed.torn = size, file.runs.rest != b""
        late = file.progress.lines - before
        log.info("late_lines_taken name=%s lines=%d", file.name, late)
