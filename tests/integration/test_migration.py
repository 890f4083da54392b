"""A store that an earlier version made goes on with all that it holds."""

from contextlib import closing
from pathlib import Path

import pytest

from leanbase_relay.store import schema
from leanbase_relay.store.reader import Reader
from leanbase_relay.store.store import Store
from leanbase_relay.store.totals import BEGINNING, Totals
from tests.support import old_store


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "relay.db"
    old_store.make(path)
    return path


def test_a_store_of_the_first_version_keeps_all_it_has(old: Path) -> None:
    with closing(Store.open(old)) as store, closing(Reader(old)) as reader:
        (chunk,) = reader.peek("default", BEGINNING, max_events=9, max_bytes=99)

        assert (chunk.events, chunk.stamped, chunk.historical) == (2, None, False)
        assert store.totals["default"] == Totals(
            accepted=5,
            delivered=2,
            dead=1,
            backlog_bytes=15,
            dead_letters=1,
            dead_letter_bytes=202,
        )
        letters = store._conn.execute("select events, requeues from dead_letter")
        assert letters.fetchall() == [(1, 0)]
        assert store._conn.execute("pragma user_version").fetchone() == (
            schema.VERSION,
        )


def test_a_stopped_store_of_an_earlier_version_can_be_looked_into(old: Path) -> None:
    """`status` before the first start of a new version."""
    with closing(Reader(old)) as reader:
        assert reader.totals()["default"].backlog_events == 2
