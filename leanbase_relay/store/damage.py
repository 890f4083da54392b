"""Damage: how a store that cannot be trusted is told from one that can, at once.

A start looks at what costs next to nothing, however large the backlog is: header,
schema, log, length, the ends of each table, and, as far as a third of a second goes,
that the rows add up to the totals. What lies deeper shows when it is met: `is_damage`
tells it from a disk that is full or a file that is locked.
"""

import errno
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from leanbase_relay.clock import Clock
from leanbase_relay.errors import StoreDamaged, StoreUnavailable, StoreUnusable
from leanbase_relay.store import aside, schema, tables
from leanbase_relay.store.image import Image
from leanbase_relay.store.pages import Row
from leanbase_relay.store.size import file_bytes, log_path
from leanbase_relay.store.totals import HIGHEST_ID, Totals, read_totals

ADDING_UP_SECONDS = 0.15
"""For each of two looks that read more the more chunks there are; some 100,000."""

MAX_SUMMED_LOG_BYTES = 64 << 20
"""Of a longer log the start does not take the sums: they cost a second each 64 MiB."""

_STEPS = 1000  # of SQLite's machine, between two looks at the clock
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
# A disk that cannot give back what it holds is damage to whoever stored it there.
_UNREADABLE = {
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_DATA,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
}
# The log's index is a file of its own, whose room SQLite asks for under another name.
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}
_OF_THE_DISK = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
_NEWEST_VERSION = 1000  # versions go up by one; what is beyond is no version

# Where in the header of a file stands what we always write there.
_MAGIC = b"SQLite format 3\0"
_FIXED = {
    "page size": (slice(16, 18), schema.PAGE_BYTES),
    "reserved bytes": (slice(20, 21), 0),
    "fractions": (slice(21, 24), 0x402020),
    "schema format": (slice(44, 48), 4),
    "text encoding": (slice(56, 60), 1),
    "vacuum mode": (slice(64, 68), 1),
}
_LARGEST_ROOT = slice(52, 56)
_USER_VERSION = slice(60, 64)
_PAGE_COUNT = slice(28, 32)
_WITH_LOG = b"\2\2"
_WITHOUT_LOG = b"\1\1"  # somebody's tool made it so; SQLite changes it back

_INDEX = "chunk_by_project"
_NEUTRAL = {"_sqlite_migrations", "sqlite_sequence"}
_CHUNKS = """
    select id, project, events, bytes, accepted_at_ms, checksum, length(data) from chunk
"""
_LETTERS = "select id, door, project, reason, length(line) from dead_letter"
# A column whose name or type is not what it was would be found out by the first who
# asks for it, at every start anew.
_COLUMNS = """
    select t.name, t.strict, t.wr, c.name, c.type, c."notnull", c.dflt_value, c.pk
      from pragma_table_list as t join pragma_table_info(t.name) as c
     where t.schema = 'main' and t.name in (select value from json_each(?))
     order by t.name, c.cid
"""
_ENDS = (
    f"{_CHUNKS} order by id limit 1",
    f"{_CHUNKS} order by id desc limit 1",
    f"{_LETTERS} order by id limit 1",
    f"{_LETTERS} order by id desc limit 1",
    "select * from spool_file",
    "pragma freelist_count",
)
# The last id of all, once given, would be followed by none.
_BEYOND = """
    select 1 from sqlite_sequence
     where seq < 0 or seq >= ?
        or name = 'chunk' and seq < (select max(id) from chunk)
        or name = 'dead_letter' and seq < (select max(id) from dead_letter)
"""
# Where a store is too large to be added up, this still can be seen at once.
_PAST_ITS_END = """
    select name from project where position_events > 0 and not exists (
        select 1 from chunk
         where id = position_chunk and project = name and events > position_events)
"""
# The ids are summed by their rest, so that no sum is ever too large for SQLite.
_BY_TABLE = """
    select count(*), coalesce(sum(id % 1000003), 0), coalesce(sum(events), 0),
           coalesce(sum(typeof(accepted_at_ms) = 'integer'), 0)
      from chunk not indexed
"""
_BY_INDEX = """
    select project, sum(events), sum(bytes), min(id), count(*), sum(id % 1000003)
      from chunk group by project
"""


class _Sum(NamedTuple):
    """What the index of the chunks comes to for a project."""

    project: str
    events: int = 0
    bytes: int = 0
    first: int = 0
    rows: int = 0
    ids: int = 0


def is_damage(error: BaseException | None) -> bool:
    """Whether SQLite, or what was made of its error, says that a file is damaged."""
    while error is not None:
        if isinstance(error, StoreDamaged):
            return True
        if isinstance(error, sqlite3.Error):
            code = _code(error)
            return code & 0xFF in _DAMAGE or code in _UNREADABLE
        error = error.__cause__
    return False


def is_for_want_of_room(error: BaseException | None) -> bool:
    """Whether the disk, or our share of it, is full."""
    while error is not None:
        if isinstance(error, sqlite3.Error):
            return _code(error) in _NO_ROOM
        if isinstance(error, OSError):
            return error.errno in (errno.ENOSPC, errno.EDQUOT)
        error = error.__cause__
    return False


def is_of_the_disk(error: sqlite3.Error) -> bool:
    """Whether it is the disk that said no, whatever it was asked to write."""
    return _code(error) & 0xFF in _OF_THE_DISK


def _code(error: sqlite3.Error) -> int:
    """SQLite's own number for what happened.

    Python's sqlite3 gives none where a text is no text; then it was damaged.
    """
    by_python = sqlite3.SQLITE_CORRUPT if type(error) is sqlite3.OperationalError else 0
    return getattr(error, "sqlite_errorcode", by_python)


def fault_of(path: Path, clock: Clock) -> str | None:
    """What is wrong with a store that nobody has open; None if nothing is.

    Raises:
        StoreUnusable: it is somebody else's database.
        StoreError: it was made by a newer version.
        StoreUnavailable: it cannot be looked at now.
    """
    if not file_bytes(str(path)) and not file_bytes(log_path(path)):
        return None  # nothing there: that is a new store
    if fault := aside.suspicion(path):
        return fault
    _refuse_another(path)
    with image_of(
        path, sums=file_bytes(log_path(path)) <= MAX_SUMMED_LOG_BYTES
    ) as image:
        if _is_new(image):
            return None
        fault = _fault_of_files(image, path) or _fault_of_index(image, clock)
    # The image is closed by now: to close a file takes SQLite's locks from it.
    return fault or fault_by_sql(path, clock)


def image_of(path: Path, *, sums: bool = True) -> Image:
    """The pages of a store; without its log if that is another database's."""
    image = Image(path, sums=sums)
    if 1 in image.log.pages and not tables.read_schema(image).is_ours:
        bare = Image(path, with_log=False)
        if tables.read_schema(bare).is_ours:
            image.close()
            return bare
        bare.close()
    return image


def fault_by_sql(path: Path, clock: Clock) -> str | None:
    """What shows in a store that SQLite can open, in use or not.

    Raises:
        StoreUnavailable: it cannot be looked at now.
    """
    try:
        with closing(schema.connect_to_read(path)) as conn:
            return _fault_of_tables(conn, clock)
    except sqlite3.Error as error:
        # What we ask for is in every store: where it is not, the schema is damaged.
        if is_damage(error) or _code(error) == sqlite3.SQLITE_ERROR:
            return str(error)
        raise StoreUnavailable(f"{path}: {error}") from error
    except UnicodeDecodeError:  # in the words with which SQLite complains of the schema
        return "its schema is damaged"


# Without SQLite.


def _is_new(image: Image) -> bool:
    """Whether it was made, and the power went before its first table was."""
    first = image.page(1)
    if first is None:
        return image.is_empty
    if _fault_of_header(first) is not None:
        return False
    found = tables.read_schema(image)
    version = int.from_bytes(first[_USER_VERSION])
    return version == 0 and found.whole and not tables.OURS & found.roots.keys()


def _fault_of_files(image: Image, path: Path) -> str | None:
    first = image.page(1)
    if first is None:
        return "its first page is missing"
    if fault := _fault_of_header(first):
        return fault
    if first[18:20] != _WITH_LOG and image.log.pages:
        return "its header knows of no log, and there is one"
    version = int.from_bytes(first[_USER_VERSION])
    found = tables.read_schema(image)
    if schema.VERSION < version < _NEWEST_VERSION and found.is_ours:
        schema.refuse_newer(path, version)
    known = found.whole and found.is_ours and _INDEX in found.roots
    if not known or not 0 < version <= schema.VERSION:
        return "its schema is damaged"
    return image.log.fault or _fault_of_length(image, first)


def _fault_of_header(first: bytes) -> str | None:
    if not first.startswith(_MAGIC):
        return "it does not begin like a database"
    for name, (place, value) in _FIXED.items():
        if int.from_bytes(first[place]) != value:
            return f"the {name} in its header is wrong"
    if first[18:20] not in (_WITH_LOG, _WITHOUT_LOG) or not any(first[_LARGEST_ROOT]):
        return "its header is wrong"
    return None


def _fault_of_length(image: Image, first: bytes) -> str | None:
    """Each page must be in the file or in the log."""
    count = image.log.size or int.from_bytes(first[_PAGE_COUNT])
    missing = count - image.file_pages
    if missing > 0 and (
        missing > len(image.log.pages)
        or any(n not in image.log.pages for n in range(image.file_pages + 1, count + 1))
    ):
        return f"it is cut off: {image.file_pages} of {count} pages are there"
    return None


def _fault_of_index(image: Image, clock: Clock) -> str | None:
    """Whether the chunks' index is what it should be, as far as the time allows.

    It has each id twice, and SQLite finds its way by one and reads the other: where
    they differ, chunks are passed over without a word, and only here it shows.
    """
    deadline = clock.monotonic() + ADDING_UP_SECONDS
    for number in tables.reached(image, tables.read_schema(image).roots[_INDEX]):
        before = ("", 0)
        for row in image.rows(number):
            match row:
                case Row(_, (str(name), int(one), int(two))) if (
                    one == two and before < (name, one)
                ):
                    before = name, one
                case _:
                    return "the index of its chunks is damaged"
        if clock.monotonic() > deadline:
            break
    return None


def _refuse_another(path: Path) -> None:
    """Leave a whole database alone that has other tables than ours.

    Raises:
        StoreUnusable: it is one.
    """
    uri = f"{path.absolute().as_uri()}?immutable=1"  # makes no file, reads no log
    try:
        with closing(sqlite3.connect(uri, uri=True)) as conn:
            rows = conn.execute("select name from sqlite_schema where type = 'table'")
            names = {name for (name,) in rows}
    except (sqlite3.Error, UnicodeDecodeError):
        return
    others = names - tables.OURS - _NEUTRAL
    if others and len(names & tables.OURS) < 3:
        raise StoreUnusable(
            f"{path} is another program's database (it has a table "
            f"{min(others, key=str)!r}); nothing was touched. Give the store a path of "
            "its own: store.path"
        )


# With SQLite.


def _fault_of_tables(conn: sqlite3.Connection, clock: Clock) -> str | None:
    (version,) = conn.execute("pragma user_version").fetchone()
    with closing(schema.pattern(version)) as pattern:
        if _columns(conn) != _columns(pattern):
            return "its schema is damaged"
    for statement in _ENDS:
        conn.execute(statement).fetchall()
    if conn.execute(_BEYOND, (HIGHEST_ID,)).fetchone():
        return "it has ids that were never given"
    for (name,) in conn.execute(_PAST_ITS_END):
        return f"the position of project {name!r} is impossible"
    totals = read_totals(conn)
    for name, one in totals.items():
        if not one.are_sound:
            return f"the totals of project {name!r} are impossible"
    return _fault_of_sums(conn, totals, clock)


def _columns(conn: sqlite3.Connection) -> list[object]:
    return conn.execute(_COLUMNS, (json.dumps(sorted(tables.OURS)),)).fetchall()


def _fault_of_sums(
    conn: sqlite3.Connection, totals: dict[str, Totals], clock: Clock
) -> str | None:
    """Whether rows and totals agree, as far as that can be told in the time."""
    deadline = clock.monotonic() + ADDING_UP_SECONDS
    conn.set_progress_handler(lambda: clock.monotonic() > deadline, _STEPS)
    try:
        (table,) = conn.execute(_BY_TABLE).fetchall()
        index = [_Sum(*row) for row in conn.execute(_BY_INDEX)]
        return _disagreement(table, index, totals)
    except sqlite3.OperationalError as error:
        if _code(error) == sqlite3.SQLITE_INTERRUPT:
            return None
        raise
    finally:
        conn.set_progress_handler(None, 0)


def _disagreement(
    table: tuple[int, ...], index: list[_Sum], totals: dict[str, Totals]
) -> str | None:
    count, ids, events, stamped = table
    by_index = [(one.rows, one.ids, one.events) for one in index]
    if tuple(map(sum, zip((0, 0, 0), *by_index, strict=True))) != (count, ids, events):
        return "its chunks and their index differ"
    if stamped != count:
        return "it has a chunk that was accepted at no time"
    found = {one.project: one for one in index}
    for name in {*found, *totals}:
        rows = found.get(name, _Sum(name))
        one = totals.get(name, Totals())
        begun = rows.rows and rows.first == one.position.chunk
        waiting = rows.events - (one.position.events if begun else 0)
        if rows.rows and rows.first < one.position.chunk:
            return f"project {name!r} has chunks that were passed"
        if (waiting, rows.bytes) != (one.backlog_events, one.backlog_bytes):
            return f"the chunks of project {name!r} do not add up to its totals"
    return None
