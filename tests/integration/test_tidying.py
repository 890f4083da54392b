"""Tidying the store: it keeps to the bound of the disk, and rests while it may not."""

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from leanbase_relay.store.chunk import Chunk
from leanbase_relay.store.deposit import Deposit
from leanbase_relay.store.merging import OLD_SECONDS
from leanbase_relay.store.totals import Position
from leanbase_relay.store.writer import Limits, Writer
from tests.support.clock import FakeClock
from tests.support.intake import GatedStore

MIB = 1 << 20
BOUND = Limits(48 * MIB, False, MIB, 5000)  # noqa: FBT003
GONE = Position(1 << 40, 0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[GatedStore]:
    store = GatedStore.open(tmp_path / "relay.db")
    yield store
    store.close()


def fill(writer: Writer, chunks: int) -> None:
    """Chunks of a MiB that do not compress, each in a commit of its own."""
    for number in range(chunks):
        noise = hashlib.shake_128(b"%d" % number).digest(MIB)
        writer.submit(Deposit((Chunk("default", 1, noise),)))
        writer.step()


def ack(writer: Writer, upto: Position) -> None:
    writer.apply(lambda store: store.ack("default", upto))
    writer.step()


def tidy(writer: Writer, clock: FakeClock, *, steps: int) -> int:
    """Let as many steps fall due, unless there is no more to do; the most `du` saw."""
    most = 0
    for _ in range(steps):
        if writer._tidy_at is None or writer._tidy_at > clock.now + OLD_SECONDS / 2:
            break
        clock.now = max(clock.now, writer._tidy_at)
        writer._tidy_if_due()
        most = max(most, du(writer))
    return most


def du(writer: Writer) -> int:
    path = writer._store.path
    return sum(
        os.stat(f"{path}{end}").st_size  # noqa: PTH116 - a path and an ending
        for end in ("", "-wal", "-shm")
    )


def test_what_tidying_moves_while_somebody_reads_keeps_to_the_bound(
    store: GatedStore, clock: FakeClock
) -> None:
    """Half of a full store is delivered; the rest lies at the end, and is moved.

    All of that goes into the log, which cannot be folded in, and the file does not get
    smaller before that.
    """
    writer = Writer(store, clock, limits=BOUND)
    fill(writer, 31)
    ack(writer, Position(16, 0))
    with closing(sqlite3.connect(store.path, isolation_level=None)) as long:
        long.execute("begin")
        long.execute("select count(*) from chunk").fetchone()

        most = tidy(writer, clock, steps=100)

        assert most <= BOUND.max_bytes
        long.execute("commit")

    tidy(writer, clock, steps=100)
    assert du(writer) < 22 * MIB, "afterwards it goes on"


def test_a_store_that_is_broken_is_left_alone_until_it_is_wanted(
    store: GatedStore, clock: FakeClock
) -> None:
    """And the writer's thread does not go round and round meanwhile."""
    writer = Writer(store, clock, limits=BOUND)
    fill(writer, 1)
    store.error = sqlite3.OperationalError("disk I/O error")
    ack(writer, GONE)

    tidy(writer, clock, steps=1)

    assert (writer._patience() or 3600) >= 1
