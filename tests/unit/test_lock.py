import os
from pathlib import Path

import pytest

from leanbase_relay.errors import StoreHeld, StoreUnavailable
from leanbase_relay.store import lock


def test_the_holder_is_known_while_it_holds(tmp_path: Path) -> None:
    store = tmp_path / "relay.db"
    assert lock.holder(store) is None

    with lock.held(store):
        assert lock.holder(store) == os.getpid()

    assert lock.holder(store) is None


def test_a_second_holder_is_told_who_the_first_is(tmp_path: Path) -> None:
    store = tmp_path / "relay.db"
    with (
        lock.held(store),
        pytest.raises(StoreHeld, match=rf"pid {os.getpid()}\) holds the store"),
        lock.held(store),
    ):
        pass

    with lock.held(store):
        pass  # it is free again


def test_a_link_leads_to_the_same_lock(tmp_path: Path) -> None:
    """Two daemons once wrote one store, each with a lock of its own."""
    store, link = tmp_path / "relay.db", tmp_path / "elsewhere.db"
    link.symlink_to(store)
    with lock.held(store), pytest.raises(StoreHeld), lock.held(link):
        pass

    with lock.held(link):
        assert lock.holder(store) == os.getpid()


def test_a_lock_left_by_a_crash_is_nobodys(tmp_path: Path) -> None:
    store = tmp_path / "relay.db"
    store.with_name("relay.db.lock").write_text("4711\n")

    assert lock.holder(store) is None
    with lock.held(store):
        assert lock.holder(store) == os.getpid()


def test_an_error_within_lets_go(tmp_path: Path) -> None:
    store = tmp_path / "relay.db"
    with pytest.raises(ZeroDivisionError), lock.held(store):
        raise ZeroDivisionError

    assert lock.holder(store) is None


def test_a_lock_that_cannot_be_made_names_its_path(tmp_path: Path) -> None:
    store = tmp_path / "missing" / "relay.db"

    with (
        pytest.raises(StoreUnavailable, match=r"missing/relay\.db\.lock"),
        lock.held(store),
    ):
        pass


def test_the_lock_is_not_for_everybody_to_read(tmp_path: Path) -> None:
    store = tmp_path / "relay.db"
    with lock.held(store):
        assert store.with_name("relay.db.lock").stat().st_mode & 0o007 == 0
