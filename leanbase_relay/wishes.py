"""The operator's wishes: dead letters brought back or given up, a backlog given up.

Each wish is granted in slices. A command asks again and again, each time from where
the last answer ended; each answer is one transaction of the writer's among others, so
that intake waits for none of them for long, and a command that is interrupted has done
what it was told. The command also says up to where it goes, so that it never meets
what came after it began: a letter that dies again at once is not brought back again.
"""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from leanbase_relay.clock import Clock
from leanbase_relay.errors import RelayError, StoreUnavailable
from leanbase_relay.intake.event import Judge
from leanbase_relay.intake.line import TOO_LONG
from leanbase_relay.store import stamps
from leanbase_relay.store.backlog import Share
from leanbase_relay.store.chunk import MAX_CHUNK_BYTES, Chunk
from leanbase_relay.store.letters import (
    MAX_REQUEUES,
    KeptLetter,
    LetterReader,
    Selection,
)
from leanbase_relay.store.row import Row, merged, row_of
from leanbase_relay.store.schema import Integer
from leanbase_relay.store.store import Store

SLICE_LETTERS = 500
SLICE_BYTES = 1 << 20
SLICE_CHUNKS = 256
SLICE_CHUNK_BYTES = 8 << 20

Wish = Callable[[dict[str, Any]], dict[str, Any]]
"""Takes a request, returns the answer: both JSON values."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Slice:
    """Which dead letters are asked for, and where a command has got to.

    Attributes:
        upto: the newest letter when the command began.
        after: the last letter that was looked at.
        again: those too that were brought back often.
    """

    upto: Integer
    which: Selection = field(default_factory=Selection)
    after: Integer = 0
    again: bool = False


@dataclass(frozen=True, slots=True)
class Sorted:
    """What a slice of dead letters came to.

    Attributes:
        returning: each letter that comes back, with its event.
        staying: why others stay, by id.
        left_out: how many were brought back often already.
    """

    returning: list[tuple[KeptLetter, Chunk]] = field(default_factory=list)
    staying: dict[int, str] = field(default_factory=dict)
    left_out: int = 0


class Wishes:
    """Grants wishes; one at a time in each thread.

    Args:
        path: of the store.
        apply: has a change made to the store, and returns when it is committed.
        judge: makes a judge of lines, by the rules of today.
        projects: the configured names.
        clock: tells the time of new acceptances.
        max_chunk_events: of one chunk.
    """

    def __init__(
        self,
        path: Path,
        *,
        apply: Callable[[Callable[[Store], None]], None],
        judge: Callable[[], Judge],
        projects: frozenset[str],
        clock: Clock,
        max_chunk_events: int,
    ) -> None:
        self._path = path
        self._apply = apply
        self._judge = judge
        self._projects = projects
        self._clock = clock
        self._max_chunk_events = max_chunk_events

    def by_name(self) -> Mapping[str, Wish]:
        """The wishes as commands of the control socket."""
        return {
            "requeue_letters": self.requeue_letters,
            "purge_letters": self.purge_letters,
            "purge_backlog": self.purge_backlog,
        }

    def requeue_letters(self, request: dict[str, Any]) -> dict[str, Any]:
        """Bring a slice of dead letters back into the backlog.

        Returns:
            How many are `requeued`, which are `staying` and why, how many were
            `left_out`, and `after`: where the next slice begins; None at the end.

        Raises:
            StoreError, Stopping: nothing was changed.
        """
        asked = _asked(request, Slice)
        page = self._page(asked, whole=True)
        found = sort_out(
            page,
            judge=self._judge(),
            projects=self._projects,
            again=asked.again,
            now_ms=self._now_ms(),
        )
        requeued = self._changed(lambda store: self._requeue(store, found.returning))
        return {
            "requeued": requeued,
            "staying": [
                {"id": letter, "reason": reason}
                for letter, reason in found.staying.items()
            ],
            "left_out": found.left_out,
            "after": page[-1].id if page else None,
        }

    def purge_letters(self, request: dict[str, Any]) -> dict[str, Any]:
        """Delete a slice of dead letters.

        Returns:
            How many are `purged`, their `bytes`, and `after`, as above.

        Raises:
            StoreError, Stopping: nothing was changed.
        """
        page = self._page(_asked(request, Slice), whole=False)
        gone = self._changed(lambda store: store.purge_letters(page))
        return {
            "purged": len(gone),
            "bytes": sum(kept.size for kept in gone),
            "after": page[-1].id if page else None,
        }

    def purge_backlog(self, request: dict[str, Any]) -> dict[str, Any]:
        """Give up a slice of the backlog.

        Returns:
            How many events were `dropped`, their `bytes`, and `after`, as above.

        Raises:
            StoreError, Stopping: nothing was changed.
        """
        share = _asked(request, Share)
        dropped = self._changed(
            lambda store: store.purge(
                share, max_chunks=SLICE_CHUNKS, max_bytes=SLICE_CHUNK_BYTES
            )
        )
        return {
            "dropped": dropped.events,
            "bytes": dropped.bytes,
            "after": dropped.last,
        }

    def _page(self, asked: Slice, *, whole: bool) -> list[KeptLetter]:
        try:
            with closing(LetterReader(self._path)) as reader:
                return reader.page(
                    asked.which,
                    after=asked.after,
                    upto=asked.upto,
                    letters=SLICE_LETTERS,
                    max_bytes=SLICE_BYTES if whole else SLICE_CHUNK_BYTES,
                    whole=whole,
                )
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._path}: {error}") from error

    def _requeue(
        self, store: Store, returning: Iterable[tuple[KeptLetter, Chunk]]
    ) -> int:
        """In the writer's transaction: what went since the look stays gone."""
        there = [(kept, chunk) for kept, chunk in returning if store.keeps(kept.id)]
        store.requeue(
            [kept for kept, _ in there], self._rows(there), now_ms=self._now_ms()
        )
        return len(there)

    def _rows(self, returning: Iterable[tuple[KeptLetter, Chunk]]) -> list[Row]:
        """Neighbours share a row if they were accepted at the same time."""
        by_time: dict[int | None, list[Chunk]] = {}
        for kept, chunk in returning:
            by_time.setdefault(_accepted_at_ms(kept), []).append(chunk)
        return [
            row_of(
                chunk,
                stamped=stamps.noted(chunk.stamped, self._clock),
                accepted_at_ms=accepted_at_ms,
            )
            for accepted_at_ms, chunks in by_time.items()
            for chunk in merged(
                chunks, max_events=self._max_chunk_events, max_bytes=MAX_CHUNK_BYTES
            )
        ]

    def _changed(self, change: Callable[[Store], _Result]) -> _Result:
        results: list[_Result] = []
        self._apply(lambda store: results.append(change(store)))
        return results[-1]

    def _now_ms(self) -> int:
        return round(self._clock.wall() * 1000)


def sort_out(
    page: Iterable[KeptLetter],
    *,
    judge: Judge,
    projects: frozenset[str],
    again: bool,
    now_ms: int,
) -> Sorted:
    """Say which dead letters can come back, as what, and why others cannot. Pure."""
    found = Sorted()
    left_out = 0
    for kept in page:
        letter = kept.letter
        if letter.requeues >= MAX_REQUEUES and not again:
            left_out += 1
            continue
        event = _event_of(kept, judge, projects, now_ms)
        if isinstance(event, str):
            found.staying[kept.id] = event
        else:
            found.returning.append((kept, event))
    return replace(found, left_out=left_out)


def _event_of(
    kept: KeptLetter, judge: Judge, projects: frozenset[str], now_ms: int
) -> Chunk | str:
    """The event that a letter is, as a chunk of its own; or why it stays."""
    letter = kept.letter
    if letter.project not in projects:
        return f"project {letter.project} is not configured: nobody would deliver it"
    if letter.door == "intake":
        event = _judged(kept, judge, now_ms)
    elif kept.is_line:
        event = Chunk(letter.project, 1, letter.line)
    else:
        return (
            "it is a chunk that was damaged on the disk; `dead-letters export --full` "
            "gives its bytes"
        )
    if isinstance(event, str):
        return event
    historical = event.historical or letter.historical
    return replace(event, historical=historical, requeues=letter.requeues + 1)


def _judged(kept: KeptLetter, judge: Judge, now_ms: int) -> Chunk | str:
    """A line that was never accepted, by the rules of today."""
    letter = kept.letter
    if TOO_LONG in letter.reason:
        return f"{letter.reason}; only its beginning was kept"
    line = letter.line.replace(b"\n", b" ")  # between members: JSON has none in text
    judged = judge.judge(line, project=letter.project, now_ms=now_ms)
    if judged.refusals:
        return judged.refusals[0].reason
    return judged.chunks[0] if judged.chunks else "it is blank"


def _accepted_at_ms(kept: KeptLetter) -> int | None:
    """When the event was accepted; None for what never was, until now."""
    if kept.letter.door == "intake":
        return None
    accepted_at_ms = kept.letter.accepted_at_ms
    return kept.died_at_ms if accepted_at_ms is None else accepted_at_ms


def _asked(request: dict[str, Any], kind: type[_Result]) -> _Result:
    try:
        return msgspec.convert(request, kind)
    except msgspec.ValidationError as wrong:
        raise RelayError(f"not such a request: {wrong}") from None
