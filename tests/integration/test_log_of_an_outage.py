"""A bad hour at the store or in the spool is some lines of log, not thousands."""

from pathlib import Path

import pytest

from leanbase_relay.store.store import Store
from leanbase_relay.store.totals import Position
from leanbase_relay.store.writer import Change, Limits, Writer
from tests.integration.test_writer import deposit, fill, noise
from tests.support.clock import FakeClock
from tests.support.spool import SpoolHouse, line

HOUR_SECONDS = 3600
MOST_LINES = 40
MIB = 1 << 20


def lines(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records]


def test_an_hour_at_the_bound_of_the_store_is_a_page(
    tmp_path: Path, clock: FakeClock, log: pytest.LogCaptureFixture
) -> None:
    """What leaves makes room, and it is full again at once; and so for an hour."""
    store = Store.open(tmp_path / "relay.db")
    limits = Limits(
        20 * MIB, drop_oldest=False, dead_letter_bytes=MIB, max_chunk_events=5000
    )
    writer = Writer(store, clock, limits=limits)
    was_full = 0
    for _ in range(60):
        clock.now += HOUR_SECONDS / 60
        receipts = fill(writer, lambda n: deposit(noise(MIB, n)), 6)
        if receipts[-1].error is not None:
            was_full += 1
            writer.apply(_ack(Position(4 * was_full, 0)))
            writer.step()
    store.close()

    assert was_full > 20
    said = lines(log)
    assert 4 <= len(said) < MOST_LINES, said
    assert said[0] == f"store_full max_bytes={20 * MIB} times=1"
    assert said[1].startswith("store_has_room bytes=")


def _ack(upto: Position) -> Change:
    return lambda store: store.ack("default", upto)


def test_an_hour_of_files_is_a_page(
    tmp_path: Path, clock: FakeClock, log: pytest.LogCaptureFixture
) -> None:
    """A file every ten seconds, of which every third can never be taken."""
    with SpoolHouse(tmp_path, clock=clock) as house:
        for number in range(HOUR_SECONDS // 10):
            ending = "log" if number % 3 == 0 else "jsonl"
            house.put(f"{number}.{ending}", line(number))
            clock.now += 10
            house.spool.step()

        assert len(house.numbers()) == 240

    said = lines(log)
    assert len(said) < MOST_LINES, said
    assert "file_taken name=1.jsonl lines=1 refused=0 blank=0" in said
    assert any(text.startswith("files_taken files=") for text in said)
