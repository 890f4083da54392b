"""The end of a spool file: its removal, late lines, and starts after kills."""

import errno
import os
from pathlib import Path

import pytest

from leanbase_relay import lasting
from leanbase_relay.intake.spool_removal import MAX_REMOVED
from leanbase_relay.intake.spool_taking import MAX_IN_FLIGHT
from leanbase_relay.store.deposit import FileId, FileProgress
from tests.support.spool import (
    Hold,
    SpoolHouse,
    file_id,
    line,
    lines,
    logged,
    open_removed,
)

# After the removal.


def test_what_is_written_to_a_removed_file_is_taken_as_long_as_it_is_open(
    house: SpoolHouse,
) -> None:
    """A writer that found the file by its name in the instant before the removal."""
    house.put("a.jsonl", line(0))
    house.spool.step()
    assert house.names() == []

    with open_removed(house) as writer:
        writer.write(line(1) + line(2)[:30])
        house.spool.step()
        assert house.numbers() == [0, 1]

        house.wait(1e6)
        writer.write(line(2)[30:] + line(3)[:-1])
        house.spool.step()
        assert house.numbers() == [0, 1, 2]

    house.spool.step()
    assert house.numbers() == [0, 1, 2, 3]
    assert house.progress() == []
    assert len(house.spool._removal._removed) == 0


def test_late_lines_wait_while_the_store_is_full(house: SpoolHouse) -> None:
    house.put("a.jsonl", line(0))
    house.spool.step()
    with open_removed(house) as writer:
        writer.write(line(1))

    house.set_max_store_bytes(0)
    house.spool.step()
    house.set_max_store_bytes(1 << 30)
    house.spool.step()

    assert house.numbers() == [0, 1]


def test_removed_files_are_kept_open_only_so_many(house: SpoolHouse) -> None:
    for number in range(MAX_REMOVED + 50):
        house.put(f"{number:03}.jsonl", line(number))

    house.spool.step()
    assert (
        MAX_REMOVED <= len(house.spool._removal._removed) <= MAX_REMOVED + MAX_IN_FLIGHT
    )

    house.spool.step()
    assert len(house.spool._removal._removed) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other users' files")
def test_without_leases_a_removed_file_is_read_for_the_late_grace(
    short_dir: Path,
) -> None:
    """1. Not before it has settled. 2. Removed, and said. 3. Late lines. 4. Let go."""
    short_dir.chmod(0o755)
    with SpoolHouse(short_dir) as house:
        house.path.chmod(0o777)
        path = house.put("a.jsonl", line(0))
        path.chmod(0o644)
        writer = path.open("ab", buffering=0)
        try:
            os.seteuid(65534)
            house.spool.step()
            assert house.numbers() == [0]
            assert house.names() == ["a.jsonl"]
            assert "cannot know whether a.jsonl is still written" in house.problems()

            house.wait(10)
            house.spool.step()
            assert house.names() == []

            writer.write(line(1))
            house.wait(599)
            house.spool.step()
            assert house.numbers() == [0, 1]

            writer.write(line(2)[:-1])
            house.wait(1)
            house.spool.step()
            assert house.numbers() == [0, 1, 2]
            assert len(house.spool._removal._removed) == 0
        finally:
            os.seteuid(0)
            writer.close()


def test_a_stop_takes_a_last_look_at_removed_files(house: SpoolHouse) -> None:
    house.put("a.jsonl", line(0))
    house.spool.step()
    with open_removed(house) as writer:
        writer.write(line(1))

    house.clock.stop()
    house.spool.close()

    assert house.numbers() == [0, 1]


# Against power cuts: a name that is gone may be back until its directory was synced.


def test_a_removed_file_is_forgotten_when_its_directory_is_synced(
    house: SpoolHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for all files of a scan, and only in the directories that lost one."""
    for number in range(3):
        house.put(f"shop/{number}.jsonl", line(number))
    steps = noted_steps(house, monkeypatch)

    house.spool.step()

    assert steps == ["unlink"] * 3 + ["sync shop"] + ["forget"] * 3


def test_a_file_that_others_removed_is_forgotten_when_the_directory_is_synced(
    house: SpoolHouse, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = house.put("a.jsonl", line(0))
    hold(path)
    house.spool.step()
    path.unlink()
    steps = noted_steps(house, monkeypatch)

    house.spool.step()

    assert steps == ["sync spool", "forget"]


def test_progress_is_kept_while_the_directory_cannot_be_synced(
    house: SpoolHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    house.put("a.jsonl", line(0))
    with monkeypatch.context() as disk:
        disk.setattr("leanbase_relay.lasting.sync_names", failing)
        house.spool.step()
    assert house.names() == []
    assert len(house.progress()) == 1
    assert f"{house.path}: Input/output error" in house.problems()

    house.spool.step()

    assert house.progress() == []
    assert house.problems() == ""


def noted_steps(house: SpoolHouse, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What becomes of names and of progress from now on, in order."""
    steps: list[str] = []
    unlink, sync, forget = os.unlink, lasting.sync_names, house.writer._store.forget

    def unlinked(name: str, *, dir_fd: int) -> None:
        steps.append("unlink")
        unlink(name, dir_fd=dir_fd)

    def synced(directory: int) -> None:
        path = Path(f"/proc/self/fd/{directory}").readlink()
        steps.append(f"sync {path.name}")
        sync(directory)

    def forgotten(file: FileId) -> None:
        steps.append("forget")
        forget(file)

    monkeypatch.setattr("os.unlink", unlinked)
    monkeypatch.setattr("leanbase_relay.lasting.sync_names", synced)
    monkeypatch.setattr(house.writer._store, "forget", forgotten)
    return steps


# Against power cuts: what was taken must still stand in the file.


@pytest.mark.parametrize("count", [3, 20_000], ids=["one slice", "slices"])
def test_a_file_that_stays_is_synced_before_what_was_taken_of_it_counts(
    house: SpoolHouse, hold: Hold, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Once a visit, and not again while nothing is new."""
    path = house.put("a.jsonl", lines(range(count)))
    hold(path)
    steps = noted_progress(house, monkeypatch)

    house.spool.step()
    house.spool.step()

    assert steps[0] == "sync"
    assert {*steps[1:]} == {"progress"}
    with path.open("ab") as writer:
        writer.write(line(count))
    steps.clear()
    house.spool.step()
    assert steps == ["sync", "progress"]
    assert len(house.numbers()) == count + 1


def test_a_file_that_was_to_go_and_stays_is_synced(
    house: SpoolHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.put("a.jsonl", line(0))
    steps = noted_progress(house, monkeypatch)
    monkeypatch.setattr(house.spool._removal, "remove", lambda _: False)

    house.spool.step()
    assert steps == ["progress", "sync", "progress"]

    house.spool.step()
    assert "sync" not in steps[3:]


def test_a_file_that_is_taken_at_once_needs_no_sync(
    house: SpoolHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.put("a.jsonl", line(0))
    steps = noted_progress(house, monkeypatch)

    house.spool.step()

    assert steps == ["progress"]


def test_what_is_added_after_the_sync_is_left_for_the_next_visit(
    house: SpoolHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = house.put("a.jsonl", line(0))
    pread = os.pread

    def adding(fd: int, size: int, offset: int) -> bytes:
        if offset == 0 and size > 2 and path.stat().st_size < 2 * len(line(0)):
            with path.open("ab") as writer:
                writer.write(line(1))
        return pread(fd, size, offset)

    monkeypatch.setattr("os.pread", adding)
    house.spool.step()
    assert house.numbers() == [0]

    house.spool.step()
    assert house.numbers() == [0, 1]
    assert house.names() == []


def noted_progress(house: SpoolHouse, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Syncs of spool files, and progress that reaches the store, in order."""
    steps: list[str] = []
    set_progress = house.writer._store.set_progress

    def synced(_: int) -> None:
        steps.append("sync")

    def told(progress: FileProgress) -> None:
        steps.append("progress")
        set_progress(progress)

    monkeypatch.setattr("os.fdatasync", synced)
    monkeypatch.setattr(house.writer._store, "set_progress", told)
    return steps


# Starts after kills.


def test_a_finished_file_that_a_kill_left_is_only_removed(
    house: SpoolHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.put("a.jsonl", lines(range(3)))
    monkeypatch.setattr(house.spool._taker, "_on_finished", lambda _: None)
    house.spool.step()
    assert house.progress()[0].finished_ctime_ns is not None

    house.restart()
    house.spool.step()

    assert house.numbers() == [0, 1, 2]
    assert house.names() == []
    assert house.progress() == []


def test_a_new_file_under_a_reused_inode_is_taken_from_its_beginning(
    house: SpoolHouse,
) -> None:
    """A kill left progress of a removed file; the new one has even its content."""
    path = house.put("a.jsonl", lines(range(3)))
    house.spool._book._forgotten = _Forgetful()
    house.spool.step()
    (stale,) = house.progress()
    assert house.names() == []

    path = house.put("b.jsonl", lines(range(3)))
    house.restart()
    house.spool._book._progress = {file_id(path): stale}
    house.spool.step()

    assert house.numbers() == [0, 1, 2] * 2
    assert house.names() == []


class _Forgetful(set):  # type: ignore[type-arg]
    def add(self, _: object) -> None:
        pass


def test_progress_of_another_content_is_not_believed(
    house: SpoolHouse, hold: Hold
) -> None:
    old = house.put("a.jsonl", lines(range(3)))
    holder = hold(old)
    house.spool.step()
    (stale,) = house.progress()
    holder.release()
    old.unlink()

    new = house.put("b.jsonl", lines(range(5, 10)))
    house.restart()
    house.spool._book._progress = {file_id(new): stale}
    house.spool.step()

    assert house.numbers() == [0, 1, 2, 5, 6, 7, 8, 9]


def test_progress_goes_with_a_disk_that_has_another_number_after_a_start(
    house: SpoolHouse, hold: Hold
) -> None:
    path = house.put("a.jsonl", lines(range(3)))
    holder = hold(path)
    house.spool.step()
    renumber_the_disk(house)
    assert file_id(path) not in [known.file for known in house.progress()]

    house.spool.step()
    assert house.numbers() == [0, 1, 2]
    (progress,) = house.progress()
    assert (progress.file, progress.lines) == (file_id(path), 3)

    house.restart()
    with path.open("ab") as writer:
        writer.write(line(3))
    holder.release()
    house.spool.step()
    assert house.numbers() == [0, 1, 2, 3]
    assert house.progress() == []


def test_a_finished_file_is_only_removed_from_a_disk_of_another_number(
    house: SpoolHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.put("a.jsonl", lines(range(3)))
    monkeypatch.setattr(house.spool._taker, "_on_finished", lambda _: None)
    house.spool.step()
    renumber_the_disk(house)

    house.spool.step()

    assert house.numbers() == [0, 1, 2]
    assert house.names() == []
    assert house.progress() == []


def test_a_file_of_another_content_is_none_of_a_disk_that_is_not_there(
    house: SpoolHouse, hold: Hold, log: pytest.LogCaptureFixture
) -> None:
    """The disk may come back, so its progress is kept."""
    path = house.put("a.jsonl", lines(range(3)))
    holder = hold(path)
    house.spool.step()
    renumber_the_disk(house)
    (known,) = house.progress()
    path.write_bytes(line(7))

    house.spool.step()
    holder.release()
    house.spool.step()

    assert house.numbers() == [0, 1, 2, 7]
    assert house.names() == []
    assert house.progress() == [known]
    assert logged(log, "file_truncated") == []


def renumber_the_disk(house: SpoolHouse) -> None:
    """As if the spool's disk had had another number before this start."""
    with house.changing() as store:
        store.execute("update spool_file set device = device + 1")
    house.restart()


def test_progress_of_files_that_others_removed_is_forgotten(
    house: SpoolHouse, hold: Hold
) -> None:
    path = house.put("a.jsonl", line(0))
    holder = hold(path)
    house.spool.step()
    assert len(house.progress()) == 1

    path.unlink()
    holder.release()
    house.spool.step()

    assert house.progress() == []


def test_progress_survives_a_time_under_a_hidden_name(
    house: SpoolHouse, hold: Hold
) -> None:
    path = house.put("a.jsonl", line(0))
    holder = hold(path)
    house.spool.step()
    hidden = path.rename(house.path / ".a.jsonl")
    house.spool.step()

    hidden.rename(path)
    holder.release()
    house.spool.step()

    assert house.numbers() == [0]


def test_progress_survives_a_time_without_the_directory(
    house: SpoolHouse, hold: Hold
) -> None:
    holder = hold(house.put("a.jsonl", line(0)))
    house.spool.step()
    away = house.path.rename(house.path.with_name("away"))
    house.path.write_bytes(b"")
    house.spool.step()
    assert "cannot be served" in house.problems()

    house.path.unlink()
    away.rename(house.path)
    holder.release()
    house.spool.step()

    assert house.numbers() == [0]


def test_progress_survives_a_time_in_which_a_project_is_not_configured(
    house: SpoolHouse, hold: Hold
) -> None:
    holder = hold(house.put("shop/a.jsonl", line(0)))
    house.spool.step()
    house.restart(projects=frozenset({"default"}))
    house.spool.step()
    house.restart()

    holder.release()
    house.spool.step()

    assert house.numbers("shop") == [0]
    assert house.names() == ["shop"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other users' directories")
def test_progress_survives_a_time_in_which_a_directory_cannot_be_read(
    short_dir: Path, hold: Hold
) -> None:
    short_dir.chmod(0o755)
    with SpoolHouse(short_dir) as house:
        holder = hold(house.put("shop/a.jsonl", line(0)))
        (house.path / "shop").chmod(0o700)
        house.spool.step()
        try:
            os.seteuid(65534)
            house.spool.step()
        finally:
            os.seteuid(0)
        assert "cannot be served: shop: Permission denied" in house.problems()

        holder.release()
        house.spool.step()

        assert house.numbers("shop") == [0]
