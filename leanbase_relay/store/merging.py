"""Merging: small neighbours of an old backlog become one row, while nothing else waits.

Events that come one at a time are stored one at a time: several pages of overhead each
for a few hundred bytes, and hardly compressed. While they flow that does not matter; in
a long outage it would use up the quota. So rows that have been waiting for a while are
put together, a step at a time that nobody notices.

What makes it safe: the merged row takes the id of its *last* part, so that a position
from before never passes events that it did not mean; and no row is touched that a lane
has read, which the lane says in `Claims`, under the lock that a step holds.
"""

import threading
from collections import defaultdict
from dataclasses import dataclass

from leanbase_relay.clock import Clock
from leanbase_relay.store import stamps
from leanbase_relay.store.chunk import Chunk, Damaged, head_of, joined, pack, unpack
from leanbase_relay.store.reader import StoredChunk
from leanbase_relay.store.row import Row
from leanbase_relay.store.store import Store

OLD_SECONDS = 30.0
"""How long a row must have waited: what flows is left alone."""
MAX_SPAN_MS = 600_000
"""Between the first and the last event of a merged row; `purge --older-than` and the
age of the backlog are as exact as that."""
SMALL_BYTES = 32 << 10
LEAST_ROWS = 8
MOST_ROWS = 500
"""In one step, which so takes a few milliseconds."""


class Claims:
    """Up to which chunk each lane has read; rows behind it are its own to acknowledge.

    A lane holds `lock` while it reads and claims.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._upto: dict[str, int] = defaultdict(int)

    def claim(self, project: str, chunk: int) -> None:
        """Nothing up to this chunk is merged any more."""
        self._upto[project] = max(self._upto[project], chunk)

    def of(self, project: str) -> int:
        """The last chunk that is claimed."""
        return self._upto[project]


@dataclass(frozen=True, slots=True)
class _Run:
    """Neighbours that fit together; `upto` is where the next look begins."""

    rows: list[StoredChunk]
    upto: int


class Merging:
    """Goes through the backlog of each project once, and again when more came.

    Args:
        max_events: of a merged row.
        max_bytes: the same of its events, before compression.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        claims: Claims,
        *,
        max_events: int,
        max_bytes: int,
    ) -> None:
        self._store = store
        self._clock = clock
        self._claims = claims
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._looked_upto: dict[str, int] = defaultdict(int)

    def step(self) -> bool:
        """Merge one run of rows, if there is one; False when all were looked at.

        Raises:
            sqlite3.Error: nothing was changed.
        """
        with self._claims.lock:
            for project, totals in self._store.totals.items():
                if not totals.backlog_events:
                    continue
                begun = totals.position.events > 0
                after = max(
                    self._looked_upto[project],
                    self._claims.of(project),
                    totals.position.chunk - (not begun),
                    totals.frozen_chunk,
                )
                rows = self._store.small_rows(project, after, limit=MOST_ROWS)
                run = self._first_run(rows)
                if run is None:
                    continue
                if len(run.rows) >= LEAST_ROWS:
                    self._merge(project, run.rows)
                self._looked_upto[project] = run.upto
                return True
        return False

    def _first_run(self, rows: list[StoredChunk]) -> _Run | None:
        """The rows from the first on that fit together; None if they are too young."""
        old_ms = (self._clock.wall() - OLD_SECONDS) * 1000
        run: list[StoredChunk] = []
        events = size = 0
        for row in rows:
            events += row.events
            size += row.bytes + 1
            if row.accepted_at_ms > old_ms:
                # Look here again, unless this much is worth a row of its own.
                return _Run(run, run[-1].id) if len(run) >= LEAST_ROWS else None
            fits = events <= self._max_events and size <= self._max_bytes
            if row.bytes > SMALL_BYTES or (
                run and not (fits and _belong_together(run[0], row))
            ):
                return _Run(run, run[-1].id if run else row.id)
            run.append(row)
        if len(rows) < MOST_ROWS and len(run) < LEAST_ROWS:
            return None  # the end; more may come to it
        return _Run(run, run[-1].id)

    def _merge(self, project: str, rows: list[StoredChunk]) -> None:
        try:
            parts = [
                Chunk(
                    project,
                    row.events,
                    unpack(row.packed),
                    stamps.events_of(row.stamped),
                    row.historical,
                    row.requeues,
                )
                for row in rows
            ]
        except Damaged:
            return  # its lane will meet it and keep what there is
        whole = joined(parts)
        note = stamps.renoted(rows[0].stamped, whole.stamped)
        head = head_of(project, whole.events)
        packed = pack(whole.event_bytes, head, tightly=True)
        row = Row(whole, packed, len(whole.event_bytes), note)
        with self._store.transaction():
            self._store.merge(row, [one.id for one in rows], rows[0].accepted_at_ms)


def _belong_together(first: StoredChunk, other: StoredChunk) -> bool:
    return (
        first.historical == other.historical
        and first.requeues == other.requeues
        and 0 <= other.accepted_at_ms - first.accepted_at_ms <= MAX_SPAN_MS
        and stamps.are_by_one_clock(first.stamped, other.stamped)
    )
