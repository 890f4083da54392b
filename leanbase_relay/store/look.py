"""Looking into the backlog: event by event, or as SQL tables. Never disturbs it.

A reading transaction that lasts would keep the write-ahead log from being folded in. So
the rows are read in short looks, one page after the other, and a question in SQL is
asked of a database of its own, in which the tables are views upon such looks. What
leaves meanwhile is not seen: it is a look at something that moves.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import msgspec

from leanbase_relay.clock import rfc_3339
from leanbase_relay.store import schema
from leanbase_relay.store.chunk import Damaged, Packed, head_of, split, unpack
from leanbase_relay.store.names import Counts, names_of
from leanbase_relay.store.totals import BEGINNING, read_totals

PAGE_ROWS = 500
SEQ_STEP = 1_000_000
"""`seq` is the chunk's id times this, and the event's place in the chunk."""

_PAGE = """
    select id, project, events, accepted_at_ms, length(data)
      from chunk
     where id > ? and (?2 is null or project = ?2)
     order by id
     limit ?3
"""
_DATA = "select data, checksum, project, events from chunk where id = ?"
_LETTERS = """
    select id, door, project, event, distinct_id, uuid, status, reason, origin,
           accepted_at_ms, died_at_ms, line
      from dead_letter where id > ? order by id limit ?
"""
_TABLES = """
    create table chunk (id integer primary key, project text, first integer, at text);
    create table dead_letters (id integer primary key, door text, project text,
        event text, distinct_id text, uuid text, status integer, reason text,
        origin text, accepted_at text, died_at text, line blob);
"""
_EVENTS = """
    create view events (seq, project, event, distinct_id, timestamp, uuid, accepted_at,
                        properties) as
        select chunk.id * 1000000 + one.key, chunk.project, {event},
               {distinct_id}, {timestamp}, {uuid}, chunk.at, {properties}
          from chunk, json_each(events_of(chunk.id)) as one
         where one.key >= chunk.first;
"""
_READING = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}


class NotAQuestion(Exception):
    """The statement would change something, or is none."""


class Waiting(NamedTuple):
    """An event of the backlog."""

    project: str
    event_bytes: bytes
    accepted_at_ms: int


class Called(NamedTuple):
    """What the events of one chunk are called, those that wait."""

    project: str
    counts: Counts
    accepted_at_ms: int


Known = dict[tuple[int, int, int], Counts]
"""What a former look read: by a chunk's id, its events, and those that are done."""


class _Row(NamedTuple):
    id: int
    project: str
    events: int
    accepted_at_ms: int
    data_bytes: int


_MEMBERS = ("event", "distinct_id", "timestamp", "uuid", "properties")
_Listed = Callable[[bytes], list[object]]


class _Named(msgspec.Struct, gc=False):
    event: str = ""


_one = msgspec.json.Decoder(_Named).decode
_written = msgspec.json.Encoder().encode


def _listing(wanted: Sequence[str]) -> _Listed:
    """What takes these members out of events; where it is one, not in a list."""
    kinds = {"properties": (msgspec.Raw, msgspec.Raw(b"{}"))}
    event = msgspec.defstruct(
        "_Wanted", [(name, *kinds.get(name, (str, ""))) for name in wanted], gc=False
    )
    decode = msgspec.json.Decoder(list[event]).decode  # type: ignore[valid-type]
    members = attrgetter(*wanted)
    if "properties" not in wanted:
        return lambda text: list(map(members, decode(text)))
    return lambda text: [
        (*others, bytes(properties).decode())
        for *others, properties in map(members, decode(text))
    ]


def _view(wanted: Sequence[str]) -> str:
    """The view `events`, in which what nobody asked for is null."""
    found = {name: f"one.value ->> {at}" for at, name in enumerate(wanted)}
    if len(wanted) == 1:
        found = {wanted[0]: "one.value"}
    return _EVENTS.format(**dict.fromkeys(_MEMBERS, "null") | found)


class Look:
    """Eyes upon a store; where there is none, there is nothing to be seen."""

    def __init__(self, path: Path) -> None:
        self._conn = schema.connect_to_read(path) if path.exists() else None
        totals = read_totals(self._conn) if self._conn else {}
        self._positions = {name: one.position for name, one in totals.items()}

    def close(self) -> None:
        if self._conn is not None:
            self._conn.close()

    def events(
        self,
        project: str | None = None,
        *,
        name: str | None = None,
        after_ms: int | None = None,
        before_ms: int | None = None,
    ) -> Iterator[Waiting]:
        """The backlog's events in the order of their acceptance, oldest first.

        Args:
            project: of this one only; None is all.
            name: of events that are called so.
            after_ms: accepted then or later, by the wall clock.
            before_ms: accepted earlier.
        """
        for row in self._rows(project):
            if after_ms is not None and row.accepted_at_ms < after_ms:
                continue
            if before_ms is not None and row.accepted_at_ms >= before_ms:
                continue
            try:
                events = split(self._bytes_of(row.id))
            except Damaged:
                continue  # its lane will say so
            for event in events[self._done(row) :]:
                if name is None or _one(event).event == name:
                    yield Waiting(row.project, event, row.accepted_at_ms)

    def names(self, before: Known, seen: Known) -> Iterator[Called]:
        """What the backlog's events are called, chunk by chunk, oldest first.

        Args:
            before: what a former look has seen, and is not read again.
            seen: takes what this one sees.
        """
        for row in self._rows(None):
            done = self._done(row)
            key = (row.id, row.events, done)
            counts = before.get(key)
            if counts is None:
                try:
                    counts = names_of(self._bytes_of(row.id), after=done)
                except Damaged:
                    continue  # its lane will say so
            seen[key] = counts
            yield Called(row.project, counts, row.accepted_at_ms)

    def ask(self, question: str) -> tuple[Sequence[str], Iterator[tuple[object, ...]]]:
        """Answer a question in SQL over the tables `events` and `dead_letters`.

        Returns:
            The names of the columns, and the rows as they come.

        Raises:
            NotAQuestion: it would change something, or SQLite does not understand it.
        """
        words = question.lower()
        # Decoding what nobody asks for would take most of the time.
        everything = "*" in words.replace("count(*)", "")
        wanted = [n for n in _MEMBERS if n == "event" or everything or n in words]
        conn = sqlite3.connect("")  # on the disk, where it does not fit into memory
        conn.create_function(
            "events_of",
            1,
            partial(self._json_of, listed=_listing(wanted)),
            deterministic=True,
        )
        conn.executescript(_TABLES + _view(wanted))
        if "events" in words:
            chunks = (
                (r.id, r.project, self._done(r), _at(r.accepted_at_ms))
                for r in self._rows(None)
            )
            conn.executemany("insert into chunk values (?, ?, ?, ?)", chunks)
        if "dead_letters" in words:
            marks = ",".join("?" * 12)
            insert = f"insert into dead_letters values ({marks})"  # noqa: S608 - ours
            conn.executemany(insert, self._letters())
        conn.commit()
        conn.set_authorizer(_only_reading)
        try:
            rows = conn.execute(question)
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise NotAQuestion(str(error)) from error
        if rows.description is None:
            raise NotAQuestion("it asks for nothing")
        return [column for column, *_ in rows.description], rows

    def _rows(self, project: str | None) -> Iterator[_Row]:
        after = 0
        while self._conn is not None:
            page = self._conn.execute(_PAGE, (after, project, PAGE_ROWS)).fetchall()
            yield from map(_Row._make, page)
            if len(page) < PAGE_ROWS:
                return
            after = page[-1][0]

    def _done(self, row: _Row) -> int:
        """How many of a chunk's events a lane had finished."""
        position = self._positions.get(row.project, BEGINNING)
        return position.events if position.chunk == row.id else 0

    def _bytes_of(self, chunk: int) -> bytes:
        """The events of a chunk; none if it has left meanwhile."""
        assert self._conn is not None, "who has seen a row has a store"
        found = self._conn.execute(_DATA, (chunk,)).fetchone()
        if found is None:
            return b""
        data, checksum, *head = found
        return unpack(Packed(data, checksum, head_of(*head)))

    def _json_of(self, chunk: int, *, listed: _Listed) -> str:
        """What the view makes rows of: for each event what is wanted of it."""
        try:
            return _written(listed(b"[%b]" % self._bytes_of(chunk))).decode()
        except (Damaged, msgspec.DecodeError):
            return "[]"

    def _letters(self) -> Iterator[tuple[object, ...]]:
        after = 0
        while self._conn is not None:
            page = self._conn.execute(_LETTERS, (after, PAGE_ROWS)).fetchall()
            for *facts, accepted_at_ms, died_at_ms, line in page:
                accepted_at = None if accepted_at_ms is None else _at(accepted_at_ms)
                yield (*facts, accepted_at, _at(died_at_ms), line)
            if len(page) < PAGE_ROWS:
                return
            after = page[-1][0]


def _only_reading(action: int, _: str | None, name: str | None, *__: str | None) -> int:
    may = action in _READING and name != "load_extension"
    return sqlite3.SQLITE_OK if may else sqlite3.SQLITE_DENY


def _at(milliseconds: int) -> str:
    return rfc_3339(milliseconds / 1000)
