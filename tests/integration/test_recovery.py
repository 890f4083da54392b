"""A damaged store: what a start finds, what it saves, and what it leaves alone."""

import errno
import json
import logging
import os
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from leanbase_relay.errors import (
    Stopping,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
    StoreUnusable,
)
from leanbase_relay.store import aside, damage, schema
from leanbase_relay.store.chunk import Chunk, join
from leanbase_relay.store.reader import Reader
from leanbase_relay.store.recovery import Recovery
from leanbase_relay.store.reserve import Reserve
from leanbase_relay.store.row import row_of
from leanbase_relay.store.schema import PAGE_BYTES
from leanbase_relay.store.store import Store
from leanbase_relay.store.totals import Position, Totals
from tests.support.clock import FakeClock
from tests.support.damage import (
    PROJECTS,
    Content,
    check_sums,
    drain,
    event,
    fill,
    known,
    noise,
    opened,
    overwrite,
    overwrite_page,
    page_of,
    refusal,
    salvaged_ids,
    stopped_store,
)
from tests.support.root import small_disk

STAMP = "20270115T080000Z"  # the wall clock of the tests


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Content:
    """A store that was stopped; its chunks are a tree of two levels."""
    path = tmp_path_factory.mktemp("sound") / "relay.db"
    return stopped_store(path, chunks=120, longest=30_000)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Content:
    """One whose tree has a level between its root and the rows."""
    store = Store.open(tmp_path_factory.mktemp("deep") / "relay.db")
    fill(store, chunks=10, longest=20)
    with store.transaction():
        store._conn.execute(
            "insert into chunk (project, events, bytes, accepted_at_ms, checksum, data)"
            " with recursive n (i) as"
            " (select 1 union all select i + 1 from n limit 3000)"
            " select 'default', 1, 700, 1, 0, zeroblob(700) from n"
        )
        totals = store.totals["default"]
        more = {"accepted": 3000, "backlog_bytes": 3000 * 700}
        store._totals["default"] = Totals(
            **{
                name: getattr(totals, name) + more.get(name, 0)
                for name in Totals.__slots__
                if name != "position"
            },
            position=totals.position,
        )
    store.close()
    return known(store.path)


@pytest.fixture
def path(sound: Content, tmp_path: Path) -> Path:
    return sound.copy_to(tmp_path)


def recovered(path: Path) -> Store:
    """The store after a start that must have set it aside."""
    store = opened(path)
    check_sums(store)
    assert len(aside.reports(path)) == 1
    return store


def lost(path: Path) -> int:
    (report,) = aside.reports(path)
    return report.lost_events


# A whole one, and none.


def test_a_sound_store_is_opened_as_it_is(path: Path) -> None:
    before = path.read_bytes()

    opened(path).close()

    assert path.read_bytes() == before
    assert aside.reports(path) == []


def test_where_there_is_none_a_new_one_is_made(tmp_path: Path) -> None:
    opened(tmp_path / "relay.db").close()

    assert aside.reports(tmp_path / "relay.db") == []


def test_an_empty_file_is_a_new_store(tmp_path: Path) -> None:
    (tmp_path / "relay.db").touch()

    opened(tmp_path / "relay.db").close()

    assert aside.reports(tmp_path / "relay.db") == []


def test_a_first_start_that_was_killed_before_its_first_table_is_no_damage(
    tmp_path: Path,
) -> None:
    path = tmp_path / "relay.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("pragma auto_vacuum = incremental")
        conn.execute("pragma journal_mode = wal")
        conn.execute("create table _sqlite_migrations (id integer primary key)")
        conn.execute("drop table _sqlite_migrations")

    opened(path).close()

    assert aside.reports(path) == []


def test_a_store_of_an_earlier_version_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("pragma auto_vacuum = incremental")
        conn.execute("pragma journal_mode = wal")
        for statement in schema._FIRST:
            conn.execute(statement)
        conn.execute("pragma user_version = 1")

    assert damage.fault_of(path, FakeClock()) is None


# Damage of every kind. What is given: the damage, and whether events are lost by it.

Harm = Callable[[Path, Content], None]


def header(path: Path, _: Content) -> None:
    overwrite_page(path, 1, noise(1, 100))


def header_zeroed(path: Path, _: Content) -> None:
    overwrite_page(path, 1, bytes(100))


def first_page(path: Path, _: Content) -> None:
    overwrite_page(path, 1, noise(2))


def first_page_zeroed(path: Path, _: Content) -> None:
    overwrite_page(path, 1, bytes(PAGE_BYTES))


def schema_rows(path: Path, _: Content) -> None:
    overwrite_page(path, 1, noise(3, 1500), at=2000)


def the_name_of_the_chunks(path: Path, _: Content) -> None:
    overwrite(path, path.read_bytes().index(b"CREATE TABLE chunk (") + 13, b"chunj")


def a_column(path: Path, _: Content) -> None:
    overwrite(path, path.read_bytes().index(b"accepted_at_ms integer,"), b"exc")


def root_of_the_chunks(path: Path, sound: Content) -> None:
    overwrite_page(path, sound.roots["chunk"], noise(4))


def root_of_the_chunks_zeroed(path: Path, sound: Content) -> None:
    overwrite_page(path, sound.roots["chunk"], bytes(PAGE_BYTES))


def root_of_another_table(path: Path, sound: Content) -> None:
    overwrite_page(path, sound.roots["chunk"], page_of(path, sound.roots["known_id"]))


def leaf_of_chunks(path: Path, sound: Content) -> None:
    overwrite_page(path, sound.leaves["chunk"][20], noise(5))


def leaf_zeroed(path: Path, sound: Content) -> None:
    overwrite_page(path, sound.leaves["chunk"][20], bytes(PAGE_BYTES))


def some_leaves(path: Path, sound: Content) -> None:
    for leaf in sound.leaves["chunk"][10:30:3]:
        overwrite_page(path, leaf, noise(leaf))


def index_of_chunks(path: Path, sound: Content) -> None:
    overwrite_page(path, sound.roots["chunk_by_project"], noise(6))


def an_id_in_the_index(path: Path, sound: Content) -> None:
    """SQLite finds chunks by it, and passes over some without a word."""
    page = page_of(path, sound.roots["chunk_by_project"])
    at = page.index(b"default" + bytes([80, 80])) + len("default")
    overwrite_page(path, sound.roots["chunk_by_project"], b"\x01", at=at)


def map_of_pages(path: Path, _: Content) -> None:
    overwrite_page(path, 2, noise(7))


def dead_letters(path: Path, sound: Content) -> None:
    overwrite_page(path, sound.roots["dead_letter"], noise(8))


def known_ids(path: Path, sound: Content) -> None:
    overwrite_page(path, sound.roots["known_id"], noise(9))


def progress_of_files(path: Path, sound: Content) -> None:
    overwrite_page(path, sound.roots["spool_file"], noise(10))


def sequences(path: Path, sound: Content) -> None:
    overwrite_page(path, sound.roots["sqlite_sequence"], noise(11))


def totals(path: Path, sound: Content) -> None:
    overwrite_page(path, sound.roots["project"], noise(12))


def a_position(path: Path, sound: Content) -> None:
    """The lane of `default` has passed all, it says."""
    page = page_of(path, sound.roots["project"])
    position = sound.totals["default"].position.chunk
    at = page.index(bytes([position]), page.index(b"default"))
    overwrite_page(path, sound.roots["project"], b"\x7f", at=at)


def half_of_it(path: Path, _: Content) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2 + 1000)


def its_last_page(path: Path, _: Content) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - PAGE_BYTES)


def all_of_it(path: Path, _: Content) -> None:
    path.write_bytes(noise(13, path.stat().st_size))


def all_of_it_zeroed(path: Path, _: Content) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def a_few_bytes_of_text(path: Path, _: Content) -> None:
    path.write_bytes(b"hello\n")


NOTHING_LOST = (
    header,
    header_zeroed,
    first_page,
    first_page_zeroed,
    schema_rows,
    the_name_of_the_chunks,
    a_column,
    root_of_the_chunks,
    root_of_the_chunks_zeroed,
    root_of_another_table,
    index_of_chunks,
    an_id_in_the_index,
    dead_letters,
    known_ids,
    progress_of_files,
    sequences,
)
SOME_LOST = (leaf_of_chunks, leaf_zeroed, some_leaves, half_of_it, its_last_page)


@pytest.mark.parametrize("harm", NOTHING_LOST, ids=lambda harm: harm.__name__)
def test_what_is_not_damaged_is_saved(path: Path, sound: Content, harm: Harm) -> None:
    harm(path, sound)

    with closing(recovered(path)) as store:
        saved = salvaged_ids(path, sound)

        assert saved == set(sound.data)
        for name, one in store.totals.items():
            assert one.backlog_events == sound.totals[name].backlog_events
            assert one.accepted == sound.totals[name].accepted
            assert one.position == sound.totals[name].position
    assert lost(path) == 0


@pytest.mark.parametrize("harm", SOME_LOST, ids=lambda harm: harm.__name__)
def test_what_is_lost_counts_as_dead_and_has_a_letter(
    path: Path, sound: Content, harm: Harm
) -> None:
    whole = path.read_bytes()
    harm(path, sound)
    kept = path.read_bytes()

    with closing(recovered(path)) as store:
        saved = salvaged_ids(path, sound)
        letters = store._conn.execute(
            "select project, events, reason, origin, length(line) from dead_letter"
            " where reason like 'lost,%'"
        ).fetchall()

    untouched = {
        number
        for number, places in sound.places.items()
        if all(
            kept[(page - 1) * PAGE_BYTES : page * PAGE_BYTES]
            == whole[(page - 1) * PAGE_BYTES : page * PAGE_BYTES]
            for page in places
        )
    }
    assert untouched <= saved < set(sound.data)
    for name, before in sound.totals.items():
        after = store.totals[name]
        assert after.accepted == before.accepted
        assert after.delivered == before.delivered
        gone = after.dead - before.dead
        assert gone == before.backlog_events - after.backlog_events
        told = [
            (events, line) for owner, events, _, _, line in letters if owner == name
        ]
        assert told == ([(gone, 0)] if gone else [])
    assert all(origin == f"store relay.db.damaged-{STAMP}" for *_, origin, _ in letters)
    assert lost(path) == sum(events for _, events, *_ in letters) > 0


def test_a_level_of_the_tree_can_go_and_its_rows_are_found(
    deep: Content, tmp_path: Path
) -> None:
    path = deep.copy_to(tmp_path)
    root = page_of(path, deep.roots["chunk"])
    middle = int.from_bytes(root[8:12])
    assert page_of(path, middle)[0] == 0x05, "the tree is not deep"
    overwrite_page(path, middle, noise(14))

    with closing(recovered(path)):
        # Their checksum is that of no chunk here; rows that no tree leads to are
        # taken if it proves them, and are lost if not.
        assert 0 < len(salvaged_ids(path, deep)) < len(deep.data)
        assert lost(path) > 0


def test_totals_that_cannot_be_read_begin_anew(path: Path, sound: Content) -> None:
    totals(path, sound)

    with closing(recovered(path)) as store:
        assert salvaged_ids(path, sound) == set(sound.data)
        for one in store.totals.values():
            assert one.accepted == one.dead + one.backlog_events
            assert one.delivered == 0
            # Some of its chunks may be upstream already, with the stamps they have.
            assert one.frozen_chunk == max(sound.data)
    (report,) = aside.reports(path)
    assert set(report.lost.values()) == {None}
    assert "more may be lost than anybody knows" in report.sentence()


def test_a_root_that_is_another_tables_takes_nothing_from_that_one(
    path: Path, sound: Content
) -> None:
    """The schema says that the chunks begin where the dead letters do."""
    entry = b"tablechunkchunk" + bytes([sound.roots["chunk"]])
    at = path.read_bytes().index(entry) + len(entry) - 1
    overwrite(path, at, bytes([sound.roots["dead_letter"]]))
    before = sum(one.dead_letters for one in sound.totals.values())

    with closing(recovered(path)) as store:
        assert salvaged_ids(path, sound) == set(sound.data)
        letters = store._conn.execute("select count(*) from dead_letter").fetchone()
        assert letters == (before,)


def test_a_position_that_passes_over_chunks_is_not_believed(
    path: Path, sound: Content
) -> None:
    a_position(path, sound)

    with closing(recovered(path)) as store:
        assert salvaged_ids(path, sound) == set(sound.data)
        # The event that was done of its first chunk goes upstream once more.
        before, after = sound.totals["default"], store.totals["default"]
        assert after.backlog_events == before.backlog_events + 1
        assert after.accepted == before.accepted + 1


@pytest.mark.parametrize(
    "harm",
    [all_of_it, all_of_it_zeroed, a_few_bytes_of_text],
    ids=lambda harm: harm.__name__,
)
def test_where_nothing_is_left_the_relay_starts_all_the_same(
    path: Path, sound: Content, harm: Harm
) -> None:
    harm(path, sound)
    kept = path.read_bytes()

    with closing(recovered(path)) as store:
        assert all(one.backlog_events == 0 for one in store.totals.values())
    assert path.with_name(f"relay.db.damaged-{STAMP}").read_bytes() == kept


def test_a_map_that_is_damaged_hides_nothing(path: Path, sound: Content) -> None:
    """It tells which pages are free; without it, what looks like a chunk is one."""
    map_of_pages(path, sound)
    root_of_the_chunks(path, sound)

    with closing(recovered(path)):
        assert salvaged_ids(path, sound) == set(sound.data)


def test_a_page_of_rows_that_the_map_calls_the_rest_of_one_is_found(
    path: Path, sound: Content
) -> None:
    page = sound.places[60][0]
    place = 5 * (page - 3)  # page 2 is the map of those behind it
    assert page_of(path, 2)[place] == 5
    overwrite_page(path, 2, bytes([4]), place)
    first_page_zeroed(path, sound)

    with closing(recovered(path)):
        assert salvaged_ids(path, sound) == set(sound.data)


def test_what_left_the_store_long_ago_does_not_come_back(path: Path) -> None:
    with closing(Store.open(path)) as store:
        with store.transaction():
            store.drop_oldest(100_000)
        left = {n for (n,) in store._conn.execute("select id from chunk")}
        store.truncate_log()
    sound = known(path)
    root_of_the_chunks(path, sound)

    with closing(recovered(path)):
        assert salvaged_ids(path, sound) == left


# Chunks.


def test_a_flipped_bit_in_a_chunk_costs_that_chunk_alone(
    path: Path, sound: Content
) -> None:
    number = max(sound.data)
    at = path.read_bytes().index(sound.data[number][-300:])
    overwrite(path, at, b"\xff")

    delivered, after = drain(path)

    assert set(delivered) >= set(sound.data) - {number}
    assert number not in delivered
    project = next(p for p in PROJECTS if after[p].dead > sound.totals[p].dead)
    assert after[project].dead == sound.totals[project].dead + sound.events[number]
    assert all(one.backlog_events == 0 for one in after.values())
    assert aside.reports(path) == []


def test_a_chunk_whose_end_is_gone_is_buried_with_what_there_is(
    path: Path, sound: Content
) -> None:
    """Its row is cut off in the middle of its data: it goes on upon a page of noise."""
    number = next(n for n, places in sound.places.items() if len(places) > 2)
    overwrite_page(path, sound.places[number][1], b"\xff\xff\xff\xff")

    delivered, after = drain(path)

    assert set(delivered) >= set(sound.data) - {number}
    assert sum(one.dead for one in after.values()) == (
        sum(one.dead for one in sound.totals.values()) + sound.events[number]
    )
    with closing(sqlite3.connect(path)) as conn:
        rows = conn.execute("select line from dead_letter where events > 1").fetchall()
    ((line,),) = rows
    assert 0 < len(line) < len(sound.data[number])
    assert sound.data[number].startswith(line)


def test_ids_are_never_given_twice(path: Path, sound: Content) -> None:
    sequences(path, sound)
    root_of_the_chunks(path, sound)

    with closing(recovered(path)) as store:
        fill(store, chunks=1, longest=20)
        (newest,) = store._conn.execute("select max(id) from chunk").fetchone()

    assert newest > max(sound.data) + 1000


def test_an_id_that_nothing_could_follow_is_damage(path: Path, sound: Content) -> None:
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute("update sqlite_sequence set seq = 9223372036854775807")

    with closing(recovered(path)) as store:
        fill(store, chunks=1, longest=20)
        (newest,) = store._conn.execute("select max(id) from chunk").fetchone()
        assert max(sound.data) < newest < 1 << 40


def change(path: Path, statement: str, *values: object) -> None:
    """Harm that SQLite itself does not notice."""
    with closing(sqlite3.connect(path)) as conn, conn:
        assert conn.execute(statement, values).rowcount == 1


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("events", 3),
        ("events", 0),
        ("events", 2 | 1 << 40),
        ("bytes", -7),
        ("project", "defaulu"),
        ("project", "shop"),
        ("id", 0),
        ("id", -3),
    ],
)
def test_what_a_row_says_of_its_chunk_is_put_right_by_the_checksum(
    path: Path, sound: Content, column: str, value: object
) -> None:
    whole = events_of(path)
    change(path, f"update chunk set {column} = ? where id = 60", value)  # noqa: S608

    with closing(recovered(path)) as store:
        assert events_of(path) == whole
        for name, one in store.totals.items():
            assert one.backlog_events == sound.totals[name].backlog_events
            assert one.accepted == sound.totals[name].accepted
    assert lost(path) == 0


@pytest.mark.parametrize(("number", "becomes"), [(60, 61), (61, 60)])
def test_a_chunk_whose_id_becomes_that_of_another_costs_neither(
    path: Path, sound: Content, number: int, becomes: int
) -> None:
    whole = events_of(path)
    leaf = sound.places[number][0]
    # A row's id, how long its head is, nothing for the id, and a text: its project.
    head = re.compile(b"%c.\x00[\x15\x1b]" % number, re.DOTALL)
    found = head.search(page_of(path, leaf))
    assert found is not None
    overwrite_page(path, leaf, bytes([becomes]), found.start())
    header(path, sound)

    with closing(recovered(path)):
        assert events_of(path) == whole
    assert lost(path) == 0


def events_of(path: Path) -> Counter[tuple[str, bytes, int]]:
    with closing(sqlite3.connect(path)) as conn:
        return Counter(conn.execute("select project, data, events from chunk"))


@pytest.mark.parametrize("events", [0, 3, 1 << 20])
def test_a_chunk_that_nobody_can_be_told_of_counts_as_lost(
    path: Path, sound: Content, events: int
) -> None:
    damaged = "update chunk set project = 'defaulu', events = ?, data = x'00'"
    change(path, f"{damaged} where id = 60", events)

    with closing(recovered(path)) as store:
        assert set(store.totals) == set(PROJECTS)
    assert lost(path) == sound.events[60]


@pytest.mark.parametrize("done", [0, 2])
@pytest.mark.parametrize("says", [1, 4, 9, 10, 1 << 30])
def test_a_position_that_passes_over_events_is_not_believed(
    tmp_path: Path, done: int, says: int
) -> None:
    """Events that were acknowledged were once passed over and counted nowhere."""
    path = tmp_path / "relay.db"
    events = join(event(number, 20) for number in range(10))
    with closing(Store.open(path)) as store, store.transaction():
        store.append(row_of(Chunk("default", 10, events), stamped=None), now_ms=1)
        store.ack("default", Position(1, done))
    change(path, "update project set position_events = ?", says)

    with closing(recovered(path)) as store:
        totals = store.totals["default"]
        assert totals.position == Position(1, 0)
        assert totals.backlog_events == 10
        assert totals.accepted == 10 + done
    assert lost(path) == 0


def test_an_index_that_leads_back_does_not_send_the_same_events_for_ever(
    path: Path, sound: Content
) -> None:
    root = sound.roots["chunk_by_project"]
    at = page_of(path, root).index(b"default" + bytes([80, 80])) + len("default")
    overwrite_page(path, root, bytes([71, 71]), at=at)
    with closing(Reader(path)) as reader, pytest.raises(StoreDamaged) as raised:
        reader.peek("default", Position(78, 0), max_events=99, max_bytes=1 << 30)

    assert damage.is_damage(raised.value)
    delivered, _ = drain(path)
    assert set(delivered) >= set(sound.data)


# The log.


@pytest.fixture
def killed(sound: Content, tmp_path: Path) -> Content:
    """A store that was killed: its newest events are in the log alone."""
    directory = tmp_path / "killed"
    directory.mkdir()
    at_work = sound.copy_to(tmp_path)
    store = Store.open(at_work)
    fill(store, chunks=40, longest=6000, first=120)
    for part in ("", "-wal"):
        file = at_work.with_name(at_work.name + part)
        (directory / file.name).write_bytes(file.read_bytes())
    store.close()
    return known(directory / "relay.db")


def log_of(path: Path) -> Path:
    return path.with_name("relay.db-wal")


def test_a_killed_store_is_no_damaged_one(killed: Content) -> None:
    with closing(opened(killed.path)) as store:
        check_sums(store)
        assert salvaged_ids(killed.path, killed) == set(killed.data)
    assert aside.reports(killed.path) == []


def test_a_bad_frame_costs_only_what_is_in_it(killed: Content) -> None:
    """SQLite would end its reading there, and lose all that came later."""
    overwrite(log_of(killed.path), 32 + 10 * (24 + PAGE_BYTES) + 500, noise(15, 50))

    with closing(recovered(killed.path)):
        saved = salvaged_ids(killed.path, killed)

    assert len(saved) > len(killed.data) - 8
    assert max(killed.data) in saved


def test_a_log_without_header_is_read_to_its_end(killed: Content) -> None:
    overwrite(log_of(killed.path), 0, bytes(32))

    with closing(recovered(killed.path)):
        assert salvaged_ids(killed.path, killed) == set(killed.data)
    assert lost(killed.path) == 0


@pytest.mark.parametrize("how", ["missing", "empty"])
def test_a_file_that_is_gone_leaves_its_log_to_read(killed: Content, how: str) -> None:
    """SQLite would delete that log unread."""
    killed.path.unlink()
    if how == "empty":
        killed.path.touch()
    newest = {n for n in killed.data if n > 125}

    with closing(recovered(killed.path)):
        assert newest <= salvaged_ids(killed.path, killed)


def test_a_missing_log_takes_with_it_what_was_in_it_alone(
    killed: Content, sound: Content
) -> None:
    """The file is what it was at the last checkpoint: nothing shows that it is old."""
    log_of(killed.path).unlink()

    with closing(opened(killed.path)) as store:
        check_sums(store)
        assert salvaged_ids(killed.path, sound) == set(sound.data)


def test_the_log_of_another_database_is_not_believed(
    path: Path, sound: Content
) -> None:
    other = path.with_name("other.db")
    with closing(sqlite3.connect(other, isolation_level=None)) as conn:
        conn.execute("pragma journal_mode = wal")
        conn.execute("create table songs (title)")
        conn.execute("insert into songs values (zeroblob(9000))")
        log_of(path).write_bytes(other.with_name("other.db-wal").read_bytes())

    with closing(recovered(path)):
        assert salvaged_ids(path, sound) == set(sound.data)
    assert lost(path) == 0


def test_a_log_of_a_later_time_beside_an_older_file(
    killed: Content, sound: Content, tmp_path: Path
) -> None:
    """Somebody put a backup back, and left the log there. Nothing in it is lost."""
    path = killed.path
    with closing(sqlite3.connect(path)) as conn:  # the file moves on, its log too
        conn.execute("pragma wal_checkpoint(truncate)").fetchall()
    with closing(Store.open(path)) as store:
        fill(store, chunks=20, longest=6000, first=160)
        log = log_of(path).read_bytes()
        newest = {
            n for (n,) in store._conn.execute("select id from chunk where id > 161")
        }
        data = dict(store._conn.execute("select id, data from chunk"))
    directory = tmp_path / "restored"
    directory.mkdir()
    old = sound.copy_to(directory)
    log_of(old).write_bytes(log)

    with closing(opened(old)) as store:
        check_sums(store)
        saved = dict(store._conn.execute("select id, data from chunk"))
    assert len(aside.reports(old)) == 1
    assert all(saved.get(number) == data[number] for number in newest)


# What is set aside, and how.


def test_the_damaged_files_lie_beside_the_store_with_a_report(
    killed: Content, log: pytest.LogCaptureFixture
) -> None:
    overwrite(log_of(killed.path), 0, bytes(32))
    files = {part: Path(f"{killed.path}{part}").read_bytes() for part in ("", "-wal")}

    recovered(killed.path).close()

    base = f"{killed.path}.damaged-{STAMP}"
    assert {part: Path(f"{base}{part}").read_bytes() for part in ("", "-wal")} == files
    told = json.loads(Path(f"{base}.json").read_text())
    assert told["file"] == base
    assert told["reason"] == "its log has no header"
    assert told["events"] == sum(one.backlog_events for one in killed.totals.values())
    (report,) = aside.reports(killed.path)
    assert f"rm {base}*" in report.sentence()
    said = [record.getMessage().partition(" ")[0] for record in log.records]
    assert said == ["store_damaged", "salvaging", "store_salvaged"]


def test_the_fresh_store_is_for_the_same_people(path: Path, sound: Content) -> None:
    path.chmod(0o600)
    header(path, sound)

    recovered(path).close()

    assert path.stat().st_mode & 0o777 == 0o600


def test_a_second_recovery_in_the_same_second_has_a_name_of_its_own(
    path: Path, sound: Content
) -> None:
    header(path, sound)
    opened(path).close()
    overwrite_page(path, 1, bytes(100))

    opened(path).close()

    assert [Path(report.file).name for report in aside.reports(path)] == [
        f"relay.db.damaged-{STAMP}",
        f"relay.db.damaged-{STAMP}-2",
    ]


def test_a_store_behind_a_link_is_set_aside_where_it_lies(
    path: Path, sound: Content, tmp_path: Path
) -> None:
    link = tmp_path / "elsewhere" / "relay.db"
    link.parent.mkdir()
    link.symlink_to(path)
    header(path, sound)

    Recovery(link.resolve(), FakeClock(), PROJECTS, lambda: False).open().close()

    assert link.is_symlink()
    (report,) = aside.reports(link)
    assert Path(report.file).parent == path.parent


def test_who_removes_the_damaged_file_hears_no_more_of_it(
    path: Path, sound: Content
) -> None:
    header(path, sound)
    recovered(path).close()

    path.with_name(f"relay.db.damaged-{STAMP}").unlink()

    assert aside.reports(path) == []


def test_a_set_aside_file_without_a_report_is_told_of_too(tmp_path: Path) -> None:
    (tmp_path / "relay.db.damaged-x").touch()
    (tmp_path / "relay.db.damaged-y").touch()
    (tmp_path / "relay.db.damaged-y.json").write_text('{"odd": 1}')

    told = [report.sentence() for report in aside.reports(tmp_path / "relay.db")]

    assert len(told) == 2
    assert f"rm {tmp_path}/relay.db.damaged-x*" in told[0]


# Marked as suspect by a daemon that met damage, or by an operator.


def test_a_suspected_store_is_salvaged_once(path: Path, sound: Content) -> None:
    aside.suspect(path, "database disk image is malformed")

    with closing(recovered(path)):
        assert salvaged_ids(path, sound) == set(sound.data)
    opened(path).close()

    (report,) = aside.reports(path)
    assert report.reason == "database disk image is malformed"
    assert not aside.suspected(path).exists()


def test_the_salvage_of_a_sound_store_has_its_very_rows(path: Path) -> None:
    before = rows_of(path)
    aside.suspect(path, "for nothing")

    recovered(path).close()

    assert rows_of(path) == before


def rows_of(path: Path) -> list[str]:
    """As SQL, but for when the migrations were applied."""
    with closing(sqlite3.connect(path)) as conn:
        lines = list(conn.iterdump())
    return [line for line in lines if '"_sqlite_migrations" VALUES' not in line]


def test_an_operator_need_only_touch_the_mark(path: Path) -> None:
    aside.suspected(path).touch()

    recovered(path).close()

    assert "marked as damaged" in aside.reports(path)[0].reason


# What goes on after a crash, a stop, and a disk that is full.


class Killed(BaseException):
    """As far as the process comes."""


@pytest.mark.parametrize("renames", range(5))
def test_a_recovery_that_is_killed_while_it_renames_is_finished_by_the_next_start(
    killed: Content, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    overwrite(log_of(killed.path), 0, bytes(32))
    killed.path.with_name("relay.db-shm").touch()
    before = killed.path.read_bytes()
    rename = Path.rename
    done: list[Path] = []

    def rename_or_die(self: Path, target: Path) -> Path:
        if len(done) == renames:
            raise Killed
        done.append(target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_or_die)
    with pytest.raises(Killed):
        opened(killed.path)
    monkeypatch.undo()

    with closing(recovered(killed.path)):
        assert salvaged_ids(killed.path, killed) == set(killed.data)
    damaged = killed.path.with_name(f"relay.db.damaged-{STAMP}")
    assert damaged.read_bytes() == before
    left = {file.name for file in killed.path.parent.iterdir()}
    assert not any("salvage" in name for name in left)


def test_a_recovery_that_is_killed_while_it_salvages_begins_anew(
    path: Path, sound: Content
) -> None:
    header(path, sound)
    before = path.read_bytes()
    path.with_name("relay.db.salvage-1").write_bytes(b"half of a store")
    path.with_name("relay.db.salvage-1-wal").write_bytes(b"its log")

    recovered(path).close()

    assert not list(path.parent.glob("*salvage*"))
    assert path.with_name(f"relay.db.damaged-{STAMP}").read_bytes() == before


def test_a_stop_ends_a_salvage_and_touches_nothing(path: Path, sound: Content) -> None:
    header(path, sound)
    before = path.read_bytes()

    with pytest.raises(Stopping):
        Recovery(path, FakeClock(), PROJECTS, lambda: True).open()

    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["relay.db"]


def test_without_room_it_says_how_much_it_needs_and_touches_nothing(
    path: Path, sound: Content
) -> None:
    """RLIMIT_FSIZE, in a child of its own; the signal would end us."""
    header(path, sound)
    before = path.read_bytes()
    child = os.fork()
    if child == 0:
        os._exit(_salvage_without_room(path))
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["relay.db"]


def _salvage_without_room(path: Path) -> int:
    import resource
    import signal

    logging.disable(logging.CRITICAL)
    signal.alarm(20)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    # Room for the tables and their log, and for little else.
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
    try:
        opened(path)
    except StoreUnavailable as error:
        return 0 if "MiB of room" in str(error) else 2
    return 1


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Of 16 MiB."""
    with small_disk(tmp_path / "disk", "16m") as path:
        yield path


def leave_free(disk: Path, size: int) -> None:
    look = os.statvfs(disk)
    free = look.f_bavail * look.f_frsize
    (disk / "ballast").write_bytes(bytes(free - size))


def test_a_salvage_may_have_the_room_of_the_reserve(disk: Path, sound: Content) -> None:
    path = sound.copy_to(disk)
    header(path, sound)
    assert Reserve(path, 6 << 20).take()
    leave_free(disk, 0)

    with closing(recovered(path)) as store:
        assert salvaged_ids(path, sound) == set(sound.data)
        assert store.has_backlog


def test_a_damaged_store_without_room_is_kept_for_later_and_the_relay_starts(
    disk: Path, sound: Content, tmp_path: Path
) -> None:
    path = sound.copy_to(disk)
    header(path, sound)
    kept = path.read_bytes()
    leave_free(disk, 512 << 10)

    with closing(opened(path)) as store:
        assert store.totals == {}
    (report,) = aside.reports(path)
    assert Path(report.file).read_bytes() == kept
    assert "there was no room to salvage it" in report.sentence()
    assert "rm " not in report.sentence()

    # What operations.md says to do with it.
    elsewhere = tmp_path / "relay.db"
    shutil.copyfile(report.file, elsewhere)
    with closing(recovered(elsewhere)):
        assert salvaged_ids(elsewhere, sound) == set(sound.data)


def test_a_start_on_a_full_disk_has_the_room_of_the_reserve(
    disk: Path, sound: Content
) -> None:
    """SQLite's index of the log takes some."""
    path = sound.copy_to(disk)
    assert Reserve(path, 6 << 20).take()
    leave_free(disk, 0)

    with closing(opened(path)) as store:
        assert store.totals == sound.totals
    assert not path.with_name("relay.db.reserve").exists()


# What is not damage is refused, and nothing is touched.


def test_a_newer_store_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.execute(f"pragma user_version = {schema.VERSION + 1}")

    error = refusal(path)

    assert type(error) is StoreError
    assert "newer leanbase-relay" in str(error)


def test_a_version_that_no_relay_has_is_damage(path: Path, sound: Content) -> None:
    overwrite(path, 60, b"\x7f")

    with closing(recovered(path)):
        assert salvaged_ids(path, sound) == set(sound.data)


@pytest.mark.parametrize("pages", [512, 4096])
@pytest.mark.parametrize("names", [["songs"], ["project", "chunk", "document"]])
def test_the_database_of_another_program_is_refused(
    tmp_path: Path, pages: int, names: Collection[str]
) -> None:
    path = tmp_path / "relay.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.execute(f"pragma page_size = {pages}")
        for name in names:
            conn.execute(f"create table {name} (title)")
        conn.execute("pragma user_version = 42")

    error = refusal(path)

    assert isinstance(error, StoreUnusable)
    assert error.exit_code == 78
    assert "another program's database" in str(error)


def test_the_database_of_another_program_at_work_is_refused(tmp_path: Path) -> None:
    """All of it is in its log yet."""
    path = tmp_path / "relay.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("create table songs (title)")
        conn.execute("pragma journal_mode = wal")
        conn.execute("insert into songs values ('yesterday')")
        conn.execute("create table singers (name)")

        assert isinstance(refusal(path), StoreUnusable)


# Which errors are damage.


def error_of(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("said SQLite")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "is_damage"),
    [
        (sqlite3.SQLITE_CORRUPT, True),
        (sqlite3.SQLITE_CORRUPT_INDEX, True),
        (sqlite3.SQLITE_NOTADB, True),
        (sqlite3.SQLITE_IOERR_READ, True),
        (sqlite3.SQLITE_IOERR_SHORT_READ, True),
        (sqlite3.SQLITE_IOERR_WRITE, False),
        (sqlite3.SQLITE_IOERR_FSYNC, False),
        (sqlite3.SQLITE_FULL, False),
        (sqlite3.SQLITE_BUSY, False),
        (sqlite3.SQLITE_CANTOPEN, False),
        (sqlite3.SQLITE_READONLY, False),
        (sqlite3.SQLITE_ERROR, False),
    ],
)
def test_damage_is_told_from_a_full_disk(code: int, *, is_damage: bool) -> None:
    wrapped = StoreUnavailable("cannot be opened")
    wrapped.__cause__ = error_of(code)

    assert damage.is_damage(error_of(code)) is is_damage
    assert damage.is_damage(wrapped) is is_damage


def test_an_error_of_ours_is_no_damage() -> None:
    assert not damage.is_damage(ValueError("wrong"))
    assert not damage.is_damage(None)


@pytest.mark.parametrize(
    ("cause", "is_full"),
    [
        (error_of(sqlite3.SQLITE_FULL), True),
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (error_of(sqlite3.SQLITE_IOERR_WRITE), False),
        (OSError(errno.EIO, "Input/output error"), False),
    ],
)
def test_a_full_disk_is_told_by_its_number_and_not_by_a_word(
    cause: Exception, *, is_full: bool
) -> None:
    wrapped = StoreUnavailable("/srv/full-moon/relay.db: it said no")
    wrapped.__cause__ = cause

    assert damage.is_for_want_of_room(wrapped) is is_full
