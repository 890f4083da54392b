"""Sizes: what a store takes on the disk."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes: in use in the file, free in the file, and in the write-ahead log."""

    live: int
    free: int
    log: int

    @property
    def total(self) -> int:
        """What `du` shows."""
        return self.live + self.free + self.log


def log_path(store: Path) -> str:
    """Where SQLite keeps the write-ahead log of a store."""
    return f"{store}-wal"


def file_bytes(path: str) -> int:
    """A file's size; 0 if there is none."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 - asked after each commit
    except FileNotFoundError:
        return 0
