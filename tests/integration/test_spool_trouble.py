"""The spool when the store, the disk or its directory says no."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from leanbase_relay.intake.spool_file import SpoolFile
from tests.support.clock import FakeClock
from tests.support.spool import SpoolHouse, line, lines, logged


def test_files_wait_while_the_store_is_full(
    house: SpoolHouse, log: pytest.LogCaptureFixture
) -> None:
    for number in range(5):
        house.put(f"{number}.jsonl", line(number))
    house.set_max_store_bytes(0)

    house.spool.step()
    house.spool.step()
    assert len(house.names()) == 5
    assert house.numbers() == []
    assert house.spool.snapshot().waiting_files == 5
    assert "store full" in house.problems()
    assert len(logged(log, "spool_problem kind=store")) == 1

    house.set_max_store_bytes(1 << 30)
    house.spool.step()
    assert house.numbers() == list(range(5))
    assert house.problems() == ""


def test_a_file_half_taken_when_the_store_was_full_is_continued(
    house: SpoolHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.put("a.jsonl", lines(range(20_000)))
    note = house.spool._taker._on_committed

    def filling(file: SpoolFile) -> None:
        note(file)
        house.set_max_store_bytes(0)

    monkeypatch.setattr(house.spool._taker, "_on_committed", filling)
    house.spool.step()
    assert 0 < len(house.numbers()) < 20_000

    monkeypatch.undo()
    house.set_max_store_bytes(1 << 30)
    house.spool.step()
    assert house.numbers() == list(range(20_000))
    assert house.names() == []


def test_a_directory_that_was_removed_is_made_again(house: SpoolHouse) -> None:
    house.spool.step()
    shutil.rmtree(house.path)

    house.spool.step()
    assert house.path.stat().st_mode & 0o7777 == 0o1770

    house.put("a.jsonl", line(0))
    house.spool.step()
    assert house.numbers() == [0]
    assert house.problems() == ""


def test_the_directory_is_there_before_the_first_look(house: SpoolHouse) -> None:
    """Apps write into it as soon as the relay says that it is ready."""
    house.path.rmdir()

    house.spool.prepare()

    assert house.path.stat().st_mode & 0o7777 == 0o1770


def test_a_directory_that_cannot_be_made_is_told_by_the_look(house: SpoolHouse) -> None:
    house.path.rmdir()
    house.path.write_bytes(b"a file")

    house.spool.prepare()
    assert house.problems() == ""
    house.spool.step()

    assert "the spool directory cannot be served" in house.problems()


def test_of_two_relays_one_takes_the_files_and_the_other_says_so(
    house: SpoolHouse, tmp_path: Path
) -> None:
    """Each with a store of its own; the second takes over when the first is gone."""
    house.spool.step()
    house.put("shop/a.jsonl", line(0))
    (tmp_path / "other").mkdir()
    with SpoolHouse(tmp_path / "other", spool=house.path) as second:
        second.spool.step()
        assert second.numbers("shop") == []
        assert f"another relay takes the files of {house.path}" in second.problems()

        house.spool.step()
        assert house.numbers("shop") == [0]

        house.put("b.jsonl", line(1))
        house.spool.close()
        second.spool.step()
        assert second.numbers() == [1]
        assert second.problems() == ""


def test_a_directory_that_is_made_again_is_locked_again(
    house: SpoolHouse, tmp_path: Path
) -> None:
    house.spool.step()
    shutil.rmtree(house.path)
    house.spool.step()
    (tmp_path / "other").mkdir()
    with SpoolHouse(tmp_path / "other", spool=house.path) as second:
        second.spool.step()
        assert "another relay takes the files" in second.problems()


def test_a_directory_that_cannot_be_locked_is_served(
    house: SpoolHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_locks(_: int, __: int) -> None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr("fcntl.flock", without_locks)
    house.put("a.jsonl", line(0))

    house.spool.step()

    assert house.numbers() == [0]


def test_a_directory_that_cannot_be_made_is_a_problem(house: SpoolHouse) -> None:
    house.path.rmdir()
    house.path.symlink_to("/proc/nowhere")

    house.spool.step()

    assert str(house.path) in house.problems()
    assert house.spool.snapshot().waiting_files == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other users' files")
def test_a_file_that_cannot_be_read_is_a_problem_and_no_other_waits_for_it(
    short_dir: Path, log: pytest.LogCaptureFixture
) -> None:
    short_dir.chmod(0o755)
    with SpoolHouse(short_dir) as house:
        house.path.chmod(0o777)
        unreadable = house.put("a.jsonl", line(0))
        unreadable.chmod(0o600)
        house.put("b.jsonl", line(1)).chmod(0o644)
        try:
            os.seteuid(65534)
            house.settle()
        finally:
            os.seteuid(0)

        assert house.numbers() == [1]
        assert house.names() == ["a.jsonl"]
        assert "cannot read a.jsonl: Permission denied" in house.problems()
        assert len(logged(log, "spool_problem kind=unreadable")) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other users' directories")
def test_a_file_that_cannot_be_removed_is_taken_once(short_dir: Path) -> None:
    short_dir.chmod(0o755)
    with SpoolHouse(short_dir) as house:
        house.path.chmod(0o755)
        path = house.put("a.jsonl", line(0))
        path.chmod(0o644)
        try:
            os.seteuid(65534)
            for _ in range(5):
                house.settle()
            submitted = house.writer.submit
            house.writer.submit = None  # type: ignore[assignment,method-assign]
            house.spool.step()
            house.writer.submit = submitted  # type: ignore[method-assign]
            assert house.numbers() == [0]
            assert "took a.jsonl and cannot remove it" in house.problems()
            house.restart()
            house.settle()
        finally:
            os.seteuid(0)
        with path.open("ab") as writer:
            writer.write(line(1))
        house.wait(60)
        house.settle()

        assert house.numbers() == [0, 1]
        assert house.names() == []


@pytest.mark.parametrize("call", ["open", "unlink"])
def test_files_that_cannot_be_opened_or_removed_keep_no_others_out(
    house: SpoolHouse, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """There are as many of them as one scan visits, and they are older."""
    real = getattr(os, call)

    def refusing(path: Path | str, *args: object, **kwargs: object) -> object:
        if str(path).startswith("stuck"):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return real(path, *args, **kwargs)

    monkeypatch.setattr("leanbase_relay.intake.spool_directory.MAX_ENTRIES", 3)
    monkeypatch.setattr(os, call, refusing)
    stuck = [house.put(f"stuck{number}.jsonl", line(0)) for number in range(3)]
    for path in stuck:
        os.utime(path, ns=(0, 0))
    house.spool.step()
    before = house.numbers()

    for number in range(2):
        house.put(f"{number}.jsonl", line(1 + number))
    house.spool.step()
    assert house.numbers() == [*before, 1, 2]
    assert len(house.names()) == 3

    monkeypatch.undo()
    house.wait(60)
    house.spool.step()
    assert house.names() == []
    assert house.numbers() in ([0, 0, 0, 1, 2], [1, 2, 0, 0, 0])
    assert house.spool._book.in_vain == set()


def test_a_stop_leaves_a_large_file_where_it_stands(
    house: SpoolHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.put("a.jsonl", lines(range(20_000)))
    note = house.spool._taker._on_committed

    def stopping(file: SpoolFile) -> None:
        note(file)
        house.clock.stop()

    monkeypatch.setattr(house.spool._taker, "_on_committed", stopping)
    house.spool.step()
    taken = len(house.numbers())
    assert 0 < taken < 20_000

    house.clock = FakeClock()
    house.restart()
    house.spool.step()
    assert house.numbers() == list(range(20_000))


def test_a_lease_break_does_not_end_the_process(tmp_path: Path) -> None:
    """Somebody opens the file for writing while the lease is held."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(line(0))
    script = """
import os, sys
from leanbase_relay.intake.lease import Writers, keep_writers_out, writers_of
fd = os.open(sys.argv[1], os.O_RDONLY)
with keep_writers_out(fd) as writers:
    assert writers is Writers.NONE
    try:
        os.open(sys.argv[1], os.O_WRONLY | os.O_NONBLOCK)
    except BlockingIOError:
        print("kept out")
with open(sys.argv[1], "ab"):
    assert writers_of(fd) is Writers.SOME
assert writers_of(fd) is Writers.NONE
"""

    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        capture_output=True,
        check=False,
        text=True,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "kept out\n", "")
