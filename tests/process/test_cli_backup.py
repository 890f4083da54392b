"""`backup`: a copy that a relay can be started on, made while it runs."""

import os
import shutil
import stat
import threading
from pathlib import Path

import pytest

from leanbase_relay.sink import Sink
from tests.support.intake import Client, event
from tests.support.process import NOBODY, RelayProcess
from tests.support.root import small_disk
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

EVENTS = 200


def test_a_relay_goes_on_from_a_copy_made_under_load(short_dir: Path) -> None:
    """1. A producer sends without a pause. 2. Backup. 3. A relay on the copy."""
    copy = short_dir / "copy.db"
    enough = threading.Event()
    with RelayProcess(short_dir, NOBODY) as relay, Client(relay.socket) as client:
        for number in range(EVENTS):
            client.send(event(number))
            client.reply()

        def produce() -> None:
            with Client(relay.socket) as other:
                number = EVENTS
                while not enough.is_set():
                    other.send(event(number))
                    other.reply()
                    number += 1

        producer = threading.Thread(target=produce)
        producer.start()
        try:
            done = relay.command("backup", copy)
        finally:
            enough.set()
            producer.join()
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"copied {relay.store} to {copy}, ")
        assert relay.stop() == 0

    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    for old in short_dir.glob("relay.db*"):
        old.unlink()
    shutil.copy(copy, relay.store)
    with Sink() as sink:
        relay.configure(sink.url)
        with relay:
            eventually(lambda: relay.status()["backlog"]["events"] == 0)
            assert relay.status()["problems"] == []
            assert relay.stop() == 0
        sent = {row[3] for row in sink.rows}
    assert len(sent) >= EVENTS
    assert list(short_dir.glob(".copy*")) == []


def test_nothing_is_written_over(short_dir: Path) -> None:
    copy = short_dir / "copy.db"
    copy.write_text("mine")
    with RelayProcess(short_dir, NOBODY) as relay:
        done = relay.command("backup", copy)

    assert done.returncode == 1
    assert f"{copy} is there already; name a new file" in done.stderr
    assert copy.read_text() == "mine"


def test_a_place_that_cannot_be_written_and_a_store_that_is_not_there(
    short_dir: Path,
) -> None:
    relay = RelayProcess(short_dir, NOBODY)

    done = relay.command("backup", short_dir / "copy.db")
    assert done.returncode == 1
    assert f"there is no store at {relay.store}; nothing to copy" in done.stderr

    with relay:
        done = relay.command("backup", short_dir / "nowhere" / "copy.db")
    assert done.returncode == 1
    assert "nowhere/copy.db: No such file or directory" in done.stderr


def test_a_disk_without_room_for_it_is_left_as_it_was(short_dir: Path) -> None:
    with (
        small_disk(short_dir / "disk", "256k") as disk,
        RelayProcess(short_dir, NOBODY) as relay,
        Client(relay.socket) as client,
    ):
        client.send(event(1, properties={"x": os.urandom(300_000).hex()}))
        client.reply()

        done = relay.command("backup", disk / "copy.db")

        assert done.returncode == 1
        assert "no backup was made" in done.stderr
        assert "full" in done.stderr
        assert list(disk.iterdir()) == []
