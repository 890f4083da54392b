"""Taking: from the lines of an open spool file to their commit.

What makes it safe is an order:

1. a slice of a file is judged and submitted together with the file's new progress, so
   that events and progress are committed together or not at all;
2. the next slice of the same file is submitted after that commit, never before; it is
   read and judged meanwhile;
3. the last slice marks the file as finished, and only when that is committed the file
   is given to `on_finished`;
4. before any other slice is submitted the file itself is synced, once a visit: what is
   counted as taken stands in the file after a power cut too.
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from leanbase_relay.clock import Clock
from leanbase_relay.errors import Stopping, StoreError
from leanbase_relay.intake.event import Judge
from leanbase_relay.intake.line import too_long
from leanbase_relay.intake.spool_file import SpoolFile
from leanbase_relay.intake.spool_text import KEPT_BYTES, NOTHING, Run
from leanbase_relay.store.deposit import DeadLetter, Deposit, FileProgress
from leanbase_relay.store.writer import Receipt, Writer

MAX_IN_FLIGHT = 8
"""Slices whose commit is waited for, each of another file: so small files share a
commit, which makes them three times as fast as with two. At most a chunk each."""


@dataclass(frozen=True, slots=True)
class _Slice:
    """A part of a file, judged, and where the file stands after it."""

    progress: FileProgress
    deposit: Deposit = field(default_factory=Deposit)
    blank: int = 0


@dataclass(frozen=True, slots=True)
class _Flight:
    """A slice on its way to the store."""

    file: SpoolFile
    slice: _Slice
    receipt: Receipt


class Taker:
    """Takes files, one after the other.

    Args:
        judge: this thread's own.
        max_event_bytes: longer lines are refused.
        on_committed: told of a file each time something of it was stored.
        on_finished: told of a file when its end was stored; has to close it.
    """

    def __init__(
        self,
        judge: Judge,
        writer: Writer,
        clock: Clock,
        *,
        max_event_bytes: int,
        on_committed: Callable[[SpoolFile], None],
        on_finished: Callable[[SpoolFile], None],
    ) -> None:
        self._judge = judge
        self._writer = writer
        self._clock = clock
        self._max_event_bytes = max_event_bytes
        self._on_committed = on_committed
        self._on_finished = on_finished
        self._flights: deque[_Flight] = deque()
        self.heed_stop = True
        """Whether reading ends when the relay is told to stop."""

    def begin(self, file: SpoolFile, known: FileProgress | None) -> bool:
        """Stand where taking was left; False if that was not in this file."""
        return file.begin(
            known, max_line_bytes=self._max_event_bytes, check=self.check_stop
        )

    def check_stop(self) -> None:
        """Leave a file where it stands when the relay is to stop.

        Raises:
            Stopping: it is.
        """
        if self.heed_stop and self._clock.stopping:
            raise Stopping

    def take(self, file: SpoolFile, may_end: Callable[[], bool]) -> bool:
        """Take the complete lines, and what is left when the file is at its end.

        Args:
            file: begun, so that it stands where taking was left.
            may_end: asked when all that is there was read.

        Returns:
            Whether it was the end: then `on_finished` has the file, or will have it.
        """
        # One slice is held back, because the last has to say that it is the last.
        held: _Slice | None = None
        for run in file.runs:
            self._submit_some(file, held)
            held = self._judged(file, run)
        if file.runs.paused or not may_end():
            self._submit_some(file, held)
            return False
        if file.damage is not None or file.runs.rest:
            self._submit_some(file, held)
            held = self._torn_end(file, file.runs.rest)
        if held is None and file.progress.finished_ctime_ns is not None:
            self._on_finished(file)  # a start after a kill found it so
        else:
            self._submit(
                file, _finished(held or _Slice(file.advance(NOTHING, 0)), file)
            )
        return True

    def land_all(self) -> None:
        """Wait for all commits.

        Raises:
            StoreFull, StoreUnavailable, Stopping: something was not stored; its file
            is closed, and stands where it stood.
        """
        while self._flights:
            self._land()

    def see_through(self) -> None:
        """After trouble: what can still be committed is."""
        while self._flights:
            with suppress(StoreError, Stopping):
                self._land()

    def _submit_some(self, file: SpoolFile, held: _Slice | None) -> None:
        """Submit a slice that is not the last: the file stays, and is resumed there."""
        if held is not None:
            file.save()
            self._submit(file, held)

    def _submit(self, file: SpoolFile, part: _Slice) -> None:
        flights = self._flights
        while flights and (len(flights) >= MAX_IN_FLIGHT or flights[-1].file is file):
            self._land()
        # A removed file has nothing to resume; its inode number may be another's soon.
        progress = None if file.removed else part.progress
        receipt = self._writer.submit(replace(part.deposit, progress=progress))
        flights.append(_Flight(file, part, receipt))

    def _land(self) -> None:
        """Wait for the oldest commit, and only then believe in it."""
        flight = self._flights.popleft()
        file, part = flight.file, flight.slice
        try:
            flight.receipt.wait()
        except BaseException:
            if not file.removed:  # a removed one has nowhere else to be read from
                file.close()
            raise
        file.progress = part.progress
        file.trail.refused += len(part.deposit.refused)
        file.trail.blank += part.blank
        self._on_committed(file)
        if part.progress.finished_ctime_ns is not None:
            self._on_finished(file)

    # Judging.

    def _judged(self, file: SpoolFile, run: Run) -> _Slice:
        if run.too_long:
            if not run.text:
                return _Slice(file.advance(run, 0))  # of a line that was refused
            reason = too_long(self._max_event_bytes)
            return _refused(file, run, run.text, reason)
        now_ms = round(self._clock.wall() * 1000)
        judged = self._judge.judge(run.text, project=file.project, now_ms=now_ms)
        refused = tuple(
            refusal.dead_letter(_origin(file, refusal.line))
            for refusal in judged.refusals
        )
        progress = file.advance(run, judged.lines)
        return _Slice(progress, Deposit(judged.chunks, refused), judged.blank)

    def _torn_end(self, file: SpoolFile, rest: bytes) -> _Slice:
        """What stands after the last newline: a line, or the end of a bad gzip."""
        if file.damage is None:
            return self._judged(file, Run(rest, len(rest)))
        return _refused(file, NOTHING, file.torn[:KEPT_BYTES], file.damage)


def _refused(file: SpoolFile, run: Run, text: bytes, reason: str) -> _Slice:
    letter = DeadLetter("intake", file.project, reason, _origin(file, 1), text)
    return _Slice(file.advance(run, 1), Deposit(refused=(letter,)))


def _finished(part: _Slice, file: SpoolFile) -> _Slice:
    ctime_ns = file.trail.stamp.ctime_ns
    return replace(part, progress=replace(part.progress, finished_ctime_ns=ctime_ns))


def _origin(file: SpoolFile, line: int) -> str:
    return f"spool {file.name} line={file.lines + line}"
