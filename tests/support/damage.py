"""Stores with known content, ways to damage them, and what must be so afterwards."""

import hashlib
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from leanbase_relay.errors import RelayError, StoreDamaged
from leanbase_relay.forward.letter import of_chunk
from leanbase_relay.store import aside, pages, tables
from leanbase_relay.store.chunk import Chunk, Damaged, join, unpack
from leanbase_relay.store.damage import is_damage
from leanbase_relay.store.deposit import DeadLetter, FileId, FileProgress
from leanbase_relay.store.image import Image
from leanbase_relay.store.reader import Reader, StoredChunk
from leanbase_relay.store.recovery import Recovery
from leanbase_relay.store.row import row_of
from leanbase_relay.store.schema import PAGE_BYTES
from leanbase_relay.store.store import Store
from leanbase_relay.store.totals import Position, Totals
from tests.support.clock import FakeClock

PROJECTS = ("default", "shop")
NOW_MS = 1_800_000_000_000
NO_LIMIT = 1 << 40
OTHERS = 1_000_000  # what the second events of chunks are numbered from


@dataclass(frozen=True)
class Content:
    """A store's content, and where in its file it is.

    Attributes:
        path: of the store.
        data: of each waiting chunk, as it is stored.
        events: how many each of them has.
        places: the page of each chunk's row, and those on which it goes on.
        leaves: the pages of each table that have its rows.
        totals: of each project.
    """

    path: Path
    data: Mapping[int, bytes]
    events: Mapping[int, int]
    places: Mapping[int, tuple[int, ...]]
    leaves: Mapping[str, list[int]]
    totals: Mapping[str, Totals]
    roots: Mapping[str, int] = field(default_factory=dict)

    def copy_to(self, directory: Path) -> Path:
        """A copy of its files, as a kill or a stop leaves them."""
        for part in ("", "-wal"):
            source = self.path.with_name(self.path.name + part)
            if source.exists() and source.stat().st_size:
                shutil.copyfile(source, directory / source.name)
        return directory / self.path.name


def event(number: int, size: int) -> bytes:
    """An event that the upstream takes, with so many bytes that do not compress."""
    noise = hashlib.shake_256(b"%d" % number).hexdigest(size // 2 + 1)
    return (
        b'{"event":"e","distinct_id":"u","timestamp":"2026-03-01T12:00:00Z",'
        b'"uuid":"%s","properties":{"x":"%s"}}'
        % (uuid(number).encode(), noise.encode())
    )


def uuid(number: int) -> str:
    return f"01890a5d-ac96-774b-bcce-{number:012x}"


def fill(store: Store, *, chunks: int, longest: int, first: int = 0) -> None:
    """Chunks of two projects, of which some are passed, and all else a store has."""
    for number in range(first, first + chunks):
        size = 20 + number * 7919 % longest
        events = [event(number, size), event(number + OTHERS, 1)]
        with store.transaction():
            chunk = Chunk(
                PROJECTS[number % 3 == 0],
                len(events),
                join(events),
                identified=(number * 7919,),
            )
            store.append(row_of(chunk, stamped=None), now_ms=NOW_MS + number)
            if number % 10 == 0:
                _fill_others(store, number)
    with store.transaction():
        store.ack("default", Position(first + chunks // 5, 0))
        mine = _ids(store, "default")
        store.ack("default", Position(mine[0], 1))
        letter = DeadLetter("upstream", "shop", "answered 400", "store", b"{}")
        store.bury("shop", Position(_ids(store, "shop")[0], 1), letter, now_ms=NOW_MS)


def _fill_others(store: Store, number: int) -> None:
    line = b"x" * (number * 97 % 9000)
    letter = DeadLetter("intake", "default", "no JSON", "socket", line)
    store.refuse(letter, now_ms=NOW_MS)
    progress = FileProgress(FileId(1, number), f"{number}.jsonl", 4, 5, b"digest")
    store.set_progress(progress)


def _ids(store: Store, project: str) -> list[int]:
    rows = store._conn.execute(
        "select id from chunk where project = ? order by id", (project,)
    )
    return [number for (number,) in rows]


def stopped_store(path: Path, *, chunks: int, longest: int) -> Content:
    """Make a store, fill it and close it; what it has."""
    store = Store.open(path)
    fill(store, chunks=chunks, longest=longest)
    store.close()
    return known(path)


def known(path: Path) -> Content:
    """What a sound store has. Nobody has it open."""
    with Image(path) as image:
        schema = tables.read_schema(image)
        found = tables.find(image)
        places = {}
        for leaf in found["chunk"].reached:
            page = image.page(leaf)
            assert page is not None
            for cell in pages.cells(page, leaf):
                assert cell is not None
                assert cell.rowid is not None
                places[cell.rowid] = (leaf, *_chain(image, cell))
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as conn:
        rows = conn.execute("select id, data, events from chunk").fetchall()
    with closing(Reader(path)) as reader:
        totals = reader.totals()
    return Content(
        path,
        {number: data for number, data, _ in rows},
        {number: events for number, _, events in rows},
        places,
        {name: table.reached for name, table in found.items()},
        totals,
        schema.roots,
    )


def _chain(image: Image, cell: pages.Cell) -> Iterator[int]:
    left, number = cell.size - len(cell.local), cell.overflow
    while left > 0:
        yield number
        page = image.page(number)
        assert page is not None
        number = int.from_bytes(page[:4])
        left -= pages.OVERFLOW_BYTES


def overwrite(path: Path, at: int, data: bytes) -> None:
    """Put other bytes in their place."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def overwrite_page(path: Path, number: int, data: bytes, at: int = 0) -> None:
    overwrite(path, (number - 1) * PAGE_BYTES + at, data)


def page_of(path: Path, number: int) -> bytes:
    with path.open("rb") as file:
        file.seek((number - 1) * PAGE_BYTES)
        return file.read(PAGE_BYTES)


def noise(seed: int, size: int = PAGE_BYTES) -> bytes:
    return hashlib.shake_256(b"noise %d" % seed).digest(size)


def opened(path: Path) -> Store:
    """As the daemon opens it."""
    return Recovery(path, FakeClock(), PROJECTS, lambda: False).open()


def salvaged_ids(path: Path, content: Content) -> set[int]:
    """The chunks that are in a store, just as they were."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as conn:
        rows = conn.execute("select id, data, events from chunk").fetchall()
    return {
        number
        for number, data, events in rows
        if data == content.data.get(number) and events == content.events[number]
    }


def check_sums(store: Store) -> None:
    """What must be so at every moment."""
    ask = store._conn.execute
    assert ask("pragma integrity_check").fetchall() == [("ok",)]
    for name, totals in store.totals.items():
        rows = ask(
            "select id, events, bytes from chunk where project = ?", (name,)
        ).fetchall()
        position = totals.position
        done = position.events
        assert sum(events for _, events, _ in rows) - done == totals.backlog_events
        assert sum(size for *_, size in rows) == totals.backlog_bytes
        assert all(number >= position.chunk for number, *_ in rows)
        assert not done or position.chunk in {number for number, *_ in rows}
        counts = (totals.accepted, totals.delivered, totals.dead, totals.dropped)
        assert min(counts) >= 0
        letters = ask(
            "select count(*), coalesce(sum(length(line) + 200), 0)"
            " from dead_letter where project = ?",
            (name,),
        ).fetchone()
        assert letters == (totals.dead_letters, totals.dead_letter_bytes)
    ((given,),) = ask("select seq from sqlite_sequence where name = 'chunk'").fetchall()
    (highest,) = ask("select coalesce(max(id), 0) from chunk").fetchone()
    assert given >= highest


def drain(path: Path) -> tuple[dict[int, int], dict[str, Totals]]:
    """Start, deliver all of the backlog as lanes do, start anew where damage is met.

    Returns:
        The chunks that were delivered, with the number of their events; the totals.
    """
    delivered: dict[int, int] = {}
    for _ in range(3):
        store = opened(path)
        reader = Reader(path)
        try:
            check_totals(store)
            _append_one(store)
            for project in PROJECTS:
                _drain_one(store, reader, project, delivered)
            return delivered, dict(store.totals)
        except (sqlite3.DatabaseError, StoreDamaged) as error:
            if not is_damage(error):
                raise
            aside.suspect(path, str(error))
        finally:
            reader.close()
            store.close()
    raise AssertionError("a loop of recoveries")


def check_totals(store: Store) -> None:
    for totals in store.totals.values():
        assert totals.are_sound


def _append_one(store: Store) -> None:
    with store.transaction():
        store.append(row_of(Chunk("default", 1, b'{"new":1}'), stamped=None), now_ms=1)


def _drain_one(
    store: Store, reader: Reader, project: str, delivered: dict[int, int]
) -> None:
    position = store.totals.get(project, Totals()).position
    while chunks := reader.peek(project, position, max_events=1, max_bytes=NO_LIMIT):
        (chunk,) = chunks
        after = Position(chunk.id + 1, 0)
        with store.transaction():
            if _is_whole(chunk):
                store.ack(project, after)
                delivered[chunk.id] = chunk.events
            else:
                letter = of_chunk(project, chunk, "damaged")
                store.bury(project, after, letter, now_ms=NOW_MS)
        position = after


def _is_whole(chunk: StoredChunk) -> bool:
    try:
        unpack(chunk.packed)
    except Damaged:
        return False
    return True


def refusal(path: Path) -> RelayError:
    """What a start says that must fail; it must have touched nothing."""
    before = {
        file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()
    }
    try:
        opened(path).close()
    except RelayError as error:
        after = {
            file.name: file.read_bytes()
            for file in path.parent.iterdir()
            if file.is_file()
        }
        assert after == before, "something was touched"
        return error
    raise AssertionError("it started")
