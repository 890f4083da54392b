"""Salvage: what can be read of a damaged store, brought into a fresh one.

Rows keep their ids, so that positions stay right and no id is given twice. A chunk
comes along as it is, its data damaged or not: what fails its checksum is buried by its
lane, with the number of its events. Of chunks that cannot be read at all, the totals
still tell how many events they had: those count as dead, with one dead letter that says
so, and ``accepted = delivered + dead + dropped + backlog`` holds again.
"""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from leanbase_relay.store import letters, schema, tables
from leanbase_relay.store.chunk import Packed, head_of, true_owner
from leanbase_relay.store.image import Image
from leanbase_relay.store.into import Into, is_id
from leanbase_relay.store.pages import MAX_ROW_BYTES, Row
from leanbase_relay.store.totals import (
    BEGINNING,
    HIGHEST_ID,
    Position,
    Totals,
    read_totals,
    save_totals,
)

_MOST_EVENTS = 1 << 26  # of a chunk: in the smallest spelling they are 64 MiB and more
_SKIPPED_IDS = 1 << 20  # where nobody knows any more which ids were given

_LETTERS = """
    select project, count(*) as letters, sum(length(line)) as bytes,
           sum(iif(door = 'upstream', events, 0)) as dead,
           sum(door = 'intake') as refused
      from dead_letter group by project
"""
_KEEP_LOSS = """
    insert into dead_letter (door, project, reason, origin, died_at_ms, line, events)
    values ('upstream', ?, ?, ?, ?, x'', ?)
"""

Tell = Callable[[int, int], None]
"""Told how many pages of how many are done; may raise to end the work."""


@dataclass(slots=True)
class Share:
    """What of a project is in the fresh store.

    Attributes:
        chunks, events, bytes: that wait; bytes are before compression.
        begun: whether its lane had begun with the first of those chunks.
        lost: events that could not be read; None if nobody knows how many.
    """

    chunks: int = 0
    events: int = 0
    bytes: int = 0
    begun: bool = False
    lost: int | None = 0


@dataclass(slots=True)
class Salvaged:
    """What came of it.

    Attributes:
        projects: a share for each.
        dead_letters, known_ids, spool_files: how many rows of those.
        lost_dead_letters: how many of them could not be read.
        is_progress_whole: False if a file in the spool may be taken a second time.
    """

    projects: dict[str, Share] = field(default_factory=lambda: defaultdict(Share))
    dead_letters: int = 0
    lost_dead_letters: int = 0
    known_ids: int = 0
    spool_files: int = 0
    is_progress_whole: bool = True


def salvage(
    image: Image,
    fresh: Path,
    *,
    projects: Collection[str],
    origin: str,
    now_ms: int,
    tell: Tell,
) -> Salvaged:
    """Make a fresh store of what an image has; it is not synced yet.

    Args:
        image: of the damaged store.
        fresh: where the new one is made; nothing may be there.
        projects: those that are configured. A chunk of a project that neither they nor
            the totals know is one whose name is damaged.
        origin: names the damaged file in the dead letters of what is lost.
        now_ms: wall clock.
        tell: see `Tell`.
    """
    conn = schema.connect(fresh)
    try:
        # Until all of it is done it is nobody's: what a crash leaves is thrown away.
        conn.execute("pragma journal_mode = off")
        conn.execute("pragma synchronous = off")
        conn.execute("begin")
        work = _Work(image, conn, projects, tell)
        work.copy()
        work.settle(origin, now_ms)
        conn.execute("commit")
        return work.result
    finally:
        conn.close()


class _Work:
    """One salvage: first the rows, then the totals that fit them."""

    def __init__(
        self,
        image: Image,
        conn: sqlite3.Connection,
        projects: Collection[str],
        tell: Tell,
    ) -> None:
        self.result = Salvaged()
        self._image = image
        self._conn = conn
        self._tell = tell
        self._tables = tables.find(image)
        self._whole = {
            name: table.whole and image.log.fault is None
            for name, table in self._tables.items()
        }
        self._of = sum(len(t.reached) + len(t.orphans) for t in self._tables.values())
        self._done = 0
        self._projects = projects
        self._totals: dict[str, Totals] = {}
        self._highest = 0
        self._homeless: list[Row] = []  # chunks whose id is not their own

    # Rows.

    def copy(self) -> None:
        """Bring over what can be read, of all tables."""
        self._copy_totals()
        into = Into(self._conn, "chunk")
        for row in map(self._mended, self._reached("chunk")):
            if not self._copy_chunk(row, into) and self._is_homeless(row):
                self._homeless.append(row)
        for row in map(self._mended, self._orphaned("chunk")):
            if _is_proven(row):
                self._copy_chunk(row, into)
        for row in self._homeless:
            self._copy_chunk(row._replace(rowid=self._highest + 1), into)
        self.result.dead_letters = self._copy_all("dead_letter")
        self.result.known_ids = self._copy_all("known_id")
        self.result.spool_files = self._copy_all("spool_file")
        self.result.is_progress_whole = self._whole["spool_file"]
        self._set_sequences()

    def _copy_totals(self) -> None:
        self._copy_all("project")
        for name, totals in read_totals(self._conn).items():
            if totals.are_sound:
                self._totals[name] = totals
            else:
                self._whole["project"] = False
                self._conn.execute("delete from project where name = ?", (name,))
        self._doubt_positions()

    def _doubt_positions(self) -> None:
        """Begin anew where chunks stand before a position that should not be there.

        What a lane has passed was deleted with the same commit. If the chunks behind
        the position are not just what the totals say, it may be the position that is
        damaged; events that go upstream twice are told by their identity, and those
        that never go are lost.
        """
        before: Counter[str] = Counter()
        behind: Counter[str] = Counter()
        for page in self._tables["chunk"].reached:
            for row in self._image.heads(page):
                match row:
                    case Row(int(number), (None, str(name), int(events), *_)) if is_id(
                        number
                    ):
                        position = self._totals.get(name, Totals()).position
                        passed = number < position.chunk
                        (before if passed else behind)[name] += events
        for name, totals in self._totals.items():
            waiting = behind[name] - totals.position.events
            if before[name] and waiting != totals.backlog_events:
                self._totals[name] = replace(totals, position=BEGINNING)

    def _copy_all(self, table: str) -> int:
        into = Into(self._conn, table)
        kept = sum(into.keep(row) for row in self._reached(table))
        return kept + sum(into.keep(row) for row in self._orphaned(table))

    def _copy_chunk(self, row: Row, into: Into) -> bool:
        """Bring over a chunk that waits; False if it cannot be."""
        match row:
            case Row(int(number), (None, str(name), int(events), int(size), *_)) if (
                self._may_be_chunk(number, name, events, size)
            ):
                position = self._totals.get(name, Totals()).position
            case _:
                self._whole["chunk"] = False
                return False
        self._highest = max(self._highest, number)
        if number < position.chunk:
            return True
        if not into.keep(row):
            self._whole["chunk"] = False
            return False
        share = self.result.projects[name]
        share.chunks += 1
        share.events += events
        share.bytes += size
        if number == position.chunk and 0 < position.events < events:
            share.begun = True
            share.events -= position.events
        return True

    def _is_homeless(self, row: Row) -> bool:
        """Whether a chunk is right, and only its id cannot be its own.

        Another chunk may have it: then one of the two ids is damaged, and which it is
        nobody knows.
        """
        if not _is_proven(row):
            return False
        if not is_id(row.rowid):
            return True
        look = self._conn.execute("select data from chunk where id = ?", (row.rowid,))
        return any(bytes(data) not in row.values for (data,) in look)

    def _mended(self, row: Row) -> Row:
        """The row as it was, where its data are right and what it says of them is not.

        Of whom they are, and how many, is told by the checksum.
        """
        match row.values:
            case (None, name, _, size, at, int(checksum), bytes(data), *rest):
                packed = Packed(data, checksum)
            case _:
                return row
        if _is_proven(row) and type(size) is int and 0 < size <= MAX_ROW_BYTES:
            return row
        known = {*self._totals, *self._projects}
        owner = true_owner(packed, [str(name), *known])
        if owner is None:
            return row
        return row._replace(values=(None, *owner, at, checksum, data, *rest))

    def _may_be_chunk(self, number: int, name: str, events: int, size: int) -> bool:
        """Whether these could be what a chunk says of itself: no checksum is on it."""
        return (
            is_id(number)
            and 0 < events < _MOST_EVENTS
            and 0 < size <= MAX_ROW_BYTES
            and (name in self._projects or name in self._totals)
        )

    def _reached(self, table: str) -> Iterator[Row]:
        """The rows that the table's tree leads to."""
        for number in self._tables[table].reached:
            for row in self._image.rows(number):
                if row is None:
                    self._whole[table] = False
                else:
                    yield row
            self._step()

    def _orphaned(self, table: str) -> Iterator[Row]:
        """The rows that look like the table's."""
        for number in self._tables[table].orphans:
            yield from (row for row in self._image.rows(number) if row is not None)
            self._step()

    def _step(self) -> None:
        self._done += 1
        self._tell(self._done, self._of)

    def _set_sequences(self) -> None:
        """Go on with ids where the damaged store would have."""
        given: dict[object, int] = {}
        for row in (
            *self._reached("sqlite_sequence"),
            *self._orphaned("sqlite_sequence"),
        ):
            match row.values:
                case (str(table), int(number)) if 0 <= number < HIGHEST_ID:
                    given[table] = max(given.get(table, 0), number)
        (letter,) = self._conn.execute("select max(id) from dead_letter").fetchone()
        marks = [one.position.chunk for one in self._totals.values()]
        marks += [one.frozen_chunk for one in self._totals.values()]
        for table, seen in (
            ("chunk", max(self._highest, *marks, 0)),
            ("dead_letter", letter or 0),
        ):
            upto = max(given.get(table, seen + _SKIPPED_IDS), seen)
            self._conn.execute("delete from sqlite_sequence where name = ?", (table,))
            self._conn.execute(
                "insert into sqlite_sequence values (?, ?)", (table, upto)
            )

    # Totals.

    def settle(self, origin: str, now_ms: int) -> None:
        """Have the totals agree with the rows, and say what is lost."""
        by_name = {
            name: counts for name, *counts in self._conn.execute(_LETTERS).fetchall()
        }
        known = self._to_settle()
        for name in sorted(known | by_name.keys()):
            share = self.result.projects[name]
            kept, size, dead, refused = by_name.get(name, (0, 0, 0, 0))
            before = self._totals.get(name)
            if before is None:
                share.lost = None if name in known else 0
                # Any of its chunks may be upstream already, with the stamps it has.
                before = Totals(dead=dead, refused=refused, frozen_chunk=self._highest)
            else:
                self.result.lost_dead_letters += max(before.dead_letters - kept, 0)
                self._doubt_begun(before, share)
                share.lost = self._lost(before, share)
            if share.lost:
                self._keep_loss(name, share.lost, origin, now_ms)
                kept += 1
            save_totals(
                self._conn,
                name,
                replace(
                    _settled(before, share),
                    dead_letters=kept,
                    dead_letter_bytes=size + kept * letters.OVERHEAD_BYTES,
                ),
            )

    def _to_settle(self) -> set[str]:
        """The projects that have totals, or should have."""
        missing = () if self._whole["project"] else self._projects
        return {*self._totals, *self.result.projects, *missing}

    def _doubt_begun(self, before: Totals, share: Share) -> None:
        """Begin the first chunk anew where all are there and do not add up.

        Then it may be the position in it that is damaged.
        """
        differs = share.events != before.backlog_events
        if share.begun and differs and self._whole["chunk"]:
            share.events += before.position.events
            share.begun = False

    def _lost(self, before: Totals, share: Share) -> int:
        """How many events could not be read.

        If every chunk could be, the rows are right and it is the totals that are not.
        """
        if self._whole["chunk"]:
            return 0
        return max(before.backlog_events - share.events, 0)

    def _keep_loss(self, name: str, lost: int, origin: str, now_ms: int) -> None:
        reason = f"lost, {lost} events: the store was damaged on the disk"
        self._conn.execute(_KEEP_LOSS, (name, reason, origin, now_ms, lost))


def _settled(before: Totals, share: Share) -> Totals:
    """The totals of a project of which this share is left."""
    position = before.position
    if not share.begun:
        position = Position(position.chunk, 0)
    dead = before.dead + (share.lost or 0)
    return replace(
        before,
        accepted=before.delivered + dead + before.dropped + share.events,
        dead=dead,
        backlog_bytes=share.bytes,
        position=position,
    )


def _is_proven(row: Row) -> bool:
    """Whether a row's data are a chunk's, and undamaged: it is no accident then."""
    match row.values:
        case (_, str(name), int(events), _, _, int(checksum), bytes(data), *_):
            return Packed(data, checksum, head_of(name, events)).is_right
    return False
