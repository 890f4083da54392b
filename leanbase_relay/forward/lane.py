"""A lane: brings one project's backlog upstream, oldest first, one batch at a time.

Owns the order of delivery, and acts upon each verdict; the rules of it are elsewhere:
when a batch leaves (`pace`), how it is divided (`division`), when nothing more is
buried (`guard`), how long to wait (`backoff`). It keeps no state that a crash could
lose: the backlog is the state, and an event leaves it only when the upstream has
decided on it.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from leanbase_relay.clock import Clock
from leanbase_relay.errors import Stopping
from leanbase_relay.forward import pace
from leanbase_relay.forward.attempts import Attempts
from leanbase_relay.forward.backlog import AGAIN_SECONDS, Backlog
from leanbase_relay.forward.backoff import retrying
from leanbase_relay.forward.batch import Batch
from leanbase_relay.forward.division import Outcome, divide
from leanbase_relay.forward.guard import Guard
from leanbase_relay.forward.limit import Limit
from leanbase_relay.forward.sending import Sending
from leanbase_relay.forward.standing import LaneStatus, Standing
from leanbase_relay.forward.upstream import Upstream
from leanbase_relay.forward.verdict import Judgement, Verdict, skew_seconds
from leanbase_relay.store.chunk import Damaged
from leanbase_relay.store.reader import Reader
from leanbase_relay.store.totals import Totals
from leanbase_relay.store.writer import Writer

log = logging.getLogger(__name__)

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
        self._standing = Standing(project, clock)
        self._known = upstream.identity  # whom limit and guard are about
        taught = self._backlog.taught_by(self._known.number)
        self._limit = Limit(taught.learnt_bytes)
        self._guard = Guard(taught.dead_in_a_row)
        self._news = clock.poke()  # more events
        self._nudge = clock.poke()  # do not wait for the backoff
        self._resting = False
        self._flush_upto = 0  # of what was ever accepted: so much is to be sent now
        self._under_way: Batch | None = None
        self._changed = False  # what is under way is to be begun anew
        self._not_before = 0.0
        self._tries = 0  # of the sending under way

    # What others call.

    def tell(self, totals: Mapping[str, Totals]) -> None:
        """News of the backlog; wakes a lane that rests, or whose batch is full."""
        mine = totals.get(self.project)
        if mine is None:
            return
        if self._resting or self._is_full(mine):
            self._news.set()
        if self._standing.is_in_trouble and not mine.backlog_events:
            self._nudge.set()  # what it tries to send was given up

    def flush(self) -> float:
        """Send now, whatever the lane is waiting for, but not before `Retry-After`.

        Returns:
            For how many seconds more the upstream wants to be left alone.
        """
        self._forget_dead()
        self._hurry()
        return max(self._not_before - self._clock.monotonic(), 0.0)

    def look_again(self) -> None:
        """The operator gave up events: what is under way may be gone."""
        self._nudge.set()

    def reconfigure(self, upstream: Upstream, settings: Settings) -> None:
        """Go on with another upstream, key or protocol, at once."""
        old, self._settings = self.upstream, settings
        if old.terms != upstream.terms:
            self.upstream = upstream
            self._changed = True
            old.abort()
        self._hurry()

    def status(self) -> LaneStatus:
        """A look from any thread."""
        return self._standing.look(
            waiting=self._backlog.totals.backlog_events > 0,
            learnt_bytes=self._limit.learnt,
        )

    def _hurry(self) -> None:
        self._flush_upto = self._backlog.totals.accepted
        self._news.set()
        self._nudge.set()

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
        if self._changed:
            self._take_up_change()
        if not self._is_due():
            return False
        limits = self._settings
        batch = self._backlog.next_batch(
            max_events=limits.max_events, max_bytes=self._limit.of(limits.max_bytes)
        )
        if batch is None:
            return False
        try:
            self._deliver(self.upstream.begin(batch))
        except _BegunAnew:
            pass  # the backlog knows what is left of it
        except Damaged:
            self._backlog.look_inside()
        return True

    def _take_up_change(self) -> None:
        """What another upstream taught is of no account for this one."""
        self._changed = False
        self._not_before = 0.0  # it was asked of another request than the next
        self._standing.begins_anew()
        known, self._known = self._known, self.upstream.identity
        if known != self._known:
            self._forget_dead()
        if known.place != self._known.place:
            self._limit = Limit()

    def _forget_dead(self) -> None:
        """Let the guard count anew."""
        if self._guard.in_a_row:
            self._guard.taken()
            self._backlog.count_dead(0, self._known.number)

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

    def _is_due(self) -> bool:
        totals = self._backlog.totals
        if not totals.backlog_events:
            self._standing.nothing_waits()
            return False
        is_flushing = totals.accepted - totals.backlog_events < self._flush_upto
        return is_flushing or self._is_full(totals) or self._until_due() <= 0

    def _is_full(self, totals: Totals) -> bool:
        limits = self._settings
        return pace.is_full(
            totals,
            max_events=limits.max_events,
            max_bytes=self._limit.of(limits.max_bytes),
        )

    def _until_due(self) -> float:
        since = self._backlog.oldest_waits_since()
        if since is None:
            return _FOREVER_SECONDS
        return pace.seconds_until_due(
            since,
            self._clock.wall(),
            max_wait_seconds=self._settings.max_wait_seconds,
        )

    # A batch, to its end.

    def _deliver(self, sending: Sending) -> Outcome:
        """Have the upstream decide on all of a sending, dividing it where need be."""
        if sending.undecided > 1 and sending.size > self._limit.of(sending.size):
            return divide(sending, Verdict.TOO_BIG, self._deliver)
        judgement = self._send(sending)
        if judgement.verdict is Verdict.DELIVERED:
            if self._limit.delivered(sending.size, self._settings.max_bytes):
                self._learn()
            return Outcome(whole=True, largest=sending.size)
        if not sending.undecided:
            return Outcome(fat=judgement.verdict is Verdict.TOO_BIG)
        parts = divide(sending, judgement.verdict, self._deliver)
        # A single event that is too big says nothing of how large a request may be.
        fits = judgement.verdict is Verdict.TOO_BIG and parts.largest and not parts.fat
        if fits and self._limit.refused(sending.size, parts.largest):
            log.info(
                "limit_learnt project=%s max_bytes=%d", self.project, parts.largest
            )
            self._learn()
        return parts

    def _learn(self) -> None:
        self._backlog.learn(self._limit.learnt, self._known.number)

    # Attempts.

    def _send(self, sending: Sending) -> Judgement:
        """Try until there is a decision: anything but LATER and HELD."""
        limits = self._settings
        self._nudge.take(0)  # a flush of long ago is no reason to hurry
        self._tries = 0
        # Not in the policy's closures: it is garbage in cycles, and would keep batches.
        self._under_way = sending.batch
        policy = retrying(
            first_seconds=limits.first_delay_seconds,
            max_seconds=limits.max_delay_seconds,
            attempts_before=self._standing.attempt,
            sleep=self._sleep,
            check_stop=self._check_stop,
            on_delay=self._delayed,
        )
        judgement: Judgement = policy(self._attempted, sending)
        self._under_way = None
        self._standing.decided(judgement)
        return judgement

    def _attempted(self, sending: Sending) -> Judgement:
        self._standing.tries()
        self._tries += 1
        frozen = self._backlog.freeze(sending.batch)
        began, events = self._clock.monotonic(), sending.undecided
        answer = self.upstream.send(sending)
        took = self._clock.monotonic() - began
        self.attempts.note(answer, events=events, size=sending.size, seconds=took)
        if not answer.reached:
            self._backlog.thaw(frozen)
        now = self._clock.wall()
        judgement = sending.judge(answer, now=now)
        if judgement.verdict is Verdict.DELIVERED:
            self._standing.skewed(skew_seconds(answer, now=now))
        if judgement.verdict is Verdict.LATER and self._tries_are_used_up():
            return self._give_up(sending, judgement)
        # An upstream that takes some does not refuse everything.
        return self._settle(sending, judgement, at_once=sending.took_some)

    def _tries_are_used_up(self) -> bool:
        most = self._settings.max_attempts
        return most is not None and self._tries >= most

    def _give_up(self, sending: Sending, judgement: Judgement) -> Judgement:
        """Bury what is undecided, all of it at once; unless nothing is ever taken."""
        if not (self._guard.lets_go or sending.took_some):
            sending.reopen()
            return self._guard.held(judgement)
        given_up = judgement.but(Verdict.REFUSED).because(
            f"given up after {self._tries} attempts (retry.max_attempts): "
            f"{judgement.reason}"
        )
        sending.give_up(given_up)
        return self._settle(sending, given_up, at_once=True)

    def _settle(
        self, sending: Sending, judgement: Judgement, *, at_once: bool
    ) -> Judgement:
        """Let what is decided leave the backlog.

        Args:
            sending: of which.
            judgement: of its last answer.
            at_once: whatever the guard says.

        Returns:
            The judgement; or HELD, when nothing but refusals came for too long.
        """
        for part in sending.settled():
            if part.refused is None or part.judgement is None:
                self._backlog.ack(part.end)
                self._guard.taken()
            elif at_once or self._guard.lets_go:
                self._guard.buried()
                self._backlog.bury(
                    part.refused,
                    part.judgement,
                    dead_in_a_row=self._guard.in_a_row,
                    upstream=self._known.number,
                )
            else:
                sending.reopen()
                return self._guard.held(part.judgement)
        return judgement

    def _sleep(self, seconds: float) -> None:
        """The backoff's wait: a flush ends it, but never before `Retry-After`.

        Raises:
            _BegunAnew: the batch is not what would be sent now.
        """
        self._clock.wait(seconds, self._nudge)
        rest = self._not_before - self._clock.monotonic()
        while rest > 0 and not (self._clock.stopping or self._changed):
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

    def _delayed(self, judgement: Judgement, delay: float) -> None:
        self._not_before = self._clock.monotonic() + judgement.not_before_seconds
        self._standing.in_vain(
            judgement, delay=delay, backlog=self._backlog.totals.backlog_events
        )


class _BegunAnew(Exception):
    """What is under way is not what would be sent now."""
