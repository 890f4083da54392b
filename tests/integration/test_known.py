"""Ids of persons: kept with the events that named them, over restarts."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from leanbase_relay.store import known
from leanbase_relay.store.chunk import Chunk
from leanbase_relay.store.known import Known
from leanbase_relay.store.row import row_of
from leanbase_relay.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "relay.db")
    yield store
    store.close()


def commit(store: Store, identified: tuple[int, ...], project: str = "default") -> None:
    chunk = Chunk(project, 1, b"{}", identified=identified)
    with store.transaction():
        store.append(row_of(chunk, stamped=None), now_ms=1)


def test_an_id_is_known_at_once_and_for_good(store: Store) -> None:
    with closing(Known(store.path)) as first:
        assert first.among("default", ["u1", "u2"]) == set()
        commit(store, first.learn("default", ["u1"]))
        assert first.among("default", ["u1", "u2"]) == {"u1"}

    with closing(Known(store.path)) as later:
        assert later.among("default", ["u1", "u2"]) == {"u1"}


def test_each_project_knows_its_own(store: Store) -> None:
    with closing(Known(store.path)) as ids:
        commit(store, ids.learn("shop", ["u1"]), "shop")

        assert ids.among("default", ["u1"]) == set()


def test_what_was_not_stored_is_kept_with_the_next_event_that_names_it(
    store: Store,
) -> None:
    """As when the store was full: the event is sent again, and its id with it."""
    with closing(Known(store.path)) as ids:
        lost = ids.learn("default", ["u1"])
        assert ids.among("default", ["u1"]) == {"u1"}

        assert ids.learn("default", ["u1"]) == lost


def test_what_the_store_has_is_not_written_again(store: Store) -> None:
    with closing(Known(store.path)) as ids:
        commit(store, ids.learn("default", ["u1"]))
    with closing(Known(store.path)) as ids:
        ids.among("default", ["u1"])

        assert ids.learn("default", ["u1"]) == ()


def test_memory_is_bounded_and_answers_stay_right(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "MAX_REMEMBERED", 10)
    with closing(Known(store.path)) as ids:
        names = [f"u{number}" for number in range(100)]
        commit(store, ids.learn("default", names[::2]))

        assert ids.among("default", names) == set(names[::2])
        assert ids.among("default", names[:5]) == {"u0", "u2", "u4"}
        assert ids.among("default", names[95:]) == {"u96", "u98"}
        assert len(ids._answers) <= 100


def test_too_many_ids_are_thinned_out(store: Store) -> None:
    commit(store, tuple(range(1000)))

    with store.transaction():
        store.trim_known_ids(1000)
    assert store._known_ids == 1000
    commit(store, (1000, 5))
    with store.transaction():
        store.trim_known_ids(1000)

    (count,) = store._conn.execute("select count(*) from known_id").fetchone()
    assert count == store._known_ids == 901


def test_anonymous_events_are_counted_in_the_totals(store: Store) -> None:
    chunk = Chunk("default", 3, b"{},{},{}", anonymous=2)
    with store.transaction():
        store.append(row_of(chunk, stamped=None), now_ms=1)

    assert store.totals["default"].anonymous == 2
