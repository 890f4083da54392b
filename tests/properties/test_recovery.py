"""A store that is damaged anywhere: it starts, and all that can be read is delivered.

What can be read is known without our reader: each chunk of which no page was touched.
"""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanbase_relay.store import aside, wal
from leanbase_relay.store.schema import PAGE_BYTES
from leanbase_relay.store.store import Store
from leanbase_relay.store.totals import Totals
from tests.support.damage import (
    Content,
    check_totals,
    drain,
    fill,
    known,
    noise,
    opened,
    stopped_store,
)

FRAME = 24 + PAGE_BYTES
MEMORY = Path("/dev/shm")  # noqa: S108 - where names are made safely


@dataclass(frozen=True)
class Harm:
    """What is done to a file; places are shares of it.

    Attributes:
        flips: bits that are turned over.
        holes: places, lengths, and what is there then: zeros, or noise.
        cut: where it ends from now on; None leaves it.
    """

    flips: tuple[tuple[float, int], ...] = ()
    holes: tuple[tuple[float, int, int], ...] = ()
    cut: float | None = None

    def done_to(self, data: bytes) -> bytes:
        harmed = bytearray(data)
        for share, bit in self.flips:
            harmed[int(share * len(data))] ^= 1 << bit
        for share, length, seed in self.holes:
            at = int(share * len(data))
            hole = noise(seed, length) if seed else bytes(length)
            harmed[at : at + length] = hole[: len(data) - at]
        return bytes(
            harmed if self.cut is None else harmed[: int(self.cut * len(data))]
        )


SHARES = st.floats(0, 1, exclude_max=True)
# The first pages of a file are those that lead to all others.
PLACES = SHARES | SHARES.map(lambda share: share * 0.15)
HARMS = st.builds(
    Harm,
    flips=st.lists(st.tuples(PLACES, st.integers(0, 7)), max_size=8).map(tuple),
    holes=st.lists(
        st.tuples(PLACES, st.integers(1, 12_000), st.integers(0, 99)), max_size=3
    ).map(tuple),
    cut=st.none() | st.none() | SHARES,
)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Content:
    path = tmp_path_factory.mktemp("stopped") / "relay.db"
    return stopped_store(path, chunks=50, longest=9000)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Content:
    """Half of it is in the log alone."""
    directory = tmp_path_factory.mktemp("killed")
    store = Store.open(directory / "at-work.db")
    fill(store, chunks=40, longest=9000)
    store.truncate_log()
    fill(store, chunks=20, longest=9000, first=40)
    for part in ("", "-wal"):
        shutil.copyfile(f"{store.path}{part}", directory / f"relay.db{part}")
    store.close()
    return known(directory / "relay.db")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Content:
    """Each table is one page, so that a flip hits what matters."""
    path = tmp_path_factory.mktemp("small") / "relay.db"
    return stopped_store(path, chunks=12, longest=20)


def cells_of(content: Content, table: str) -> list[int]:
    """Where in the file the heads and rows of a table of one page stand."""
    (leaf,) = content.leaves[table]
    at = (leaf - 1) * PAGE_BYTES
    page = content.path.read_bytes()[at : at + PAGE_BYTES]
    rows, start = int.from_bytes(page[3:5]), int.from_bytes(page[5:7])
    return [at + place for place in (*range(8 + 2 * rows), *range(start, PAGE_BYTES))]


def untouched(content: Content, path: Path) -> set[int]:
    """The chunks whose pages are where they were, as they were."""
    whole, harmed = content.path.read_bytes(), path.read_bytes()
    log = log_of(content.path)
    frames, upto, whole_log, harmed_log = {}, 0, b"", b""
    if log_of(path).exists():
        whole_log, harmed_log = log.read_bytes(), log_of(path).read_bytes()
        with log.open("rb") as file:
            frames = wal.read_log(file).pages
        upto = last_commit(whole_log)

    def is_whole(page: int) -> bool:
        if page in frames:  # what may be torn, and was never promised, does not count
            place = slice(frames[page] - 24, frames[page] + PAGE_BYTES)
            return place.stop <= upto and whole_log[place] == harmed_log[place]
        place = slice((page - 1) * PAGE_BYTES, page * PAGE_BYTES)
        return whole[place] == harmed[place]

    return {n for n, pages in content.places.items() if all(map(is_whole, pages))}


def log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def last_commit(log: bytes) -> int:
    """Where the last commit but one ends."""
    ends = [
        at + FRAME
        for at in range(32, len(log) - FRAME + 1, FRAME)
        if log[at + 8 : at + 16] == log[16:24] and any(log[at + 4 : at + 8])
    ]
    return ends[-2]


@contextmanager
def copy_of(content: Content) -> Iterator[Path]:
    # In memory where there is such a place: hundreds of syncs are not the question.
    memory = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="relay-harm-", dir=memory) as directory:
        yield content.copy_to(Path(directory))


def check(content: Content, path: Path) -> None:
    readable = untouched(content, path)

    delivered, totals = drain(path)

    assert readable <= set(delivered)
    for name, one in totals.items():
        assert one.backlog_events == 0, "events that never leave"
        before = content.totals.get(name, Totals())
        if one.delivered >= before.delivered > 0:  # else the totals began anew
            assert one.dead >= before.dead
    assert len(aside.reports(path)) <= 2


def run_examples(number: int) -> settings:
    return settings(max_examples=number, deadline=None)


@pytest.mark.parametrize("examples", [30, pytest.param(1500, marks=pytest.mark.slow)])
def test_a_stopped_store(stopped: Content, examples: int) -> None:
    @run_examples(examples)
    @given(harm=HARMS)
    def start(harm: Harm) -> None:
        with copy_of(stopped) as path:
            path.write_bytes(harm.done_to(path.read_bytes()))
            check(stopped, path)

    start()


@pytest.mark.parametrize("examples", [30, pytest.param(1500, marks=pytest.mark.slow)])
def test_a_killed_store(killed: Content, examples: int) -> None:
    @run_examples(examples)
    @given(file=HARMS, log=HARMS)
    def start(file: Harm, log: Harm) -> None:
        with copy_of(killed) as path:
            path.write_bytes(file.done_to(path.read_bytes()))
            log_of(path).write_bytes(log.done_to(log_of(path).read_bytes()))
            check(killed, path)

    start()


def flipped(content: Content, flips: Iterable[tuple[int, int]]) -> None:
    """The store starts, and its accounts add up."""
    with copy_of(content) as path:
        data = bytearray(path.read_bytes())
        for at, bit in flips:
            data[at] ^= 1 << bit
        path.write_bytes(data)
        with closing(opened(path)) as store:
            check_totals(store)


def test_no_flipped_bit_in_the_totals_keeps_the_relay_from_starting(
    small: Content,
) -> None:
    """A row that reads as one without values was once the end of each start."""
    for at in cells_of(small, "project"):
        for bit in range(8):
            flipped(small, [(at, bit)])


@pytest.mark.parametrize("examples", [100, pytest.param(5000, marks=pytest.mark.slow)])
def test_no_flipped_bits_of_any_table_keep_the_relay_from_starting(
    small: Content, examples: int
) -> None:
    places = [at for table in small.leaves for at in cells_of(small, table)]
    flip = st.tuples(st.sampled_from(places), st.integers(0, 7))

    @run_examples(examples)
    @given(flips=st.lists(flip, min_size=1, max_size=3))
    def start(flips: list[tuple[int, int]]) -> None:
        flipped(small, flips)

    start()
