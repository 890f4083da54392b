"""Taken files in the log: one by one while they are few, summed up when they are many.

A producer that renames a file a second would otherwise write the log's every line.
"""

import logging

from leanbase_relay.clock import Clock
from leanbase_relay.intake.spool_file import SpoolFile
from leanbase_relay.seldom import Seldom

log = logging.getLogger(__name__)


class TakenFiles:
    """Those that the log has not told of yet."""

    def __init__(self, clock: Clock) -> None:
        self._seldom = Seldom(clock)
        self._lines = self._refused = self._blank = 0

    def note(self, file: SpoolFile) -> None:
        """All of a file is stored."""
        self._lines += file.progress.lines
        self._refused += file.trail.refused
        self._blank += file.trail.blank
        files = self._seldom.times()
        if not files:
            return
        counts = self._lines, self._refused, self._blank
        if files == 1:
            text = "file_taken name=%s lines=%d refused=%d blank=%d"
            log.info(text, file.name, *counts)
        else:
            text = "files_taken files=%d last=%s lines=%d refused=%d blank=%d"
            log.info(text, files, file.name, *counts)
        self._lines = self._refused = self._blank = 0
