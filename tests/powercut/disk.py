"""The disk after a cut: what is there, seen from outside by another kernel.

Of a copy: the file system's journal is replayed as a start would, then SQLite reads the
store as a start would. The machine itself starts on the original.
"""

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from leanbase_relay.store.chunk import split, unpack
from leanbase_relay.store.reader import Reader
from leanbase_relay.store.size import file_bytes, log_path
from leanbase_relay.store.totals import Position, Totals
from tests.powercut.image import run

_JOURNAL_REPLAYED = (
    1  # e2fsck: errors corrected; orphans of a cut are no more than that
)


@dataclass(frozen=True, slots=True)
class Held:
    """What a disk holds.

    Attributes:
        integrity: SQLite's own word, ``ok`` is the good one; or why it cannot be read.
        totals: of the project.
        backlog: uuids of the events that wait, in order.
        spooled: uuids in spool files that have their name.
        log_bytes: how long the write-ahead log was.
    """

    integrity: str
    totals: Totals
    backlog: tuple[str, ...]
    spooled: frozenset[str]
    log_bytes: int


def held_by(disk: Path) -> Held:
    """Look at a disk whose machine is off."""
    with tempfile.TemporaryDirectory(dir=disk.parent, prefix="look-") as name:
        there = Path(name)
        copy = there / "disk"
        run("cp", "--sparse=always", disk, copy)
        run("e2fsck", "-f", "-y", copy, allow=_JOURNAL_REPLAYED)
        run("debugfs", "-R", f"rdump /store /spool {there}", copy)
        spooled = frozenset(_spooled(there / "spool"))
        store = there / "store/relay.db"
        log_bytes = file_bytes(log_path(store))
        try:
            integrity = _integrity(shutil.copytree(store.parent, there / "again"))
            totals, backlog = _read(store)
        except sqlite3.Error as error:
            return Held(f"cannot be read: {error}", Totals(), (), spooled, log_bytes)
        return Held(integrity, totals, backlog, spooled, log_bytes)


def _read(store: Path) -> tuple[Totals, tuple[str, ...]]:
    reader = Reader(store)
    try:
        totals = reader.totals().get("default", Totals())
        return totals, tuple(_backlog(reader, totals.position))
    finally:
        reader.close()


def _integrity(directory: Path) -> str:
    conn = sqlite3.connect(directory / "relay.db")
    try:
        found = conn.execute("pragma integrity_check").fetchall()
    finally:
        conn.close()
    return "; ".join(line for (line,) in found)


def _backlog(reader: Reader, position: Position) -> Iterator[str]:
    everything = 1 << 60
    chunks = reader.peek(
        "default", position, max_events=everything, max_bytes=everything
    )
    for chunk in chunks:
        done = position.events if chunk.id == position.chunk else 0
        for event in split(unpack(chunk.packed))[done:]:
            yield json.loads(event)["uuid"]


def _spooled(directory: Path) -> Iterator[str]:
    for file in directory.glob("*.jsonl"):
        for line in file.read_bytes().splitlines():
            yield json.loads(line)["uuid"]
