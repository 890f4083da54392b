"""Kills in the middle of what the store does by itself: nothing is lost."""

import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from leanbase_relay.store import schema
from leanbase_relay.store.chunk import split, unpack
from leanbase_relay.store.reader import Reader
from leanbase_relay.store.store import Store
from leanbase_relay.store.totals import BEGINNING
from tests.support import old_store
from tests.support.store_child import LARGE_ROWS, SMALL_ROWS, STEPS

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
DELAYS_US = (200, 1_000, 3_000, 9_000)


def child(path: Path, step: str, number: int) -> int:
    arguments = ["-m", "tests.support.store_child", str(path), step, str(number)]
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, check=False, timeout=60
    )
    return done.returncode


@pytest.mark.parametrize("delay", DELAYS_US)
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_in_the_middle_of_tidying_changes_nothing(
    tmp_path: Path, step: str, delay: int
) -> None:
    path = tmp_path / "relay.db"

    # It may be done before it is killed: then there is nothing in the middle.
    assert child(path, step, delay) in (0, -signal.SIGKILL)

    with closing(Store.open(path)) as store, closing(Reader(path)) as reader:
        (verdict,) = store._conn.execute("pragma integrity_check").fetchone()
        assert verdict == "ok"
        small, large = store.totals["default"], store.totals["shop"]
        assert (small.accepted, small.backlog_events) == (SMALL_ROWS, SMALL_ROWS)
        assert (large.delivered, large.backlog_events) == (LARGE_ROWS, 0)
        rows = reader.peek("default", BEGINNING, max_events=999, max_bytes=1 << 30)
        events = [one for row in rows for one in split(unpack(row.packed))]
        assert events == [b'{"n":%d}' % number for number in range(SMALL_ROWS)]
        assert small.backlog_bytes == sum(row.bytes for row in rows)


@pytest.mark.parametrize("statements", range(12))
def test_a_kill_in_the_middle_of_a_migration_is_made_good_by_the_next_start(
    tmp_path: Path, statements: int
) -> None:
    path = tmp_path / "relay.db"
    old_store.make(path)

    assert child(path, "migration", statements) in (0, -signal.SIGKILL)

    with closing(Store.open(path)) as store:
        assert store.totals["default"].backlog_events == old_store.EVENTS
        assert store._conn.execute("pragma user_version").fetchone() == (
            schema.VERSION,
        )
