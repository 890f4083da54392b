"""Kills at each gap in the way of a spool file: nothing lost, nothing twice."""

import gzip
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.spool import SpoolHouse, file_id, line, lines

pytestmark = pytest.mark.process

LARGE = 12_000  # events in two slices or more
POINTS = [
    ("before submit", 1),
    ("before submit", 2),
    ("before submit", 3),
    ("before commit", 1),
    ("before commit", 2),
    ("after commit", 1),
    ("after commit", 2),
    ("after commit", 3),
    ("before unlink", 1),
    ("before unlink", 2),
    ("after unlink", 1),
    ("after unlink", 2),
    ("before forget", 1),
]


def run(directory: Path, point: str = "none", times: int = 1) -> int:
    """Two scans in a child; its exit code."""
    command = [sys.executable, "-m", "tests.support.spool_child"]
    root = Path(__file__).parent.parent.parent
    child = subprocess.run(
        [*command, str(directory), point, str(times)], cwd=root, check=False
    )
    return child.returncode


@pytest.mark.parametrize(("point", "times"), POINTS)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_every_line_is_taken_once_over_a_kill(
    tmp_path: Path, point: str, times: int, *, packed: bool
) -> None:
    """A file of several slices, and a small one behind it; then a start in peace."""
    fill(tmp_path, packed=packed)

    killed = run(tmp_path, point, times)
    ended = run(tmp_path)

    assert (killed, ended) == (-signal.SIGKILL, 0)
    assert_all_taken_once(tmp_path)


def fill(directory: Path, *, packed: bool) -> None:
    spool = directory / "spool"
    spool.mkdir()
    content = lines(range(LARGE))
    large = spool / ("a.jsonl.gz" if packed else "a.jsonl")
    large.write_bytes(gzip.compress(content) if packed else content)
    small = spool / "b.jsonl"
    small.write_bytes(line(LARGE))
    os.utime(large, ns=(0, 1))
    os.utime(small, ns=(0, 2))


def assert_all_taken_once(directory: Path) -> None:
    with SpoolHouse(directory) as house:
        assert house.numbers() == list(range(LARGE + 1))
        assert house.names() == []
        assert house.progress() == []


def test_a_file_under_the_inode_of_a_removed_one_is_taken_whole_after_a_kill(
    tmp_path: Path,
) -> None:
    """Killed after the unlink; the next file has the same inode, size and content."""
    path = tmp_path / "spool" / "a.jsonl"
    path.parent.mkdir()
    path.write_bytes(lines(range(3)))
    inode = file_id(path)
    assert run(tmp_path, "after unlink") == -signal.SIGKILL
    spare = []
    for number in range(100):
        path.write_bytes(lines(range(3)))
        if file_id(path) == inode:
            break
        spare.append(path.rename(tmp_path / str(number)))
    else:
        pytest.skip("this file system does not use inode numbers again")

    assert run(tmp_path) == 0

    with SpoolHouse(tmp_path) as house:
        assert house.numbers() == [0, 1, 2] * 2
        assert house.names() == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_kills_at_any_moment_lose_nothing_and_take_nothing_twice(
    tmp_path: Path, seed: int
) -> None:
    """Files of all sizes keep coming, while the spool is killed again and again."""
    chance = random.Random(seed)  # noqa: S311 - dice
    spool = tmp_path / "spool"
    spool.mkdir()
    command = [sys.executable, "-m", "tests.support.spool_child", str(tmp_path)]
    root = Path(__file__).parent.parent.parent
    sent = 0

    for round_ in range(12):
        child = subprocess.Popen([*command, "none", "1"], cwd=root)
        for number in range(chance.randrange(1, 30)):
            count = chance.choice([1, 10, 5000])
            other = spool / ".other"
            other.write_bytes(lines(range(sent, sent + count)))
            other.rename(spool / f"{round_:02}-{number:02}.jsonl")
            sent += count
        try:
            child.wait(chance.uniform(0.3, 0.8))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    assert run(tmp_path) == 0

    with SpoolHouse(tmp_path) as house:
        assert sorted(house.numbers()) == list(range(sent))
        assert house.names() == []
        assert house.progress() == []
