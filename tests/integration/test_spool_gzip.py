"""Gzip files in the spool: whole, in members, torn, corrupt, and bombs."""

import gzip
import os
import tracemalloc
from functools import partial

import pytest

from leanbase_relay.intake import spool_file
from leanbase_relay.intake.spool_text import GzipText
from tests.support.spool import Hold, SpoolHouse, line, lines


def test_a_gzip_file_is_taken_and_removed(house: SpoolHouse) -> None:
    house.put("a.jsonl.gz", gzip.compress(lines(range(20_000))))

    house.spool.step()

    assert house.numbers() == list(range(20_000))
    assert house.names() == []


def test_the_members_of_a_gzip_file_are_one_text(house: SpoolHouse) -> None:
    text = lines(range(3))
    members = [gzip.compress(text[start : start + 50]) for start in range(0, 600, 50)]
    house.put("a.jsonl.gz", b"".join(members) + bytes(700))

    house.spool.step()

    assert house.numbers() == [0, 1, 2]
    assert house.letters() == []
    assert house.names() == []


def test_a_gzip_file_is_not_read_while_it_is_written(
    house: SpoolHouse, hold: Hold
) -> None:
    holder = hold(house.put("a.jsonl.gz", gzip.compress(line(0))))
    house.settle()
    assert house.numbers() == []

    holder.release()
    house.spool.step()
    assert house.numbers() == [0]


def test_a_truncated_gzip_file_gives_its_lines_and_one_dead_letter(
    house: SpoolHouse,
) -> None:
    """It has until it settles: the rest may be on its way."""
    text = os.urandom(2000).hex().encode()
    packed = gzip.compress(lines(range(3)) + text)
    house.put("a.jsonl.gz", packed[:-900])

    house.spool.step()
    assert house.numbers() == [0, 1, 2]
    assert house.names() == ["a.jsonl.gz"]

    house.settle()
    ((origin, reason, torn),) = house.letters()
    assert origin == "spool a.jsonl.gz line=4"
    taken = len(lines(range(3))) + len(torn)
    assert reason == f"gzip is truncated at decompressed offset {taken}"
    assert text.startswith(torn)
    assert house.names() == []
    assert house.numbers() == [0, 1, 2]


def test_a_gzip_file_whose_rest_comes_late_is_continued(house: SpoolHouse) -> None:
    packed = gzip.compress(lines(range(3)) + os.urandom(2000).hex().encode())
    path = house.put("a.jsonl.gz", packed[:-900])
    house.spool.step()
    house.restart()

    path.write_bytes(gzip.compress(lines(range(3))) + gzip.compress(lines(range(3, 5))))
    house.spool.step()

    assert house.numbers() == [0, 1, 2, 3, 4]
    assert house.letters() == []


def test_a_corrupt_gzip_file_gives_all_that_stands_before_the_damage(
    house: SpoolHouse,
) -> None:
    noise = os.urandom(100_000)
    packed = bytearray(gzip.compress(lines(range(1000)) + noise.hex().encode()))
    packed[len(packed) // 2] ^= 0xFF
    house.put("a.jsonl.gz", bytes(packed))

    house.settle()

    assert house.numbers() == list(range(1000))
    ((origin, reason, torn),) = house.letters()
    assert origin == "spool a.jsonl.gz line=1001"
    assert "gzip is corrupt at decompressed offset" in reason
    assert len(torn) <= 64 << 10
    assert house.names() == []


def test_what_follows_a_gzip_file_is_kept_as_a_dead_letter(house: SpoolHouse) -> None:
    house.put("a.jsonl.gz", gzip.compress(line(0)) + b"garbage")

    house.settle()

    assert house.numbers() == [0]
    ((_, reason, torn),) = house.letters()
    offset = len(line(0))
    assert reason == f"gzip is followed by other bytes at decompressed offset {offset}"
    assert torn == b"garbage"


def test_what_is_no_gzip_at_all_is_one_dead_letter(house: SpoolHouse) -> None:
    house.put("a.jsonl.gz", b"PK\x03\x04 a zip file\n" * 1000)

    house.settle()

    ((_, reason, torn),) = house.letters()
    assert reason == "gzip is corrupt at decompressed offset 0"
    assert torn.startswith(b"PK")
    assert house.names() == []


def test_the_bytes_say_what_a_file_is_and_not_its_name(house: SpoolHouse) -> None:
    house.put("a.jsonl.gz", line(0))
    house.put("b.jsonl", gzip.compress(line(1)))

    house.spool.step()

    assert house.numbers() == [0, 1]
    assert house.names() == []


def test_a_gzip_bomb_without_lines_costs_bounded_memory(house: SpoolHouse) -> None:
    house.put("a.jsonl.gz", gzip.compress(line(0) + bytes(200 << 20), 1))
    tracemalloc.start()

    house.settle()

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20
    ((_, reason, torn),) = house.letters()
    assert reason.startswith("line is longer than events.max_bytes")
    assert len(torn) == 64 << 10
    assert house.numbers() == [0]


def test_a_gzip_file_that_never_ends_is_left_at_a_bound(
    house: SpoolHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_file, "GzipText", partial(GzipText, max_bytes=5000))
    house.put("a.jsonl.gz", gzip.compress(lines(range(100))))

    house.settle()

    whole = lines(range(100))[:5000].count(b"\n")
    assert house.numbers() == list(range(whole))
    assert house.letters()[0][1] == "gzip is too large at decompressed offset 5000"
    assert house.names() == []


def test_a_half_taken_gzip_file_is_continued_where_it_stood(
    house: SpoolHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.put("a.jsonl.gz", gzip.compress(lines(range(20_000))))
    note = house.spool._taker._on_committed

    def filling(file: object) -> None:
        note(file)  # type: ignore[arg-type]
        house.set_max_store_bytes(0)

    monkeypatch.setattr(house.spool._taker, "_on_committed", filling)
    house.spool.step()
    assert 0 < len(house.numbers()) < 20_000

    house.set_max_store_bytes(1 << 30)
    house.restart()
    house.spool.step()
    assert house.numbers() == list(range(20_000))
