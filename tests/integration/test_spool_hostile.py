"""What may lie in a spool directory that everybody in the group may write to."""

import os
import stat
from pathlib import Path

import pytest

from leanbase_relay.intake.spool_directory import SpoolDirectory, open_file
from leanbase_relay.intake.spool_file import SpoolFile
from leanbase_relay.intake.spool_problems import Problems
from tests.support.clock import FakeClock
from tests.support.spool import PROJECTS, SpoolHouse, line, lines, logged

ENDLESS = os.makedev(1, 5)  # /dev/zero


def test_a_device_with_the_name_of_a_file_is_not_opened(house: SpoolHouse) -> None:
    device = house.path / "zero.jsonl"
    try:
        os.mknod(device, stat.S_IFCHR | 0o600, ENDLESS)
    except PermissionError:
        pytest.skip("NOT TESTED: a device in the spool; needs CAP_MKNOD")
    house.put("a.jsonl", line(1))

    house.settle()

    assert house.numbers() == [1]
    assert house.names() == ["zero.jsonl"]
    assert "it is no regular file" in house.problems()


@pytest.mark.parametrize("what", ["fifo", "directory", "link"])
def test_what_changes_its_kind_between_listing_and_opening_is_not_read(
    tmp_path: Path, clock: FakeClock, what: str
) -> None:
    """And nothing waits for somebody to write to a FIFO."""
    secret = tmp_path / "secret"
    secret.write_bytes(line(1))
    spool = tmp_path / "spool"
    spool.mkdir()
    path = spool / "a.jsonl"
    path.write_bytes(line(0))
    directory = SpoolDirectory(spool, patterns=["*.jsonl"], projects=PROJECTS)
    with directory.listed(Problems(clock), set()) as listing:
        (entry,) = listing.entries
        path.unlink()
        if what == "fifo":
            os.mkfifo(path)
        elif what == "directory":
            path.mkdir()
        else:
            path.symlink_to(secret)

        if what == "link":
            with pytest.raises(OSError, match="symbolic links"):
                open_file(entry)
        else:
            assert open_file(entry) is None


def test_a_file_cut_short_while_it_is_read_harms_no_other(
    house: SpoolHouse, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    path = house.put("a.jsonl", lines(range(20_000)))
    house.put("b.jsonl", line(30_000))
    note = house.spool._taker._on_committed

    def cutting(file: SpoolFile) -> None:
        note(file)
        if file.name == "a.jsonl":
            os.truncate(path, 0)

    monkeypatch.setattr(house.spool._taker, "_on_committed", cutting)
    house.spool.step()
    monkeypatch.undo()
    before = house.numbers()
    assert 0 < len(before) < 20_001
    assert before == [*range(len(before) - 1), 30_000]

    with path.open("ab") as writer:
        writer.write(line(40_000))
    house.spool.step()

    assert house.numbers() == [*before, 40_000]
    assert house.letters() == []
    assert house.names() == []
    assert len(logged(log, "file_truncated")) == 1


def test_a_file_that_is_replaced_while_it_is_read_is_taken_as_the_two_that_they_are(
    house: SpoolHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.put("a.jsonl", lines(range(20_000)))
    note = house.spool._taker._on_committed
    replaced: list[Path] = []

    def replacing(file: SpoolFile) -> None:
        note(file)
        if not replaced:
            replaced.append(house.put("a.jsonl", lines(range(20_000, 20_003))))

    monkeypatch.setattr(house.spool._taker, "_on_committed", replacing)
    house.spool.step()
    house.spool.step()

    assert house.numbers() == list(range(20_003))
    assert house.names() == []
