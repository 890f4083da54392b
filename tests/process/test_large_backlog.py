"""A backlog of millions: the start, the memory and the status do not feel it."""

import os
import statistics
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from benchmarks.process import look
from leanbase_relay.clock import SystemClock
from leanbase_relay.store.chunk import Chunk
from leanbase_relay.store.row import row_of
from leanbase_relay.store.store import Store
from tests.support.intake import event
from tests.support.process import COMMAND, RelayProcess, environment
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

ROWS, EACH = 1_000, 5_000
READY_SECONDS = 1.0
STATUS_CPU_SECONDS = 0.2
MORE_RSS_MB = 20


UNWATCHED = {
    name: value
    for name, value in environment({}).items()
    if not name.startswith("COVERAGE_")
}


class Life(NamedTuple):
    """What a start and a look cost."""

    ready_seconds: float
    rss_mb: float
    status_cpu_seconds: float


def fill(path: Path, rows: int) -> None:
    """Chunks of EACH events that came a while ago, as the store has them."""
    lines = [event(number).strip() for number in range(EACH)]
    row = row_of(Chunk("default", EACH, b",".join(lines)), stamped=None)
    an_hour_ago_ms = round((SystemClock().wall() - 3600) * 1000)
    store = Store.open(path)
    for first in range(0, rows, 100):
        with store.transaction():
            for _ in range(min(100, rows - first)):
                store.append(row, now_ms=an_hour_ago_ms)
    store.close()


def live(relay: RelayProcess) -> Life:
    """From exec to the first answer; then a status command, with the lane trying."""
    clock = SystemClock()
    began = clock.monotonic()
    relay.start()
    ready_seconds = clock.monotonic() - began
    state = "backing_off" if relay.status()["backlog"]["events"] else "idle"
    eventually(lambda: relay.status()["state"] == state)
    status_cpu_seconds = statistics.median(_status_cpu_seconds(relay) for _ in range(3))
    rss_mb = look(relay.pid).rss_mb
    assert relay.stop() == 0
    return Life(ready_seconds, rss_mb, status_cpu_seconds)


def _status_cpu_seconds(relay: RelayProcess) -> float:
    before = os.times()
    subprocess.run(
        [COMMAND, "status", "-c", relay.config],
        check=False,
        capture_output=True,
        env=UNWATCHED,
    )
    after = os.times()
    user = after.children_user - before.children_user
    return user + after.children_system - before.children_system


def test_five_million_events_cost_neither_start_nor_memory_nor_status(
    short_dir: Path,
) -> None:
    """Compared with the same relay while it was empty, on the same busy machine."""
    relay = RelayProcess(short_dir)
    empty = live(relay)
    fill(relay.store, ROWS)

    full = live(relay)

    _, stopped = relay.status_command()
    assert stopped["backlog"]["events"] == ROWS * EACH
    assert full.ready_seconds < max(READY_SECONDS, 2 * empty.ready_seconds)
    assert full.rss_mb - empty.rss_mb < MORE_RSS_MB
    assert full.status_cpu_seconds < STATUS_CPU_SECONDS
