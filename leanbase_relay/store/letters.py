"""Dead letters: their table, every statement on it, and the eyes that only read it.

What a letter means for a project's totals is the store's to know. Looks are short
ones, page by page: while a reading transaction is open the write-ahead log grows.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from leanbase_relay.splice import members_of
from leanbase_relay.store import schema
from leanbase_relay.store.chunk import split
from leanbase_relay.store.deposit import DeadLetter
from leanbase_relay.store.schema import Integer

OVERHEAD_BYTES = 200
"""What a dead letter takes beside its line, roughly: reason, origin, names."""

MAX_REQUEUES = 3
"""A letter that came back so often is left out, unless it is asked for."""

_PAGE_LETTERS = 500

_KEEP = """
    insert into dead_letter (door, project, event, distinct_id, uuid, status, reason,
                             origin, accepted_at_ms, died_at_ms, line, events,
                             requeues, historical)
    values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_OLDEST = "select id, project, length(line) from dead_letter order by id limit 100"
_FITTING = """
      from dead_letter
     where id > :after and id <= :upto
       and (:door is null or door = :door)
       and (:project is null or project = :project)
       and (:event is null or event = :event)
       and (:status is null or status = :status)
       and (:died_before_ms is null or died_at_ms < :died_before_ms)
       and (:died_after_ms is null or died_at_ms >= :died_after_ms)
       and (:ids is null or id in (select value from json_each(:ids)))
"""
# In the order of `DeadLetter`, behind what the table adds to it.
_LETTER = """
    select id, died_at_ms, length(line), door, project, reason, origin,
           case when :whole then line else x'' end,
           status, event, distinct_id, uuid, accepted_at_ms, events, requeues,
           historical
"""
_FORWARD = f"{_LETTER} {_FITTING} order by id limit :limit"
_BACKWARD = f"{_LETTER} {_FITTING} order by id desc limit :limit"
_COUNT = f"select count(*), coalesce(sum(length(line)), 0), max(died_at_ms) {_FITTING}"
# Bounded: `status` asks, and there may be very many letters of the other door.
_LATELY = """
    select project, max(died_at_ms)
      from (select project, door, died_at_ms
              from dead_letter order by id desc limit 500)
     where door = 'upstream'
     group by project
"""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters: those that fit all that is given.

    Attributes:
        died_before_ms, died_after_ms: bounds of the time of death; the second one
            belongs to those that fit.
        upto: no newer one than this.
        ids: one of these; none given is any.
    """

    door: str | None = None
    project: str | None = None
    event: str | None = None
    status: Integer | None = None
    died_before_ms: Integer | None = None
    died_after_ms: Integer | None = None
    upto: Integer | None = None
    ids: tuple[Integer, ...] = ()


@dataclass(frozen=True, slots=True)
class KeptLetter:
    """A dead letter as the store has it.

    Attributes:
        size: bytes of its line.
        letter: its line is empty where only the facts were asked for.
    """

    id: int
    died_at_ms: int
    size: int
    letter: DeadLetter

    @property
    def is_line(self) -> bool:
        """Whether its line is one, and not the bytes of a damaged chunk."""
        letter = self.letter
        return letter.door == "intake" or (
            letter.events == 1 and _is_event(letter.line)
        )


@dataclass(frozen=True, slots=True)
class Count:
    """How many letters there are, of how many bytes; and when the last one died."""

    letters: int
    bytes: int
    last_died_at_ms: int | None = None


# Changing; inside a transaction of the store.


def keep(conn: sqlite3.Connection, letter: DeadLetter, *, now_ms: int) -> None:
    """Add a letter that died now."""
    conn.execute(
        _KEEP,
        (
            letter.door,
            letter.project,
            letter.event,
            letter.distinct_id,
            letter.uuid,
            letter.status,
            letter.reason,
            letter.origin,
            letter.accepted_at_ms,
            now_ms,
            letter.line,
            letter.events,
            letter.requeues,
            letter.historical,
        ),
    )


def oldest(conn: sqlite3.Connection) -> list[tuple[int, str, int]]:
    """The first hundred: id, project and bytes of the line."""
    return conn.execute(_OLDEST).fetchall()


def is_kept(conn: sqlite3.Connection, letter: int) -> bool:
    """Whether it is still there."""
    found = conn.execute("select 1 from dead_letter where id = ?", (letter,))
    return found.fetchone() is not None


def remove(conn: sqlite3.Connection, letter: int) -> bool:
    """Take a letter out; False if it was gone."""
    return conn.execute("delete from dead_letter where id = ?", (letter,)).rowcount > 0


# Looking.


class LetterReader:
    """Looks at the dead letters of a store; where there is no store there are none."""

    def __init__(self, path: Path) -> None:
        self._conn = schema.connect_to_read(path) if path.exists() else None

    def close(self) -> None:
        if self._conn is not None:
            self._conn.close()

    def highest(self) -> int:
        """The id of the newest letter; 0 if there is none."""
        ((highest,),) = self._rows("select max(id) from dead_letter", {}) or [(None,)]
        return highest or 0

    def count(self, which: Selection, *, upto: int) -> Count:
        """How many there are, up to the letter `upto`."""
        rows = self._rows(_COUNT, _parameters(which, upto=upto))
        return Count(*rows[0]) if rows else Count(0, 0)

    def unknown(self, ids: Sequence[int]) -> list[int]:
        """Those of these ids that no letter has."""
        if not ids:
            return []
        wanted = tuple(dict.fromkeys(ids))
        known = {kept.id for kept in self.newest(Selection(ids=wanted))}
        return [one for one in wanted if one not in known]

    def newest(
        self, which: Selection, *, limit: int | None = None
    ) -> Iterator[KeptLetter]:
        """The facts of the letters, newest first."""
        upto = self.highest()
        left = 2**63 - 1 if limit is None else limit
        while left > 0:
            page = min(_PAGE_LETTERS, left)
            rows = self._rows(_BACKWARD, _parameters(which, upto=upto, limit=page))
            yield from map(_kept, rows)
            if len(rows) < page:
                return
            left -= page
            upto = rows[-1][0] - 1

    def page(
        self,
        which: Selection,
        *,
        after: int,
        upto: int,
        letters: int,
        max_bytes: int,
        whole: bool = True,
    ) -> list[KeptLetter]:
        """The letters behind `after`, oldest first.

        Args:
            which: of these.
            after: the letter before the first one.
            upto: the last one that may be among them.
            letters: at most so many.
            max_bytes: of their lines; but one letter at least, if there is any.
            whole: with their lines.
        """
        asked = _parameters(which, after=after, upto=upto, limit=letters, whole=whole)
        page: list[KeptLetter] = []
        size = 0
        if self._conn is None:
            return page
        rows = self._conn.execute(_FORWARD, asked)
        try:
            for kept in map(_kept, rows):
                size += kept.size
                if page and size > max_bytes:
                    break
                page.append(kept)
        finally:
            rows.close()  # ends the read transaction at once
        return page

    def _rows(self, statement: str, parameters: Mapping[str, Any]) -> list[Any]:
        if self._conn is None:
            return []
        return self._conn.execute(statement, parameters).fetchall()


def lately_refused(conn: sqlite3.Connection) -> dict[str, int]:
    """When the upstream last refused an event for good, for each project; roughly."""
    return dict(conn.execute(_LATELY))


def pretty(line: bytes) -> str | None:
    """The line's JSON for people, each number as it is spelled; None if it is none."""
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
        return msgspec.json.format(line, indent=2).decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def members(line: bytes) -> frozenset[str] | None:
    """The names of a line's members; None if it is no object."""
    try:
        return frozenset(members_of(line))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _parameters(
    which: Selection,
    *,
    upto: int,
    after: int = 0,
    limit: int = 0,
    whole: bool = False,
) -> dict[str, Any]:
    if which.ids:  # so that not all of the table is gone through for one letter
        after = max(after, min(which.ids) - 1)
        upto = min(upto, max(which.ids))
    if which.upto is not None:
        upto = min(upto, which.upto)
    return {
        "after": after,
        "upto": upto,
        "limit": limit,
        "whole": whole,
        "door": which.door,
        "project": which.project,
        "event": which.event,
        "status": which.status,
        "died_before_ms": which.died_before_ms,
        "died_after_ms": which.died_after_ms,
        "ids": json.dumps(which.ids) if which.ids else None,
    }


def _kept(row: tuple[Any, ...]) -> KeptLetter:
    number, died_at_ms, size, *letter, historical = row
    letter.append(bool(historical))
    return KeptLetter(number, died_at_ms, size, DeadLetter(*letter))


def _is_event(line: bytes) -> bool:
    try:
        return line[:1] == b"{" and len(split(line)) == 1
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
