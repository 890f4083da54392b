"""What only root can do for a test: become somebody else, and have a small disk."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

only_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="NOT TESTED: only root can become somebody else"
)


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """A disk of this size (``16m``) on a directory; skips where nobody may mount."""
    path.mkdir(exist_ok=True)
    mount = f"mount -t tmpfs -o size={size} tmpfs {path} 2>/dev/null"
    if os.geteuid() or os.system(mount):  # noqa: S605 - our own path
        pytest.skip("NOT TESTED: a really full disk; needs root to mount one")
    try:
        yield path
    finally:
        os.system(f"umount -l {path}")  # noqa: S605 - our own path
