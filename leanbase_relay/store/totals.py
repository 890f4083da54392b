"""Totals: what happened to a project's events, as one row that changes with them.

Nothing is ever counted by scanning. A row is written in the transaction of the events
that it counts, so that ``accepted = delivered + dead + dropped + backlog`` holds at
every moment, over crashes too.
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # `status` needs the totals and is to be quick
    import sqlite3

_READ = "select * from project"
_SAVE = """
    insert or replace into project
        (name, accepted, delivered, dead, dropped, refused, backlog_bytes,
         position_chunk, position_events, dead_letters, dead_letter_bytes,
         dead_letters_given_up, frozen_chunk, learnt_bytes, anonymous,
         dead_in_a_row, taught_by)
    values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


HIGHEST_ID = 1 << 48
"""No id that was ever given comes near it."""


class Position(NamedTuple):
    """Up to where a lane has finished: all chunks before, and so many events of it."""

    chunk: int
    events: int


BEGINNING = Position(0, 0)


@dataclass(frozen=True, slots=True)
class Totals:
    """A project's row, over the life of the store.

    Attributes:
        accepted, delivered, dead, dropped, refused: events.
        position: of the lane.
        dead_letters, dead_letter_bytes: kept now, of both doors.
        dead_letters_given_up: how many went for want of room.
        frozen_chunk: up to it stamps stay as they are; see `store.stamps`.
        learnt_bytes: the largest request that the upstream takes; 0 = not known.
        anonymous: of the accepted ones, those that make no person profile.
        dead_in_a_row: what the upstream refused since it last took an event.
        taught_by: which upstream `learnt_bytes` and `dead_in_a_row` are about, as a
            number made of its address and protocol; 0 = not known.
    """

    accepted: int = 0
    delivered: int = 0
    dead: int = 0
    dropped: int = 0
    refused: int = 0
    backlog_bytes: int = 0
    position: Position = BEGINNING
    dead_letters: int = 0
    dead_letter_bytes: int = 0
    dead_letters_given_up: int = 0
    frozen_chunk: int = 0
    learnt_bytes: int = 0
    anonymous: int = 0
    dead_in_a_row: int = 0
    taught_by: int = 0

    @property
    def are_sound(self) -> bool:
        """Whether this can be what happened to a project's events."""
        members = {each.name: getattr(self, each.name) for each in fields(self)}
        counts = (*members.pop("position"), *members.values())
        return (
            all(type(count) is int and count >= 0 for count in counts)
            and self.backlog_events >= 0
            and max(self.position.chunk, self.frozen_chunk) < HIGHEST_ID
        )

    @property
    def backlog_events(self) -> int:
        """Events accepted that have not left by one of the three doors."""
        return self.accepted - self.delivered - self.dead - self.dropped


def read_totals(conn: "sqlite3.Connection") -> dict[str, Totals]:
    """The totals of every project; a column that an older file lacks counts as 0."""
    rows = conn.execute(_READ)
    columns = [column for column, *_ in rows.description]
    totals = {}
    for row in rows:
        members: dict[str, Any] = dict(zip(columns, row, strict=True))
        name = members.pop("name")
        position = Position(
            members.pop("position_chunk"), members.pop("position_events")
        )
        totals[name] = Totals(position=position, **members)
    return totals


def save_totals(conn: "sqlite3.Connection", project: str, totals: Totals) -> None:
    """Write a project's row."""
    conn.execute(
        _SAVE,
        (
            project,
            totals.accepted,
            totals.delivered,
            totals.dead,
            totals.dropped,
            totals.refused,
            totals.backlog_bytes,
            *totals.position,
            totals.dead_letters,
            totals.dead_letter_bytes,
            totals.dead_letters_given_up,
            totals.frozen_chunk,
            totals.learnt_bytes,
            totals.anonymous,
            totals.dead_in_a_row,
            totals.taught_by,
        ),
    )
