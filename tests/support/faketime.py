"""A wall clock that a test can set for a daemon that runs; all else keeps real time.

By libfaketime, whose library reads the offset from a file at each look at the clock.
It does not get along with `time.sleep`, which then does not end; the relay has none,
but its watcher of the spool has.
"""

from collections.abc import Mapping
from pathlib import Path

import pytest

_LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


class WallClock:
    """The wall clock of who is started with `environ`."""

    def __init__(self, directory: Path, offset_seconds: float = 0) -> None:
        if not _LIBRARIES:
            pytest.skip("NOT TESTED: a clock that is set; needs libfaketime")
        self._file = directory / "faketime"
        self.set(offset_seconds)

    @property
    def environ(self) -> Mapping[str, str]:
        return {
            "LD_PRELOAD": str(_LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, offset_seconds: float) -> None:
        """Have it so far from the true time, from now on."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset_seconds:+.3f}\n")
        new.rename(self._file)  # it is read at any moment
