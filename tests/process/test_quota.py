"""The store's bound on the disk, under load and beside a reader that does not end."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from leanbase_relay.sink import Fault, Script, Sink
from tests.support.load import Flood, Watch, du, noise
from tests.support.process import RelayProcess
from tests.support.waiting import eventually, paced

pytestmark = pytest.mark.process

MIB = 1 << 20
BATCH_BYTES = 4 * MIB
DOWN = Script().then_always(Fault.answer(503, "busy"))

forms = pytest.mark.parametrize(
    ("max_bytes", "seconds"),
    [(32 * MIB, 0.4), pytest.param(256 * MIB, 60.0, marks=pytest.mark.slow)],
)


@contextmanager
def reading(store: Path) -> Iterator[None]:
    """Somebody's transaction that does not end."""
    with closing(sqlite3.connect(store, isolation_level=None)) as conn:
        conn.execute("begin")
        conn.execute("select count(*) from project").fetchone()
        yield
        conn.execute("commit")


@forms
@pytest.mark.parametrize("when_full", ["reject", "drop_oldest"])
def test_du_keeps_to_the_bound_and_nothing_is_miscounted(
    short_dir: Path, when_full: str, max_bytes: int, seconds: float
) -> None:
    """Steps: an outage fills the store; somebody reads for long; the upstream comes
    back, and all the while events come in; then all arrive."""
    settings: dict[str, dict[str, object]] = {
        "store": {"max_bytes": max_bytes, "when_full": when_full},
        "dead_letters": {"max_bytes": MIB},
        "retry": {"first_delay": "100ms", "max_delay": "200ms"},
    }
    with (
        Sink(script=DOWN, keep="counts") as sink,
        RelayProcess(short_dir, sink.url, settings) as relay,
    ):
        with (
            Watch(lambda: du(relay.store)) as disk,
            Flood(relay.socket, noise()) as flood,
        ):
            eventually(lambda: gone(relay, flood) > 0, within=60)
            with reading(relay.store):
                keep_on(relay, seconds)
                sink.follow(Script())
                keep_on(relay, seconds)
            keep_on(relay, seconds)
        assert disk.looks >= 10
        assert disk.most <= max_bytes + BATCH_BYTES

        eventually(lambda: not relay.status()["backlog"]["events"], within=60)
        totals = relay.status()["totals"]
        assert relay.stop() == 0

    assert flood.stored + flood.refused == flood.sent
    assert totals["accepted"] == flood.stored
    assert totals["accepted"] == totals["delivered"] + totals["dropped"]
    assert (totals["dropped"] > 0) == (when_full == "drop_oldest")
    # What is given up while it is on its way may arrive all the same.
    assert totals["delivered"] <= sink.counts.rows <= totals["accepted"]


def gone(relay: RelayProcess, flood: Flood) -> int:
    """How many events found no room, or cost others theirs."""
    dropped: int = relay.status()["totals"]["dropped"]
    return flood.refused + dropped


def keep_on(relay: RelayProcess, seconds: float) -> None:
    """Let it go on for a while; the relay answers all the time."""
    for _ in paced(every=0.2, during=seconds):
        assert relay.status()["running"]
