"""How a text is read and cut; in memory but for the descriptors."""

import gzip
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from leanbase_relay.intake.spool_problems import Problem, Problems, shown
from leanbase_relay.intake.spool_text import (
    KEPT_BYTES,
    Fingerprint,
    GzipText,
    PlainText,
    Run,
    Runs,
    is_gzip,
)
from leanbase_relay.store.chunk import MAX_CHUNK_BYTES
from tests.support.clock import FakeClock


class Pieces:
    """A text that comes in pieces of random sizes."""

    damage = None
    unread = b""

    def __init__(self, text: bytes, seed: int = 0, longest: int = 1 << 20) -> None:
        self._text = text
        self._at = 0
        self._random = random.Random(seed)  # noqa: S311 - dice
        self._longest = longest

    def read(self, limit: int) -> bytes:
        size = min(limit, self._random.randint(1, self._longest))
        piece = self._text[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def skip_hole(self) -> int:
        return 0


def runs_of(text: bytes, *, max_line_bytes: int = 100, longest: int = 1 << 20) -> Runs:
    return Runs(Pieces(text, longest=longest), max_line_bytes=max_line_bytes)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator["Opened"]:
    opened = Opened(tmp_path)
    yield opened
    opened.close()


class Opened:
    """Descriptors of files with some content."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._fds: list[int] = []

    def of(self, content: bytes) -> int:
        path = self._directory / str(len(self._fds))
        path.write_bytes(content)
        self._fds.append(os.open(path, os.O_RDONLY))
        return self._fds[-1]

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)


def read_all(text: PlainText | GzipText, limit: int = 1000) -> bytes:
    return b"".join(iter(lambda: text.read(limit), b""))


@pytest.mark.parametrize("longest", [3, 1000, 1 << 20])
def test_runs_and_rest_are_the_text_however_it_comes(longest: int) -> None:
    text = b"".join(b"x" * (number % 50) + b"\n" for number in range(2000)) + b"rest"
    runs = runs_of(text, longest=longest)

    cut = list(runs)

    assert b"".join(run.text for run in cut) + runs.rest == text
    assert all(run.text.endswith(b"\n") for run in cut)
    assert runs.rest == b"rest"


def test_a_run_is_at_most_one_chunk_long() -> None:
    runs = list(runs_of((b"x" * 999 + b"\n") * 5000))

    assert max(run.size for run in runs) <= MAX_CHUNK_BYTES
    assert len(runs) == 5


def test_a_line_that_is_too_long_is_skipped_to_its_end() -> None:
    long = b"y" * (3 * MAX_CHUNK_BYTES) + b"\n"

    cut = list(runs_of(b"a\n" + long + b"b\n"))

    assert [run.too_long for run in cut] == [False, True, True, False]
    assert cut[1] == Run(b"y" * KEPT_BYTES, MAX_CHUNK_BYTES, b"y" * 4096)
    assert cut[2] == Run(b"", len(long) - MAX_CHUNK_BYTES, b"y" * 4095 + b"\n")
    assert cut[3].text == b"b\n"


def test_a_line_longer_than_a_chunk_comes_whole_when_it_is_allowed() -> None:
    long = b"y" * (3 * MAX_CHUNK_BYTES) + b"\n"

    cut = list(runs_of(b"a\n" + long + b"b\n", max_line_bytes=4 * MAX_CHUNK_BYTES))

    assert [run.too_long for run in cut] == [False] * len(cut)
    assert b"".join(run.text for run in cut) == b"a\n" + long + b"b\n"


def test_a_line_known_to_be_too_long_is_skipped_on() -> None:
    runs = Runs(Pieces(b"yy\nb\n"), max_line_bytes=100, within=True)

    assert list(runs) == [Run(b"", 3, b"yy\n"), Run(b"b\n", 2)]
    assert not runs.within


def test_of_a_line_without_end_only_so_much_is_read() -> None:
    text = Pieces(b"y" * (4 * MAX_CHUNK_BYTES))
    runs = Runs(text, max_line_bytes=100, max_skipped_bytes=MAX_CHUNK_BYTES)

    first, second = runs

    assert (first.size, second.size) == (MAX_CHUNK_BYTES, MAX_CHUNK_BYTES)
    assert runs.paused
    assert len(text.read(1)) == 1


def test_a_line_that_ends_just_where_reading_has_to_is_no_line_without_end() -> None:
    text = Pieces(b"y" * (2 * MAX_CHUNK_BYTES - 1) + b"\nb\n", longest=1)
    runs = Runs(text, max_line_bytes=100, max_skipped_bytes=MAX_CHUNK_BYTES)

    assert [run.size for run in runs] == [MAX_CHUNK_BYTES, MAX_CHUNK_BYTES, 2]
    assert not runs.paused


def test_a_hole_in_a_line_that_is_too_long_is_not_read(opened: Opened) -> None:
    """64 GiB of it; then the line's end, and another line."""
    fd = opened.of(b"")
    path = Path(f"/proc/self/fd/{fd}")
    with path.open("r+b") as file:
        file.seek(1 << 36)
        file.write(b"y\nb\n")
    runs = Runs(PlainText(fd, 0, (1 << 36) + 4), max_line_bytes=100)

    first, second, third = runs

    assert first.size + second.size == (1 << 36) + 2
    assert second.end == (bytes(5000) + b"y\n")[-4096:]
    assert third.text == b"b\n"


def test_a_hole_up_to_the_end_is_not_read(opened: Opened) -> None:
    fd = opened.of(b"")
    os.truncate(f"/proc/self/fd/{fd}", 1 << 36)
    runs = Runs(PlainText(fd, 0, 1 << 36), max_line_bytes=100)

    first, second = runs

    assert first.size + second.size == 1 << 36
    assert runs.within
    assert not runs.paused


def test_a_text_ends_where_it_should_whatever_is_added(opened: Opened) -> None:
    fd = opened.of(b"a\nb\nc\nd\n")

    runs = Runs(PlainText(fd, 2, 5), max_line_bytes=100)

    assert [run.text for run in runs] == [b"b\n"]
    assert runs.rest == b"c"


@pytest.mark.parametrize("limit", [1, 7, 1000, 1 << 20])
def test_gzip_gives_the_text_of_all_members(opened: Opened, limit: int) -> None:
    parts = [os.urandom(size).hex().encode() for size in (0, 1, 5, 3000)]
    text = GzipText(opened.of(b"".join(map(gzip.compress, parts)) + bytes(10)))

    assert read_all(text, limit) == b"".join(parts)
    assert text.damage is None


@pytest.mark.parametrize("missing", [1, 7, 8, 9, 100, 2990, 3010])
def test_gzip_that_is_cut_gives_what_there_is(opened: Opened, missing: int) -> None:
    whole = os.urandom(3000).hex().encode()
    packed = gzip.compress(whole)[:-missing]
    text = GzipText(opened.of(packed))

    got = read_all(text, 1 << 20)

    assert text.damage == "truncated"
    assert whole.startswith(got)
    assert len(got) >= len(whole) - 3 * missing


def test_gzip_that_is_damaged_gives_all_before_the_damage(opened: Opened) -> None:
    """However much is asked for at once: zlib itself drops what it had."""
    packed = bytearray(gzip.compress(os.urandom(50_000).hex().encode()))
    packed[len(packed) // 2] ^= 0xFF
    packed[len(packed) // 2 + 1] ^= 0xFF

    byte_by_byte = read_all(GzipText(opened.of(bytes(packed))), 1)
    at_once = GzipText(opened.of(bytes(packed)))

    assert read_all(at_once, 1 << 20) == byte_by_byte
    assert at_once.damage == "corrupt"


@pytest.mark.parametrize(
    ("content", "name", "wanted"),
    [
        (b"\x1f\x8b", "a.jsonl", True),
        (b"{", "a.jsonl.gz", False),
        (b"", "a.jsonl.gz", False),
        (b"PK", "a.jsonl.gz", True),
        (b"PK", "a.jsonl", False),
    ],
)
def test_the_first_bytes_say_what_is_gzip(
    opened: Opened, content: bytes, name: str, *, wanted: bool
) -> None:
    assert is_gzip(opened.of(content), name) is wanted


@pytest.mark.parametrize("offset", [0, 1, 4095, 4096, 4097, 9000, 20_000])
def test_a_fingerprint_grown_is_the_one_taken_at_once(
    opened: Opened, offset: int
) -> None:
    content = os.urandom(20_000)
    grown = Fingerprint()
    for start in range(0, offset, 300):
        grown.add(content[start : min(start + 300, offset)])

    assert grown.digest() == Fingerprint.of(opened.of(content), offset).digest()


def test_a_fingerprint_goes_over_a_line_that_is_too_long(opened: Opened) -> None:
    content = b"a\n" + os.urandom(2 << 20).replace(b"\n", b" ") + b"\nb\n"
    grown = Fingerprint()
    for run in runs_of(content):
        grown.add(run.text)
        grown.add(run.end)

    fd = opened.of(content)
    assert grown.digest() == Fingerprint.of(fd, len(content)).digest()


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("shop/a-1.jsonl", "shop/a-1.jsonl"),
        ("größe.jsonl", "größe.jsonl"),
        ("a b", "'a b'"),
        ("a\nb", r"'a\nb'"),
        ("\x1b[31m", r"'\x1b[31m'"),
        ("\udcff", r"'\udcff'"),
    ],
)
def test_a_name_is_shown_on_one_line(name: str, wanted: str) -> None:
    assert shown(name) == wanted


def test_a_problem_names_a_few_files_and_counts_the_rest() -> None:
    problems = Problems(FakeClock())
    for number in range(500):
        problems.add(Problem.UNREADABLE, f"{number}", "Permission denied")

    problems.end_scan()

    (sentence,) = problems.sentences
    assert sentence.startswith("the spool cannot read 0, 1, 2 and 497 more: Permission")
    problems.end_scan()
    assert problems.sentences == ()
