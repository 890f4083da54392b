"""The spool's own thread: what wakes it, and what happens when nothing can."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from watchdog.observers.api import BaseObserver

from leanbase_relay.clock import SystemClock
from leanbase_relay.intake.spool import _Hint
from tests.support.clock import FakeClock
from tests.support.spool import SpoolHouse, line
from tests.support.waiting import eventually


@pytest.fixture
def running(tmp_path: Path) -> Iterator[SpoolHouse]:
    """A spool that looks only once an hour, unless it is woken."""
    clock = SystemClock()
    with SpoolHouse(tmp_path, clock=clock, scan_interval_seconds=3600) as house:
        thread = threading.Thread(target=house.spool.run)
        thread.start()
        yield house
        clock.stop()
        thread.join()


def wait_until_watching(house: SpoolHouse) -> None:
    eventually(lambda: house.spool._watcher and house.spool._watcher._observer)


def test_a_file_renamed_into_place_wakes_the_spool(running: SpoolHouse) -> None:
    wait_until_watching(running)
    running.put("a.jsonl", line(0))

    assert eventually(running.numbers) == [0]


def test_a_projects_directory_that_is_made_later_is_watched(
    running: SpoolHouse,
) -> None:
    wait_until_watching(running)
    running.put("shop/a.jsonl", line(0))
    assert eventually(lambda: running.numbers("shop")) == [0]

    running.put("shop/b.jsonl", line(1))
    eventually(lambda: running.numbers("shop") == [0, 1])


def test_a_directory_that_was_made_again_is_watched_again(running: SpoolHouse) -> None:
    wait_until_watching(running)
    watcher = running.spool._watcher
    assert watcher is not None
    before = watcher._observer
    shutil.rmtree(running.path)
    running.spool.poke()
    eventually(running.path.exists)

    def watched_anew() -> bool:
        running.spool.poke()
        return watcher._observer is not None and watcher._observer is not before

    eventually(watched_anew)
    eventually(lambda: not running.spool._news._event.is_set())
    running.put("a.jsonl", line(0))

    assert eventually(running.numbers) == [0]


def test_reading_and_removing_do_not_wake_the_spool(
    running: SpoolHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it would keep itself busy."""
    wait_until_watching(running)
    running.put("a.jsonl", line(0))
    eventually(lambda: running.names() == [])
    seen: set[tuple[str, str]] = set()
    monkeypatch.setattr(
        _Hint,
        "on_any_event",
        lambda _, event: seen.add((event.event_type, Path(event.dest_path).name)),
    )

    running.put("b.jsonl", line(1))

    def is_taken() -> bool:
        running.spool.poke()
        return running.names() == []

    eventually(is_taken)
    running.put("c.jsonl.tmp", b"")
    eventually(lambda: ("moved", "c.jsonl.tmp") in seen)

    assert {kind for kind, _ in seen} == {"created", "closed", "moved"}


def test_without_a_watcher_the_scan_finds_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(BaseObserver, "schedule", failing)
    clock = SystemClock()
    with SpoolHouse(tmp_path, clock=clock, scan_interval_seconds=0.02) as house:
        thread = threading.Thread(target=house.spool.run)
        thread.start()
        house.put("a.jsonl", line(0))

        assert eventually(house.numbers) == [0]
        eventually(lambda: "no watcher tells the spool" in house.problems())
        clock.stop()
        thread.join()


def test_a_stop_ends_the_thread_at_once(tmp_path: Path) -> None:
    clock = SystemClock()
    with SpoolHouse(tmp_path, clock=clock, scan_interval_seconds=3600) as house:
        thread = threading.Thread(target=house.spool.run)
        thread.start()
        wait_until_watching(house)

        clock.stop()

        thread.join(5)
        assert not thread.is_alive()


def test_while_the_store_is_full_news_do_not_hasten_the_next_scan(
    house: SpoolHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan of a hundred thousand waiting files costs most of a second."""
    clock = house.clock
    assert isinstance(clock, FakeClock)
    step = house.spool.step

    def twice() -> None:
        if clock.waits:
            clock.stop()
        step()
        house.spool.poke()

    monkeypatch.setattr(house.spool, "step", twice)
    house.put("a.jsonl", line(0))
    house.set_max_store_bytes(0)
    house.spool.run()

    assert clock.waits == [5.0]
