"""The reserve: room beside the store that is given up when the disk is full.

Even an event that leaves has to be written down, so that a full disk would keep what is
delivered in the store, and send it all again after the next start. The reserve is as
large as the write-ahead log may grow: folding the log into the database may make that
larger by as much before the log itself goes.
"""

import contextlib
import logging
import os
from pathlib import Path

from leanbase_relay.store.damage import is_for_want_of_room

log = logging.getLogger(__name__)

MARGIN_BYTES = 8 << 20
"""What else must be free before the disk counts as no longer full."""


def give_up(store: Path) -> bool:
    """Let go of what an earlier life left; True if there was something."""
    try:
        _beside(store).unlink()
    except OSError:
        return False
    return True


def _beside(store: Path) -> Path:
    return store.with_name(f"{store.name}.reserve")


class Reserve:
    """A file of zeros that is there, or was given up.

    Args:
        store: beside which it lies.
        size: bytes; 0 = none is kept.
    """

    def __init__(self, store: Path, size: int) -> None:
        self._path = _beside(store)
        self._size = size
        self.held = False

    def take(self, *, margin: int = 0) -> bool:
        """Have it on the disk; False if there is no room for it and the margin.

        Where it cannot be made for another reason the disk is not full.
        """
        if self.held or not self._size:
            return True
        self.held = self._has(self._size)
        if self.held:
            return True
        if self._free_bytes() < self._size + margin:
            return False
        return self._make()

    def give_up(self) -> bool:
        """Let go of it; True if there is room now that was not there before."""
        if not self.held:
            return False
        self.held = False
        with contextlib.suppress(OSError):
            self._path.unlink()
        log.warning("reserve_given_up bytes=%d", self._size)
        return True

    def _make(self) -> bool:
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                os.posix_fallocate(file, 0, self._size)
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            log.warning("reserve_not_made error=%s", error)
            with contextlib.suppress(OSError):
                self._path.unlink()
            return not is_for_want_of_room(error)
        self.held = True
        return True

    def _has(self, size: int) -> bool:
        """Whether an earlier life left it there, whole."""
        try:
            look = self._path.stat()
        except OSError:
            return False
        return look.st_size == size and look.st_blocks * 512 >= size

    def _free_bytes(self) -> int:
        try:
            disk = os.statvfs(self._path.parent)
        except OSError:
            return 0
        return disk.f_bavail * disk.f_frsize
