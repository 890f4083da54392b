"""Parts of the backlog that may be given up: which chunks, and how much they hold."""

import sqlite3
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from leanbase_relay.clock import UNSET_BEFORE
from leanbase_relay.store import schema
from leanbase_relay.store.schema import Integer

_OLDEST = """
    select id, project, events, bytes, length(data) from chunk order by id limit ?
"""
_WITHIN = """
    select id, project, events, bytes, length(data)
      from chunk
     where id > :after and id <= :upto
       and (:project is null or project = :project)
       and (:accepted_before_ms is null
            or accepted_at_ms between :set_since_ms and :accepted_before_ms - 1)
     order by id
     limit :limit
"""
# The events of the first chunk that a lane has finished are not waiting any more.
_WAITING = """
    select chunk.project,
           sum(chunk.events - iif(id = position_chunk, position_events, 0)),
           sum(chunk.bytes),
           min(accepted_at_ms)
      from chunk join project on project.name = chunk.project
     where id > :after and id <= :upto
       and (:project is null or chunk.project = :project)
       and (:accepted_before_ms is null
            or accepted_at_ms between :set_since_ms and :accepted_before_ms - 1)
     group by chunk.project
     order by chunk.project
"""


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the backlog, in whole chunks.

    Attributes:
        upto: the id of its last chunk.
        after: its first chunk is the next one.
        project: whose; None is everybody's.
        accepted_before_ms: only what is older; None is of any age. What was stamped
            by a clock that was not set is of no age that anybody knows.
    """

    upto: Integer
    after: Integer = 0
    project: str | None = None
    accepted_before_ms: Integer | None = None

    def named(self) -> dict[str, Any]:
        """What the statements above ask for."""
        return asdict(self) | {"set_since_ms": round(UNSET_BEFORE * 1000)}


class ChunkSize(NamedTuple):
    """A chunk without its data; bytes of events, and as they are stored."""

    id: int
    project: str
    events: int
    event_bytes: int
    data_bytes: int


class Waiting(NamedTuple):
    """What a project has in a share."""

    project: str
    events: int
    bytes: int
    oldest_at_ms: int


def oldest(conn: sqlite3.Connection, *, limit: int) -> list[ChunkSize]:
    """The first chunks of all projects."""
    return [ChunkSize(*row) for row in conn.execute(_OLDEST, (limit,))]


def within(conn: sqlite3.Connection, share: Share, *, limit: int) -> list[ChunkSize]:
    """The first chunks of a share."""
    rows = conn.execute(_WITHIN, share.named() | {"limit": limit})
    return [ChunkSize(*row) for row in rows]


class BacklogReader:
    """Looks at the backlog of a store; where there is no store there is none."""

    def __init__(self, path: Path) -> None:
        self._conn = schema.connect_to_read(path) if path.exists() else None

    def close(self) -> None:
        if self._conn is not None:
            self._conn.close()

    def highest(self) -> int:
        """The id of the newest chunk; 0 if there is none."""
        if self._conn is None:
            return 0
        (highest,) = self._conn.execute("select max(id) from chunk").fetchone()
        return highest or 0

    def waiting(self, share: Share) -> list[Waiting]:
        """How much each project has there."""
        if self._conn is None:
            return []
        return [Waiting(*row) for row in self._conn.execute(_WAITING, share.named())]
