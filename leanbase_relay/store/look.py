"""Looking into the backlog: event by event, or as SQL tables. Never disturbs it.

A reading transaction that lasts would keep the write-ahead log from being folded in. So
the rows are read in short looks, one page after the other, and a question in SQL is
asked of a database of its own, in which the tables are views upon such looks. What
leaves meanwhile is not seen: it is a look at something that moves.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from leanbase_relay.store import schema
from leanbase_relay.store.chunk import Damaged, Packed, head_of, split, unpack
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
    create view events (seq, project, event, distinct_id, timestamp, uuid, accepted_at,
                        properties) as
        select chunk.id * 1000000 + one.key, chunk.project, one.value ->> 0,
               one.value ->> 1, one.value ->> 2, one.value ->> 3, chunk.at,
               one.value ->> 4
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


class _Row(NamedTuple):
    id: int
    project: str
    events: int
    accepted_at_ms: int
    data_bytes: int


class _Named(msgspec.Struct, gc=False):
    event: str = ""
    distinct_id: str = ""
    timestamp: str = ""
    uuid: str = ""


class _Whole(_Named, gc=False):
    properties: msgspec.Raw = msgspec.Raw(b"{}")


_one = msgspec.json.Decoder(_Named).decode
_named = msgspec.json.Decoder(list[_Named]).decode
_whole = msgspec.json.Decoder(list[_Whole]).decode
_written = msgspec.json.Encoder().encode


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
        self, project: str | None = None, *, name: str | None = None
    ) -> Iterator[Waiting]:
        """The backlog's events in the order of their acceptance, oldest first."""
        for row in self._rows(project):
            try:
                events = split(self._bytes_of(row.id))
            except Damaged:
                continue  # its lane will say so
            for event in events[self._done(row) :]:
                if name is None or _one(event).event == name:
                    yield Waiting(row.project, event, row.accepted_at_ms)

    def ask(self, question: str) -> tuple[Sequence[str], Iterator[tuple[object, ...]]]:
        """Answer a question in SQL over the tables `events` and `dead_letters`.

        Returns:
            The names of the columns, and the rows as they come.

        Raises:
            NotAQuestion: it would change something, or SQLite does not understand it.
        """
        words = question.lower()
        # Decoding what nobody asks for would take half of the time.
        whole = "properties" in words or "*" in words.replace("count(*)", "")
        conn = sqlite3.connect("")  # on the disk, where it does not fit into memory
        conn.create_function(
            "events_of",
            1,
            lambda chunk: self._json_of(chunk, whole=whole),
            deterministic=True,
        )
        conn.executescript(_TABLES)
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

    def _json_of(self, chunk: int, *, whole: bool) -> str:
        """What the view makes rows of: a list for each event."""
        try:
            text = b"[%b]" % self._bytes_of(chunk)
            if not whole:
                named = [
                    [e.event, e.distinct_id, e.timestamp, e.uuid] for e in _named(text)
                ]
                return _written(named).decode()
            rows = [
                [
                    e.event,
                    e.distinct_id,
                    e.timestamp,
                    e.uuid,
                    bytes(e.properties).decode(),
                ]
                for e in _whole(text)
            ]
            return _written(rows).decode()
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
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
