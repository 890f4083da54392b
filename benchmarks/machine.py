"""The machine, in the few words that a figure needs beside it."""

import os
import platform
import sqlite3
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from leanbase_relay import __version__


def describe(place: Path) -> dict[str, str]:
    """Processors, memory, disk and versions."""
    _, kind = _mount(place)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "relay": __version__,
        "processors": f"{len(os.sched_getaffinity(0))} x {_processor()}",
        "memory": f"{_memory_bytes() / 2**30:.0f} GiB",
        "file system": kind,
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "deflate": "isal" if find_spec("isal") else "zlib",
    }


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def is_real_disk(place: Path) -> bool:
    """Whether what is synced there is on a disk, rather than in memory."""
    _, kind = _mount(place)
    return kind not in {"tmpfs", "ramfs", "unknown"}


def _mount(place: Path) -> tuple[str, str]:
    """The mount that a directory is on, and the kind of its file system."""
    found = ("", "unknown")
    whole = place.resolve()
    for line in Path("/proc/mounts").read_text().splitlines():
        _, point, kind, *_ = line.split()
        if whole.is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, kind)
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
