"""Reaching the store: through a daemon, alone, or not at all."""

import os
import sqlite3
from pathlib import Path

import pytest

from leanbase_relay import config
from leanbase_relay.cli.reach import START_SECONDS, changing, looking
from leanbase_relay.config import Config
from leanbase_relay.errors import NotRunning, RelayError
from leanbase_relay.store import lock
from leanbase_relay.store.letters import LetterReader
from tests.support.clock import FakeClock
from tests.support.letters import LetterHouse, event


@pytest.fixture
def conf(tmp_path: Path) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(
        f"store: {{path: {tmp_path}/relay.db}}\ncontrol: {{path: {tmp_path}/c.sock}}\n"
    )
    return config.load(path, with_keys=False)


def test_without_a_daemon_the_lock_is_held_meanwhile(
    conf: Config, tmp_path: Path, clock: FakeClock
) -> None:
    with LetterHouse(tmp_path) as house:
        house.bury(event(1))

    with changing(conf, clock) as wish:
        assert lock.holder(conf.store.path) == os.getpid()
        assert wish("requeue_letters", upto=1)["requeued"] == 1

    assert lock.holder(conf.store.path) is None


def test_room_is_given_back_to_the_disk(
    conf: Config, tmp_path: Path, clock: FakeClock
) -> None:
    noise = b'{"x":"%b"}' % os.urandom(1 << 20).hex().encode()
    with LetterHouse(tmp_path) as house:
        for _ in range(10):
            house.append(noise)
    before = conf.store.path.stat().st_size

    with changing(conf, clock) as wish:
        wish("purge_backlog", upto=99)
        wish("purge_backlog", upto=99)

    assert conf.store.path.stat().st_size < before / 2


def test_a_daemon_that_starts_is_waited_for_but_not_for_ever(
    conf: Config, clock: FakeClock
) -> None:
    began = clock.now
    with (
        lock.held(conf.store.path),
        pytest.raises(NotRunning),
        changing(conf, clock),
    ):
        pytest.fail("nobody can be asked")

    assert clock.now - began == pytest.approx(START_SECONDS, abs=0.1)


def test_a_store_that_cannot_be_read_is_named(conf: Config) -> None:
    conf.store.path.write_bytes(b"no database, " * 1000)

    with (
        pytest.raises(RelayError, match=r"relay\.db cannot be read") as told,
        looking(conf, LetterReader),
    ):
        pytest.fail("there is nothing to look at")

    assert isinstance(told.value.__cause__, sqlite3.Error)
