"""The spool: what it takes, and from where."""

import os
import socket
from pathlib import Path

import pytest

from leanbase_relay.intake.lease import Writers, writers_of
from leanbase_relay.intake.spool_file import SpoolFile
from tests.support.spool import SETTLE_SECONDS, Hold, SpoolHouse, line, lines, logged

# Renamed files.


def test_a_renamed_file_is_taken_once_and_removed_at_once(
    house: SpoolHouse, log: pytest.LogCaptureFixture
) -> None:
    house.put("a.jsonl", lines(range(3)))

    house.spool.step()
    house.spool.step()

    assert house.numbers() == [0, 1, 2]
    assert house.names() == []
    assert house.progress() == []
    assert logged(log, "file_taken") == [
        "file_taken name=a.jsonl lines=3 refused=0 blank=0"
    ]


def test_a_file_is_not_removed_before_its_last_line_is_committed(
    house: SpoolHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.put("a.jsonl", lines(range(3)))
    stored_at_unlink = []
    remove = house.spool._removal.remove

    def noting(file: SpoolFile) -> bool:
        stored_at_unlink.append((house.numbers(), len(house.progress())))
        return remove(file)

    monkeypatch.setattr(house.spool._removal, "remove", noting)
    house.spool.step()

    assert stored_at_unlink == [([0, 1, 2], 1)]


def test_a_burst_of_files_is_taken_in_one_scan_oldest_first(house: SpoolHouse) -> None:
    for number in range(30):
        path = house.put(f"{30 - number:02}.jsonl", line(number))
        os.utime(path, ns=(0, number))

    house.spool.step()

    assert house.numbers() == list(range(30))
    assert house.names() == []
    assert house.progress() == []


def test_a_file_of_several_chunks_keeps_its_order(house: SpoolHouse) -> None:
    house.put("a.jsonl", lines(range(20_000)))

    house.spool.step()

    assert house.numbers() == list(range(20_000))
    assert house.names() == []


def test_an_empty_file_goes_when_it_has_settled(house: SpoolHouse) -> None:
    house.put("a.jsonl", b"")

    house.spool.step()
    assert house.names() == ["a.jsonl"]

    house.settle()
    assert house.names() == []


def test_a_file_without_a_final_newline_waits_until_it_has_settled(
    house: SpoolHouse,
) -> None:
    house.put("a.jsonl", lines(range(2)).rstrip(b"\n"))

    house.spool.step()
    assert house.numbers() == [0]

    house.settle()
    assert house.numbers() == [0, 1]
    assert house.names() == []


def test_the_store_keeps_nothing_of_many_files_that_are_gone(house: SpoolHouse) -> None:
    for number in range(600):
        house.put(f"{number:03}.jsonl", line(number))

    house.spool.step()

    assert house.numbers() == list(range(600))
    assert house.progress() == []


# Files written in place.


def test_complete_lines_are_taken_while_the_writer_is_in_the_middle_of_one(
    house: SpoolHouse,
) -> None:
    """1. A torn line waits. 2. Its end comes. 3. The writer closes, the file goes."""
    with (house.path / "a.jsonl").open("wb", buffering=0) as writer:
        writer.write(line(0) + line(1)[:40])
        house.settle()
        assert house.numbers() == [0]

        writer.write(line(1)[40:])
        house.settle()
        assert house.numbers() == [0, 1]
        assert house.names() == ["a.jsonl"]

    house.spool.step()
    assert house.numbers() == [0, 1]
    assert house.names() == []


def test_a_file_stays_while_another_process_has_it_open_for_writing(
    house: SpoolHouse, hold: Hold
) -> None:
    path = house.put("a.jsonl", line(0))
    holder = hold(path)

    house.settle()
    assert house.names() == ["a.jsonl"]

    holder.release()
    house.spool.step()
    assert house.names() == []
    assert house.numbers() == [0]


def test_a_file_held_open_for_an_hour_is_named(house: SpoolHouse, hold: Hold) -> None:
    holder = hold(house.put("a.jsonl", line(0)))
    house.spool.step()
    assert house.problems() == ""

    house.wait(3600)
    house.spool.step()
    assert "a.jsonl in the spool is held open for writing" in house.problems()

    holder.release()
    house.spool.step()
    assert house.problems() == ""


def test_a_file_that_was_appended_to_is_continued_after_a_restart(
    house: SpoolHouse, hold: Hold
) -> None:
    path = house.put("a.jsonl", lines(range(2)))
    holder = hold(path)
    house.spool.step()
    house.restart()

    with path.open("ab") as writer:
        writer.write(lines(range(2, 4)))
    house.spool.step()
    holder.release()
    house.spool.step()

    assert house.numbers() == [0, 1, 2, 3]
    assert house.names() == []


def test_a_file_renamed_between_two_scans_is_continued(
    house: SpoolHouse, hold: Hold
) -> None:
    path = house.put("a.jsonl", lines(range(2)))
    holder = hold(path)
    house.spool.step()

    path.rename(house.path / "b.jsonl")
    holder.release()
    house.spool.step()

    assert house.numbers() == [0, 1]
    assert house.names() == []


def test_a_file_cut_short_in_place_is_taken_from_its_beginning(
    house: SpoolHouse, hold: Hold, log: pytest.LogCaptureFixture
) -> None:
    path = house.put("a.jsonl", lines(range(3)))
    holder = hold(path)
    house.spool.step()

    os.truncate(path, 0)
    house.spool.step()
    house.spool.step()
    with path.open("ab") as writer:
        writer.write(line(7))
    holder.release()
    house.spool.step()

    assert house.numbers() == [0, 1, 2, 7]
    assert logged(log, "file_truncated") == ["file_truncated name=a.jsonl size=0"]


def test_a_file_emptied_in_place_and_filled_further_is_taken_from_its_beginning(
    house: SpoolHouse, hold: Hold
) -> None:
    """Between two looks, so that it was never seen shorter: its bytes tell."""
    path = house.put("a.jsonl", lines(range(3)))
    holder = hold(path)
    house.spool.step()

    os.truncate(path, 0)
    with path.open("ab") as writer:
        writer.write(lines(range(10, 14)))
    house.spool.step()
    holder.release()
    house.spool.step()

    assert house.numbers() == [0, 1, 2, 10, 11, 12, 13]


def test_a_line_written_between_the_last_look_and_the_removal_is_not_lost(
    house: SpoolHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the commit of what was the end, the file is not as it was: it stays."""
    path = house.put("a.jsonl", line(0))
    remove = house.spool._removal.remove

    def appending(file: SpoolFile) -> bool:
        with path.open("ab") as writer:
            writer.write(line(1))
        monkeypatch.setattr(house.spool._removal, "remove", remove)
        return remove(file)

    monkeypatch.setattr(house.spool._removal, "remove", appending)
    house.spool.step()
    assert house.numbers() == [0]
    assert house.progress()[0].finished_ctime_ns is None

    house.restart()
    house.spool.step()
    assert house.numbers() == [0, 1]
    assert house.names() == []


def test_a_torn_line_is_not_taken_while_its_end_is_coming(
    house: SpoolHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had settled; but after it was read, and before it was judged, it grew."""
    path = house.put("a.jsonl", line(0)[:40])
    house.spool.step()
    house.wait(SETTLE_SECONDS)

    def late(fd: int) -> Writers:
        with path.open("ab") as writer:
            writer.write(line(0)[40:])
        monkeypatch.undo()
        return writers_of(fd)

    monkeypatch.setattr("leanbase_relay.intake.lease.writers_of", late)
    house.spool.step()
    house.spool.step()

    assert house.numbers() == [0]
    assert house.letters() == []


def test_another_file_renamed_to_the_same_name_is_not_removed_in_its_place(
    house: SpoolHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.put("a.jsonl", line(0))
    remove = house.spool._removal.remove

    def overtaken(file: SpoolFile) -> bool:
        monkeypatch.setattr(house.spool._removal, "remove", remove)
        house.put("a.jsonl", line(1))
        file.trail.stamp = file.stat()  # on a file system that keeps coarse time
        return remove(file)

    monkeypatch.setattr(house.spool._removal, "remove", overtaken)
    house.spool.step()
    assert house.names() == ["a.jsonl"]

    house.spool.step()
    assert house.numbers() == [0, 1]
    assert house.names() == []
    assert house.progress() == []


# Bad lines.


def test_a_bad_line_becomes_a_dead_letter_with_file_and_line(
    house: SpoolHouse, log: pytest.LogCaptureFixture
) -> None:
    house.put("a.jsonl", line(0) + b"\n" + b"{torn\n" + line(1))

    house.spool.step()

    ((origin, reason, text),) = house.letters()
    assert (origin, text) == ("spool a.jsonl line=3", b"{torn")
    assert reason
    assert house.numbers() == [0, 1]
    assert logged(log, "file_taken") == [
        "file_taken name=a.jsonl lines=4 refused=1 blank=1"
    ]


def test_lines_are_counted_over_the_whole_file_and_over_restarts(
    house: SpoolHouse, hold: Hold
) -> None:
    path = house.put("a.jsonl", lines(range(5000)))
    holder = hold(path)
    house.spool.step()
    house.restart()

    with path.open("ab") as writer:
        writer.write(b"bad\n")
    holder.release()
    house.spool.step()

    assert [origin for origin, _, _ in house.letters()] == ["spool a.jsonl line=5001"]


def test_a_line_without_end_is_refused_without_being_kept(tmp_path: Path) -> None:
    with SpoolHouse(tmp_path, max_event_bytes=1000) as house:
        house.put("a.jsonl", line(0) + b"x" * (5 << 20) + b"\n" + line(1))

        house.spool.step()

        ((origin, reason, text),) = house.letters()
        assert origin == "spool a.jsonl line=2"
        assert reason == "line is longer than events.max_bytes (1000 bytes)"
        assert text == b"x" * (64 << 10)
        assert house.numbers() == [0, 1]


def test_a_line_without_end_is_not_read_again_in_each_scan(
    house: SpoolHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0
    pread = os.pread

    def counting(fd: int, size: int, offset: int) -> bytes:
        nonlocal read
        found = pread(fd, size, offset)
        read += len(found)
        return found

    with (house.path / "a.jsonl").open("wb", buffering=0) as writer:
        writer.write(line(0) + b"x" * (8 << 20))
        house.spool.step()
        monkeypatch.setattr("os.pread", counting)
        house.spool.step()
        assert read < 1 << 20

        writer.write(b"x\n" + line(1))
        house.spool.step()

    assert house.numbers() == [0, 1]
    assert [origin for origin, _, _ in house.letters()] == ["spool a.jsonl line=2"]


def test_a_line_without_end_is_refused_at_once_and_the_file_goes_when_it_has_settled(
    house: SpoolHouse,
) -> None:
    house.put("a.jsonl", line(0) + b"x" * (2 << 20))

    house.spool.step()
    assert [origin for origin, _, _ in house.letters()] == ["spool a.jsonl line=2"]
    assert house.names() == ["a.jsonl"]

    house.settle()
    assert len(house.letters()) == 1
    assert house.names() == []


def test_a_line_without_end_is_skipped_by_parts_and_no_file_waits_for_it(
    house: SpoolHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a restart goes on where the last visit ended."""
    monkeypatch.setattr("leanbase_relay.intake.spool_file.MAX_SKIPPED_BYTES", 2 << 20)
    house.put("a.jsonl", line(0) + b"x" * (5 << 20) + b"\n" + line(2) + b"bad\n")
    house.put("b.jsonl", line(1))

    house.spool.step()
    assert house.numbers() == [0, 1]
    assert "no end of a line in a.jsonl, so far: line 2, byte 3," in house.problems()
    (known,) = house.progress()
    assert (known.lines, known.within_line) == (2, True)
    assert known.offset == len(line(0)) + (3 << 20)

    house.restart()
    house.spool.step()
    assert "line 2, byte 5," in house.problems()

    house.restart()
    house.spool.step()
    assert house.numbers() == [0, 1, 2]
    assert [origin for origin, _, _ in house.letters()] == [
        "spool a.jsonl line=2",
        "spool a.jsonl line=4",
    ]
    assert house.names() == []
    assert house.problems() == ""


def test_a_file_of_another_content_does_not_begin_within_a_line(
    house: SpoolHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leanbase_relay.intake.spool_file.MAX_SKIPPED_BYTES", 1 << 20)
    path = house.put("a.jsonl", b"x" * (5 << 20))
    house.spool.step()

    path.write_bytes(line(0))
    house.restart()
    house.spool.step()

    assert house.numbers() == [0]
    assert house.names() == []


def test_a_file_of_nothing_but_a_hole_is_soon_gone(house: SpoolHouse) -> None:
    os.truncate(house.put("a.jsonl", b""), 1 << 36)

    house.settle()

    ((origin, _, text),) = house.letters()
    assert (origin, text) == ("spool a.jsonl line=1", bytes(64 << 10))
    assert house.names() == []


def test_lines_of_the_php_sdk_are_taken_as_they_are(
    tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    """Alias: no uuid, a distinct_id of null; identify: `$set` as an empty list; and
    an event that PHP could not encode, of which an empty line is left."""
    alias = (
        b'{"event":"$create_alias","properties":{"distinct_id":"anon-1",'
        b'"alias":"user-1","$lib":"posthog-php"},"distinct_id":null,'
        b'"timestamp":"2026-03-01T12:00:00.000000+00:00"}\n'
    )
    identify = (
        b'{"event":"$identify","distinct_id":"user-1","$set":[],'
        b'"properties":{"$lib":"posthog-php","url":"https:\\/\\/x"},'
        b'"timestamp":"2026-03-01T12:00:00+00:00"}\n'
    )
    with SpoolHouse(tmp_path, patterns=("posthog.log",)) as house:
        house.put("posthog.log", alias + b"\n" + identify)

        house.spool.step()

        first, second = house.events()
        assert first["distinct_id"] == "anon-1"
        assert second["distinct_id"] == "user-1"
        assert first["uuid"] != second["uuid"]
        assert house.letters() == []
        assert logged(log, "file_taken") == [
            "file_taken name=posthog.log lines=3 refused=0 blank=1"
        ]


# Names.


def test_only_names_that_match_are_taken(house: SpoolHouse) -> None:
    for name in (".a.jsonl", "a.jsonl.tmp", "a.jsonl.part", "a.log", "a.ndjson"):
        (house.path / name).write_bytes(line(0))

    house.settle()

    assert house.names() == [".a.jsonl", "a.jsonl.part", "a.jsonl.tmp", "a.log"]
    look = house.spool.snapshot()
    assert (look.waiting_files, look.ignored_files) == (0, 1)
    assert "will never take a.log" in house.problems()


def test_an_ignored_file_is_mentioned_once_in_the_log(
    house: SpoolHouse, log: pytest.LogCaptureFixture
) -> None:
    (house.path / "a.log").write_bytes(line(0))

    house.spool.step()
    house.spool.step()

    assert len(logged(log, "spool_problem kind=ignored name=a.log")) == 1


def test_nothing_but_regular_files_is_opened(house: SpoolHouse) -> None:
    outside = house.path.parent / "outside"
    outside.write_bytes(line(0))
    (house.path / "link.jsonl").symlink_to(outside)
    os.mkfifo(house.path / "fifo.jsonl")
    (house.path / "directory.jsonl").mkdir()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(house.path / "socket.jsonl"))

    house.settle()

    assert house.numbers() == []
    assert outside.exists()
    assert len(house.names()) == 4
    assert house.spool.snapshot().ignored_files == 4


def test_a_projects_directory_is_served_and_others_are_not(house: SpoolHouse) -> None:
    house.put("shop/a.jsonl", line(1) + b"bad\n")
    house.put("other/a.jsonl", line(2))
    (house.path / "shop" / "deeper").mkdir()

    house.spool.step()

    assert house.numbers("shop") == [1]
    assert house.numbers() == []
    assert [origin for origin, _, _ in house.letters()] == ["spool shop/a.jsonl line=2"]
    assert house.totals("shop").refused == 1
    assert house.names() == ["other", "shop"]
    assert house.spool.snapshot().ignored_files == 2


def test_a_projects_directory_is_not_followed_when_it_is_a_link(
    house: SpoolHouse,
) -> None:
    outside = house.path.parent / "outside"
    outside.mkdir()
    (outside / "a.jsonl").write_bytes(line(0))
    (house.path / "shop").symlink_to(outside)

    house.settle()

    assert (outside / "a.jsonl").exists()
    assert house.numbers("shop") == []


def test_a_name_with_a_newline_stays_on_one_line(
    house: SpoolHouse, log: pytest.LogCaptureFixture
) -> None:
    name = "a\nb \udcff.jsonl"
    house.put(name, b"bad\n")

    house.spool.step()

    assert house.letters()[0][0] == r"spool 'a\nb \udcff.jsonl' line=1"
    assert house.names() == []
    assert all("\n" not in record.getMessage() for record in log.records)


def test_a_file_that_has_two_names_loses_only_its_own(house: SpoolHouse) -> None:
    path = house.put("a.jsonl", line(0))
    os.link(path, house.path.parent / "kept")

    house.spool.step()

    assert house.numbers() == [0]
    assert house.names() == []
    assert (house.path.parent / "kept").read_bytes() == line(0)
