"""A lane: brings one project's backlog upstream, oldest first, one batch at a time.

Owns the order of delivery, and what follows from each verdict. It keeps no state that a
crash could lose: the backlog is the state, and an event leaves it only when the
upstream has decided on it.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from leanbase_relay.clock import Clock, Moment
from leanbase_relay.errors import Stopping
from leanbase_relay.forward.attempts import Attempts
from leanbase_relay.forward.backlog import AGAIN_SECONDS, Backlog
from leanbase_relay.forward.backoff import retrying
from leanbase_relay.forward.batch import Batch
from leanbase_relay.forward.limit import Limit
from leanbase_relay.forward.sending import Sending
from leanbase_relay.forward.trouble import Trouble
from leanbase_relay.forward.upstream import Upstream
from leanbase_relay.forward.verdict import Judgement, Verdict, skew_seconds
from leanbase_relay.store.chunk import Damaged
from leanbase_relay.store.reader import Reader
from leanbase_relay.store.totals import Totals
from leanbase_relay.store.writer import Writer

log = logging.getLogger(__name__)

MOST_IN_A_ROW = 20
"""Dead letters without one delivery in between. An upstream that refuses everything is
more likely than twenty bad events, and the operator is to look before more are buried;
each `flush` lets as many more go."""

_FOREVER_SECONDS = 365 * 24 * 3600.0


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
        skew_seconds: how far this machine's clock is ahead of the upstream's.
    """

    state: str = "idle"
    attempt: int = 0
    next_attempt_at: float | None = None
    last_success_at: float | None = None
    last_error: str | None = None
    last_error_at: float | None = None
    skew_seconds: float | None = None


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
        self.attempts = Attempts()
        self._backlog = Backlog(project, reader=reader, writer=writer, clock=clock)
        self._clock = clock
        self._settings = settings
        self._limit = Limit(self._backlog.totals.learnt_bytes)
        self._news = clock.poke()  # more events
        self._nudge = clock.poke()  # do not wait for the backoff
        self._resting = False
        self._flush_upto = 0  # of what was ever accepted: so much is to be sent now
        self._under_way: Batch | None = None
        self._changed = False  # what is under way is to be begun anew
        self._not_before = 0.0
        self._trouble = Trouble(project, clock)
        self._dead_in_a_row = 0
        self._attempt = 0
        self._next_attempt_at: float | None = None
        self._last_success: Moment | None = None
        self._last_error: tuple[str, Moment] | None = None
        self._skew: tuple[float, Moment] | None = None

    # What others call.

    def tell(self, totals: Mapping[str, Totals]) -> None:
        """News of the backlog; wakes a lane that rests, or whose batch is full."""
        mine = totals.get(self.project)
        if mine is None:
            return
        if self._resting or self._is_full(mine):
            self._news.set()
        if self._trouble and not mine.backlog_events:
            self._nudge.set()  # what it tries to send was given up

    def flush(self) -> None:
        """Send now, whatever the lane is waiting for, but not before `Retry-After`."""
        self._flush_upto = self._backlog.totals.accepted
        self._dead_in_a_row = 0
        self._news.set()
        self._nudge.set()

    def reconfigure(self, upstream: Upstream, settings: Settings) -> None:
        """Go on with another upstream, key or protocol, at once."""
        old, self._settings = self.upstream, settings
        if old.terms != upstream.terms:
            self.upstream = upstream
            self._changed = True
            self._not_before = 0.0  # it was asked of another request than the next
            old.abort()
        self.flush()

    def status(self) -> LaneStatus:
        """A look from any thread."""
        clock, success = self._clock, self._last_success
        error, error_at = self._last_error or (None, None)
        skew, measured = self._skew or (None, None)
        return LaneStatus(
            state=self._state(),
            attempt=self._attempt,
            next_attempt_at=self._next_attempt_at,
            last_success_at=success.told(clock) if success else None,
            last_error=error,
            last_error_at=error_at.told(clock) if error_at else None,
            skew_seconds=skew + measured.shift(clock) if skew and measured else skew,
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
            self._backlog.settle_ack()

    def step(self) -> bool:
        """Bring one batch to its end; False if none is ready."""
        if not self._is_due():
            return False
        self._changed = False
        limits = self._settings
        batch = self._backlog.next_batch(
            max_events=limits.max_events, max_bytes=self._limit.of(limits.max_bytes)
        )
        if batch is None:
            return False
        try:
            self._deliver(batch)
        except _BegunAnew:
            pass  # the backlog knows what is left of it
        except Damaged:
            self._backlog.look_inside()
        return True

    def _rest(self) -> None:
        """Wait for news, or until the oldest event has waited long enough."""
        if not self._backlog.settle_ack():
            self._clock.wait(AGAIN_SECONDS, self._news)
            return
        # In this order: an event that comes after the look finds a lane that rests,
        # and its poke is kept for the wait.
        self._resting = True
        seconds = self._until_due()
        self._resting = seconds == _FOREVER_SECONDS
        self._clock.wait(seconds, self._news)
        self._resting = False

    # When.

    def _is_full(self, totals: Totals) -> bool:
        max_bytes = self._limit.of(self._settings.max_bytes)
        return (
            totals.backlog_events >= self._settings.max_events
            or totals.backlog_bytes >= max_bytes
        )

    def _is_due(self) -> bool:
        totals = self._backlog.totals
        if not totals.backlog_events:
            self._trouble.forget()
            self._next_attempt_at = None  # of what is gone
            self._attempt = 0
            return False
        is_flushing = totals.accepted - totals.backlog_events < self._flush_upto
        return is_flushing or self._is_full(totals) or self._until_due() <= 0

    def _until_due(self) -> float:
        since = self._backlog.oldest_waits_since()
        if since is None:
            return _FOREVER_SECONDS
        waited = self._clock.wall() - since
        longest = self._settings.max_wait_seconds
        if waited < -longest:
            return 0.0  # the wall clock was set back: nobody knows how long it waited
        return longest - min(max(waited, 0.0), longest)

    # A batch, to its end.

    def _deliver(self, batch: Batch) -> "_Result":
        """Have the upstream decide on all of a batch, dividing it where need be."""
        if batch.events > 1 and batch.size > self._limit.of(batch.size):
            return self._divide(batch, Verdict.TOO_BIG, was_asked=False)
        sending = self.upstream.begin(batch)
        judgement = self._send(sending)
        if judgement.verdict is Verdict.DELIVERED:
            if self._limit.delivered(batch.size, self._settings.max_bytes):
                self._backlog.learn(self._limit.learnt)
            return _Result(whole=True, largest=batch.size)
        if judgement.verdict is Verdict.LATER:  # retry.max_attempts are used up
            sending.give_up(judgement)
            self._settle(sending, judgement)
        elif batch.events > 1 and not sending.is_decided:
            return self._divide(batch, judgement.verdict)
        return _Result(fat=judgement.verdict is Verdict.TOO_BIG)

    def _divide(
        self, batch: Batch, verdict: Verdict, *, was_asked: bool = True
    ) -> "_Result":
        """Deliver a batch by halves, since the upstream names no culprit.

        Order is kept: the first half is finished before the second is tried. If it was
        taken whole, what was refused is in the second: that is halved without asking,
        or an event in the worst place would cost more than 2 log2(n) requests. (What
        was too big may well fit by halves.)

        Args:
            batch: of several events.
            verdict: why it is divided.
            was_asked: the upstream has seen the batch; else it teaches nothing.
        """
        first, second = batch.halves()
        one = self._deliver(first)
        if one.whole and verdict is Verdict.REFUSED and second.events > 1:
            two = self._divide(second, verdict)
        else:
            two = self._deliver(second)
        both = _Result(fat=one.fat or two.fat, largest=max(one.largest, two.largest))
        # A single event that is too big says nothing of how large a request may be.
        fits = verdict is Verdict.TOO_BIG and both.largest and not both.fat
        if was_asked and fits and self._limit.refused(batch.size, both.largest):
            log.info("limit_learnt project=%s max_bytes=%d", self.project, both.largest)
            self._backlog.learn(self._limit.learnt)
        return both

    # Attempts.

    def _send(self, sending: Sending) -> Judgement:
        """Try until there is a decision: anything but LATER and HELD."""
        limits = self._settings
        self._nudge.take(0)  # a flush of long ago is no reason to hurry
        # Not in the policy's closures: it is garbage in cycles, and would keep batches.
        self._under_way = sending.batch
        policy = retrying(
            first_seconds=limits.first_delay_seconds,
            max_seconds=limits.max_delay_seconds,
            max_attempts=limits.max_attempts,
            sleep=self._sleep,
            check_stop=self._check_stop,
            on_delay=self._delayed,
        )
        judgement: Judgement = policy(self._attempted, sending)
        self._under_way = None
        self._decided(judgement)
        return judgement

    def _attempted(self, sending: Sending) -> Judgement:
        self._next_attempt_at = None
        frozen = self._backlog.freeze(sending.batch)
        began = self._clock.monotonic()
        answer = self.upstream.send(sending)
        took = self._clock.monotonic() - began
        self.attempts.note(answer, sending.batch, seconds=took)
        if not answer.reached:
            self._backlog.thaw(frozen)
        now = self._clock.wall()
        judgement = sending.judge(answer, now=now)
        if judgement.verdict is Verdict.DELIVERED:
            skew = skew_seconds(answer, now=now)
            self._skew = None if skew is None else (skew, Moment.now(self._clock))
        if sending.took_some:  # an upstream that takes some does not refuse everything
            return self._settle(sending, judgement)
        return self._settle(sending, judgement, most_in_a_row=MOST_IN_A_ROW)

    def _settle(
        self,
        sending: Sending,
        judgement: Judgement,
        *,
        most_in_a_row: float = float("inf"),
    ) -> Judgement:
        """Let what is decided leave the backlog.

        Returns:
            The judgement; or HELD, when nothing but refusals came for too long.
        """
        for part in sending.settled():
            if part.refused is None or part.judgement is None:
                self._backlog.ack(part.end)
                self._dead_in_a_row = 0
            elif self._dead_in_a_row < most_in_a_row:
                self._backlog.bury(part.refused, part.judgement)
                self._dead_in_a_row += 1
            else:
                sending.reopen()
                return part.judgement.but(Verdict.HELD).because(
                    f"{part.judgement.reason}, and so {MOST_IN_A_ROW} events before it "
                    "without one that was taken; see `leanbase-relay dead-letters`, "
                    "and check upstream.url and what lies in between"
                )
        return judgement

    def _sleep(self, seconds: float) -> None:
        """The backoff's wait: a flush ends it, but never before `Retry-After`.

        Raises:
            _BegunAnew: the batch is not what would be sent now.
        """
        self._clock.wait(seconds, self._nudge)
        rest = self._not_before - self._clock.monotonic()
        while rest > 0 and not self._clock.stopping:
            self._clock.wait(rest, self._nudge)
            rest = self._not_before - self._clock.monotonic()
        if self._changed or (self._under_way and self._is_other(self._under_way)):
            raise _BegunAnew

    def _is_other(self, batch: Batch) -> bool:
        """Whether the store would give another batch now."""
        return self._backlog.was_clock_set(batch) or self._backlog.is_gone(batch)

    def _check_stop(self) -> None:
        if self._clock.stopping:
            raise Stopping("the relay is stopping")

    def _delayed(self, judgement: Judgement, attempt: int, delay: float) -> None:
        now = self._clock.monotonic()
        self._attempt = attempt
        self._not_before = now + judgement.not_before_seconds
        self._next_attempt_at = now + delay
        self._last_error = (judgement.reason, Moment.now(self._clock))
        backlog = self._backlog.totals.backlog_events
        self._trouble.meet(judgement, backlog=backlog)

    def _decided(self, judgement: Judgement) -> None:
        now = Moment.now(self._clock)
        if judgement.verdict is Verdict.DELIVERED:
            self._last_success = now
        else:
            self._last_error = (judgement.reason, now)
        self._trouble.end(after_attempts=self._attempt)
        self._attempt = 0

    def _state(self) -> str:
        waiting = "flowing" if self._backlog.totals.backlog_events else "idle"
        return self._trouble.state or waiting


class _Result(NamedTuple):
    """What came of a batch.

    Attributes:
        whole: the upstream took all of it, in one request.
        fat: it had an event that is too big for itself.
        largest: bytes of the largest request in it that was taken.
    """

    whole: bool = False
    fat: bool = False
    largest: int = 0


class _BegunAnew(Exception):
    """What is under way is not what would be sent now."""
