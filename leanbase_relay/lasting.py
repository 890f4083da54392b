"""Lasting: names that are still in their directory after the power failed.

Syncing a file saves what is in it; its name is saved by syncing the directory.
"""

import errno
import os
from pathlib import Path


def make_directory(path: Path) -> None:
    """Make a directory, and those above it, where they are missing.

    Raises:
        OSError: it cannot be made, or the disk did not take its name.
    """
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Save the names in a directory, new ones and those that are gone.

    Raises:
        OSError: the disk did not take them.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_names(fd)
    finally:
        os.close(fd)


def sync_names(directory: int) -> None:
    """Save the names in an open directory.

    Raises:
        OSError: the disk did not take them.
    """
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that knows no such thing
            raise
