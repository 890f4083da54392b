"""A child that works on a store and kills itself in the middle of one step.

``python -m tests.support.store_child PATH STEP DELAY_US``. It prints how many events it
was told are committed before the step began.
"""

import hashlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from leanbase_relay.store.chunk import Chunk
from leanbase_relay.store.merging import Claims, Merging
from leanbase_relay.store.row import row_of
from leanbase_relay.store.store import Store
from leanbase_relay.store.totals import Position
from tests.support.clock import FakeClock

SMALL_ROWS = 200
LARGE_ROWS = 24


def die(*_: object) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def die_later(microseconds: int) -> None:
    """Be killed in so long a time, whatever is done then."""
    threading.Timer(microseconds / 1e6, die).start()


def fill(path: Path) -> Store:
    """Small rows that wait, and large ones that are delivered."""
    store = Store.open(path)
    for number in range(LARGE_ROWS):
        noise = hashlib.shake_128(b"%d" % number).hexdigest(400_000).encode()
        add(store, "shop", b'{"x":"%b"}' % noise)
    for number in range(SMALL_ROWS):
        add(store, "default", b'{"n":%d}' % number)
    with store.transaction():
        store.ack("shop", Position(LARGE_ROWS + 1, 0))
    return store


def add(store: Store, project: str, event: bytes) -> None:
    with store.transaction():
        store.append(row_of(Chunk(project, 1, event), stamped=None), now_ms=1)


def merging(store: Store, delay: int) -> None:
    """Rows of one event become rows of many."""
    work = Merging(store, FakeClock(), Claims(), max_events=40, max_bytes=1 << 20)
    die_later(delay)
    while work.step():
        pass


def giving_back(store: Store, delay: int) -> None:
    """Free pages go back to the file system."""
    die_later(delay)
    while store.measure().free:
        store.give_back(pages=64)


def folding(store: Store, delay: int) -> None:
    """The write-ahead log is folded into the database."""
    die_later(delay)
    store.truncate_log()


STEPS: dict[str, Callable[[Store, int], None]] = {
    "merging": merging,
    "giving_back": giving_back,
    "folding": folding,
}


def migrate(path: Path, statements: int) -> None:
    """Bring an old store up to date, and die after so many statements."""
    real, left = Database.execute, iter(range(statements))

    def execute(db: Database, *args: Any) -> Any:
        if next(left, None) is None:
            die()
        return real(db, *args)

    Database.execute = execute  # type: ignore[method-assign, assignment]
    Store.open(path).close()


def main(path: Path, step: str, number: int) -> None:
    if step == "migration":
        migrate(path, number)
    else:
        STEPS[step](fill(path), number)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
