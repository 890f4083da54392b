"""What the spool took, in the log: the first files of a scan by name, all in number.

An app that spools each event by itself leaves a file for each; after a night without a
relay that is no reason for ten thousand lines.
"""

import logging

from leanbase_relay.intake.spool_file import SpoolFile

log = logging.getLogger(__name__)

MOST_NAMED = 20
"""Files of one scan."""


class Taken:
    """Counts the files of a scan."""

    def __init__(self) -> None:
        self._files = self._lines = self._refused = 0

    def note(self, file: SpoolFile) -> None:
        """One more was taken to its end."""
        lines, refused = file.progress.lines, file.trail.refused
        self._files += 1
        self._lines += lines
        self._refused += refused
        if self._files <= MOST_NAMED:
            log.info(
                "file_taken name=%s lines=%d refused=%d blank=%d",
                file.name,
                lines,
                refused,
                file.trail.blank,
            )

    def end_scan(self) -> None:
        """Sum up what was not named, and begin anew."""
        if self._files > MOST_NAMED:
            log.info(
                "files_taken files=%d lines=%d refused=%d",
                self._files,
                self._lines,
                self._refused,
            )
        self._files = self._lines = self._refused = 0
