"""The bare limits: each step of an event's way alone, in this process, one thread.

They are measured in the round whose figure they stand beside, on the same disk, so
that a slow minute of the machine slows both.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from benchmarks.question import Sample, Setting
from leanbase_relay import deflate
from leanbase_relay.intake.event import Judge

_SAMPLE_EVENTS = 100_000
_RUN_BYTES = 200_000  # what one read of a Unix socket brings
_CHUNK_BYTES = 1 << 20
_BODY_BYTES = 4 << 20

BESIDE = {
    "decode": "judge alone",
    "compress": "compress alone",
    "commit": "commit alone",
    "write": "write and sync alone",
}


class BareTable:
    """The least that SQLite can be asked to do: a row, a commit, a sync."""

    def __init__(self, place: Path) -> None:
        self._conn = sqlite3.connect(place / "bare.db", isolation_level=None)
        self._conn.execute("pragma journal_mode = wal")
        self._conn.execute("pragma synchronous = full")
        self._conn.execute("create table bare (id integer primary key, data blob)")

    def close(self) -> None:
        self._conn.close()

    def store(self, data: bytes) -> None:
        """One row, committed."""
        self._conn.execute("begin immediate")
        self._conn.execute("insert into bare (data) values (?)", (data,))
        self._conn.execute("commit")


def measure(setting: Setting, place: Path) -> Sample:
    """Events a second of each step alone; and of judging and committing in turn."""
    lines = setting.first(min(_SAMPLE_EVENTS, setting.count))
    events = len(lines)
    runs, chunks = grouped(lines, _RUN_BYTES), grouped(lines, _CHUNK_BYTES)
    bodies = grouped(lines, _BODY_BYTES)
    packed = [deflate.compress(chunk) for chunk in chunks]
    judge = a_judge()

    def decode(run: bytes) -> None:
        judge.judge(run, project="default", now_ms=0)

    with closing(BareTable(place)) as table, (place / "bare").open("wb") as file:

        def write(chunk: bytes) -> None:
            os.write(file.fileno(), chunk)
            os.fdatasync(file.fileno())

        decode_seconds = _seconds(decode, runs)
        commit_seconds = _seconds(table.store, packed)
        return {
            "decode": events / decode_seconds,
            "compress": events / _seconds(deflate.compress, chunks),
            "commit": events / commit_seconds,
            "decode_and_commit": events / (decode_seconds + commit_seconds),
            "write": events / _seconds(write, packed),
            "inflate": events / _seconds(deflate.decompress, packed),
            "gzip": events / _seconds(deflate.compress, bodies),
        }


def a_judge() -> Judge:
    """A judge as a default configuration has it."""
    return Judge(max_bytes=900 << 10, projects=frozenset({"default"}))


def grouped(lines: Sequence[bytes], size: int) -> list[bytes]:
    """Lines joined to runs of about so many bytes."""
    runs: list[bytes] = []
    run: list[bytes] = []
    length = 0
    for line in lines:
        run.append(line)
        length += len(line)
        if length >= size:
            runs.append(b"".join(run))
            run, length = [], 0
    return [*runs, b"".join(run)] if run else runs


def _seconds(step: Callable[[bytes], object], pieces: Sequence[bytes]) -> float:
    started = time.perf_counter()
    for piece in pieces:
        step(piece)
    return time.perf_counter() - started
