"""A lane: brings one project's backlog upstream, oldest first, one batch at a time.

Owns the order of delivery. It keeps no state that a crash could lose: the backlog is
the state, and an event leaves it only by ``ack`` or ``bury``. A crash between the
upstream's yes and the ack sends the batch again, with the same identities.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from leanbase_relay.clock import Clock
from leanbase_relay.errors import Stopping, StoreError
from leanbase_relay.forward.backoff import retrying
from leanbase_relay.forward.batch import Batch, DamagedChunk, build
from leanbase_relay.forward.letter import of_chunk, of_event
from leanbase_relay.forward.upstream import Upstream
from leanbase_relay.forward.verdict import Judgement, Verdict, judge
from leanbase_relay.store.deposit import DeadLetter
from leanbase_relay.store.reader import Reader
from leanbase_relay.store.totals import Position, Totals
from leanbase_relay.store.writer import Receipt, Writer

log = logging.getLogger(__name__)

_FOREVER_SECONDS = 365 * 24 * 3600.0
_ACK_AGAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration says of batches and retries; see `config`."""

    max_events: int
    max_bytes: int
    max_wait_seconds: float
    first_delay_seconds: float
    max_delay_seconds: float
    max_attempts: int | None = None


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """What a lane is about, for `status`.

    Attributes:
        state: ``idle``, ``flowing``, ``backing_off`` or ``held``.
        attempt: attempts of the batch under way that brought no decision.
        next_attempt_at: monotonic; None while none is planned.
        last_success_at, last_error_at: wall clock.
    """

    state: str = "idle"
    attempt: int = 0
    next_attempt_at: float | None = None
    last_success_at: float | None = None
    last_error: str | None = None
    last_error_at: float | None = None


class Lane:
    """Delivers one project's backlog until told to stop."""

    def __init__(
        self,
        project: str,
        *,
        reader: Reader,
        writer: Writer,
        upstream: Upstream,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self.project = project
        self.upstream = upstream
        self._reader = reader
        self._writer = writer
        self._clock = clock
        self._settings = settings
        self._position = self._totals.position
        self._acked: Receipt | None = None
        self._news = clock.poke()  # more events
        self._nudge = clock.poke()  # do not wait for the backoff
        self._resting = False
        self._flushing = False
        self._not_before = 0.0
        self._trouble: Judgement | None = None
        self._attempt = 0
        self._next_attempt_at: float | None = None
        self._last_success_at: float | None = None
        self._last_error: tuple[str, float] | None = None

    # What others call.

    def tell(self, totals: Mapping[str, Totals]) -> None:
        """News of the backlog; wakes a lane that rests, or whose batch is full."""
        mine = totals.get(self.project)
        if mine is not None and (self._resting or self._is_full(mine)):
            self._news.set()

    def flush(self) -> None:
        """Send now, whatever the lane is waiting for, but not before `Retry-After`."""
        self._flushing = True
        self._news.set()
        self._nudge.set()

    def reconfigure(self, upstream: Upstream, settings: Settings) -> None:
        """Go on with another upstream or key, at once."""
        old, self.upstream, self._settings = self.upstream, upstream, settings
        if old is not upstream:
            old.abort()
        self.flush()

    def status(self) -> LaneStatus:
        """A look from any thread."""
        error, error_at = self._last_error or (None, None)
        return LaneStatus(
            state=self._state(),
            attempt=self._attempt,
            next_attempt_at=self._next_attempt_at,
            last_success_at=self._last_success_at,
            last_error=error,
            last_error_at=error_at,
        )

    # The thread.

    def run(self) -> None:
        """The thread's body."""
        try:
            while not self._clock.stopping:
                if not self.step():
                    self._rest()
        except Stopping:
            pass
        finally:
            self._settle_ack()

    def step(self) -> bool:
        """Bring one batch to its end; False if none is ready."""
        if not self._is_due():
            return False
        batch = self._next_batch()
        if batch is None:
            return False
        self._deliver(batch)
        return True

    def _rest(self) -> None:
        """Wait for news, or until the oldest event has waited long enough."""
        if not self._settle_ack():
            self._clock.wait(_ACK_AGAIN_SECONDS, self._news)
            return
        # In this order: an event that comes after the look finds a lane that rests,
        # and its poke is kept for the wait.
        self._resting = True
        seconds = self._until_due()
        self._resting = seconds == _FOREVER_SECONDS
        self._clock.wait(seconds, self._news)
        self._resting = False

    # When.

    @property
    def _totals(self) -> Totals:
        return self._writer.totals.get(self.project, Totals())

    def _is_full(self, totals: Totals) -> bool:
        return (
            totals.backlog_events >= self._settings.max_events
            or totals.backlog_bytes >= self._settings.max_bytes
        )

    def _is_due(self) -> bool:
        totals = self._totals
        if not totals.backlog_events:
            self._flushing = False
            return False
        return self._flushing or self._is_full(totals) or self._until_due() <= 0

    def _until_due(self) -> float:
        accepted_at_ms = self._reader.oldest_accepted_at_ms(
            self.project, self._position
        )
        if accepted_at_ms is None:
            return _FOREVER_SECONDS
        waited = self._clock.wall() - accepted_at_ms / 1000
        longest = self._settings.max_wait_seconds
        if waited < -longest:
            return 0.0  # the wall clock was set back: nobody knows how long it waited
        return longest - min(max(waited, 0.0), longest)

    # What.

    def _next_batch(self) -> Batch | None:
        limits = self._settings
        while True:
            chunks = self._reader.peek(
                self.project,
                self._position,
                max_events=limits.max_events,
                max_bytes=limits.max_bytes,
            )
            if not chunks:
                return None
            try:
                return build(
                    chunks,
                    self._position,
                    max_events=limits.max_events,
                    max_bytes=limits.max_bytes,
                )
            except DamagedChunk as damaged:
                self._bury_chunk(damaged)

    def _deliver(self, batch: Batch) -> bool:
        """Bring a batch to its end; True if the upstream took all of it."""
        judgement = self._send(batch)
        if judgement.verdict is Verdict.DELIVERED:
            self._ack(batch.end)
            return True
        if judgement.verdict is Verdict.LATER:  # retry.max_attempts are used up
            for single in batch.singles():
                self._bury(single, judgement)
        elif batch.events == 1:
            self._bury(batch, judgement)
        else:
            self._divide(batch, judgement.verdict)
        return False

    def _divide(self, batch: Batch, verdict: Verdict) -> None:
        """Deliver a batch by halves, since the upstream names no culprit.

        Order is kept: the first half is finished before the second is tried. If it was
        taken whole, what was refused is in the second: that is halved without asking,
        or an event in the worst place would cost more than 2 log2(n) requests. (What
        was too big may well fit by halves.)
        """
        first, second = batch.halves()
        taken = self._deliver(first)
        if taken and verdict is Verdict.REFUSED and second.events > 1:
            self._divide(second, verdict)
        else:
            self._deliver(second)

    # Attempts.

    def _send(self, batch: Batch) -> Judgement:
        """Try until there is a decision: anything but LATER and HELD."""
        limits = self._settings
        policy = retrying(
            first_seconds=limits.first_delay_seconds,
            max_seconds=limits.max_delay_seconds,
            max_attempts=limits.max_attempts,
            sleep=self._sleep,
            check_stop=self._check_stop,
            on_delay=self._delayed,
        )
        judgement: Judgement = policy(lambda: self._attempted(batch))
        self._decided(judgement)
        return judgement

    def _attempted(self, batch: Batch) -> Judgement:
        self._next_attempt_at = None
        answer = self.upstream.send(batch)
        return judge(answer, now=self._clock.wall())

    def _sleep(self, seconds: float) -> None:
        """The backoff's wait: a flush ends it, but never before `Retry-After`."""
        self._clock.wait(seconds, self._nudge)
        while not self._clock.stopping:
            rest = self._not_before - self._clock.monotonic()
            if rest <= 0:
                return
            self._clock.wait(rest, self._nudge)

    def _check_stop(self) -> None:
        if self._clock.stopping:
            raise Stopping("the relay is stopping")

    def _delayed(self, judgement: Judgement, attempt: int, delay: float) -> None:
        now = self._clock.monotonic()
        self._attempt = attempt
        self._not_before = now + judgement.not_before_seconds
        self._next_attempt_at = now + delay
        self._last_error = (judgement.reason, self._clock.wall())
        if self._trouble is None or self._trouble.verdict is not judgement.verdict:
            held = judgement.verdict is Verdict.HELD
            log.warning(
                "lane_%s project=%s backlog=%d reason=%s",
                "held" if held else "backing_off",
                self.project,
                self._totals.backlog_events,
                judgement.reason,
            )
        self._trouble = judgement

    def _decided(self, judgement: Judgement) -> None:
        now = self._clock.wall()
        if judgement.verdict is Verdict.DELIVERED:
            self._last_success_at = now
        else:
            self._last_error = (judgement.reason, now)
        if self._trouble is not None:
            log.info(
                "lane_recovered project=%s after_attempts=%d",
                self.project,
                self._attempt,
            )
        self._trouble = None
        self._attempt = 0

    def _state(self) -> str:
        trouble = self._trouble
        if trouble is not None:
            return "held" if trouble.verdict is Verdict.HELD else "backing_off"
        return "flowing" if self._totals.backlog_events else "idle"

    # Out of the backlog.

    def _ack(self, upto: Position) -> None:
        """Have the position moved.

        The next batch need not wait for that commit: a later ack stands for an
        earlier one, and a crash in between repeats work.
        """
        self._position = upto
        self._settle_ack()
        self._acked = self._writer.apply(lambda store: store.ack(self.project, upto))

    def _settle_ack(self) -> bool:
        """Wait for the last ack; if it failed, ask again. False if that may fail."""
        if self._acked is None:
            return True
        try:
            self._acked.wait()
        except Stopping:
            self._acked = None
        except StoreError:
            upto = self._position
            self._acked = self._writer.apply(
                lambda store: store.ack(self.project, upto)
            )
            return False
        else:
            self._acked = None
        return True

    def _bury(self, batch: Batch, judgement: Judgement) -> None:
        letter = of_event(self.project, batch, judgement)
        log.warning(
            "event_buried project=%s status=%s reason=%s",
            self.project,
            judgement.status,
            judgement.reason,
        )
        self._bury_upto(batch.end, letter)

    def _bury_chunk(self, damaged: DamagedChunk) -> None:
        chunk = damaged.chunk
        log.error(
            "chunk_damaged project=%s chunk=%d events=%d reason=%s",
            self.project,
            chunk.id,
            chunk.events,
            damaged,
        )
        letter = of_chunk(self.project, chunk, str(damaged))
        self._bury_upto(Position(chunk.id + 1, 0), letter)

    def _bury_upto(self, upto: Position, letter: DeadLetter) -> None:
        """Bury, and be sure of it.

        `bury` counts all that it passes as dead, so that what was delivered before
        must be acked first.
        """
        now_ms = round(self._clock.wall() * 1000)
        while True:
            try:
                if self._settle_ack():
                    self._writer.apply(
                        lambda store: store.bury(
                            self.project, upto, letter, now_ms=now_ms
                        )
                    ).wait()
                    self._position = upto
                    return
            except StoreError:
                pass
            if self._clock.wait(_ACK_AGAIN_SECONDS, self._nudge):
                raise Stopping("the relay is stopping")
