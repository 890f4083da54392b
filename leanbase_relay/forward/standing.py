"""The standing of a lane: what it is about, for `status` and for the log.

Written by the lane's thread, looked at by any other.
"""

from dataclasses import dataclass

from leanbase_relay.clock import Clock, Moment
from leanbase_relay.forward.trouble import Trouble
from leanbase_relay.forward.verdict import Judgement, Verdict


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """What a lane is about.

    Attributes:
        state: ``idle``, ``flowing``, ``backing_off`` or ``held``.
        attempt: attempts of the batch under way that brought no decision.
        next_attempt_at: monotonic; None while none is planned.
        last_success_at, last_error_at: wall clock.
        skew_seconds: how far this machine's clock is ahead of the upstream's.
        learnt_bytes: the largest request that the upstream takes, where that is less
            than the configuration would send; 0 = not known.
    """

    state: str = "idle"
    attempt: int = 0
    next_attempt_at: float | None = None
    last_success_at: float | None = None
    last_error: str | None = None
    last_error_at: float | None = None
    skew_seconds: float | None = None
    learnt_bytes: int = 0


class Standing:
    """One lane's."""

    def __init__(self, project: str, clock: Clock) -> None:
        self._clock = clock
        self._trouble = Trouble(project, clock)
        self.attempt = 0
        """Attempts in a row that brought no decision."""
        self._next_attempt_at: float | None = None
        self._last_success: Moment | None = None
        self._last_error: tuple[str, Moment] | None = None
        self._skew: tuple[float, Moment] | None = None

    @property
    def is_in_trouble(self) -> bool:
        """Whether the last attempt was in vain."""
        return self._trouble.state is not None

    # Told by the lane.

    def tries(self) -> None:
        """An attempt begins."""
        self._next_attempt_at = None

    def in_vain(self, judgement: Judgement, *, delay: float, backlog: int) -> None:
        """An attempt brought no decision; the next one is made after `delay`."""
        self.attempt += 1
        self._next_attempt_at = self._clock.monotonic() + delay
        self._last_error = (judgement.reason, Moment.now(self._clock))
        self._trouble.meet(judgement, backlog=backlog)

    def decided(self, judgement: Judgement) -> None:
        """The upstream decided on the request."""
        now = Moment.now(self._clock)
        if judgement.verdict is Verdict.DELIVERED:
            self._last_success = now
            self._trouble.end()
        else:
            self._last_error = (judgement.reason, now)
            self._trouble.pause()
        self.attempt = 0

    def skewed(self, skew_seconds: float | None) -> None:
        """How far this machine's clock was ahead of the upstream's just now."""
        now = Moment.now(self._clock)
        self._skew = None if skew_seconds is None else (skew_seconds, now)

    def begins_anew(self) -> None:
        """What was tried in vain is of no account any more."""
        self.attempt = 0
        self._next_attempt_at = None

    def nothing_waits(self) -> None:
        """What could not be delivered left by another door, if there was anything."""
        self.begins_anew()
        self._trouble.forget()

    # Asked by others.

    def look(self, *, waiting: bool, learnt_bytes: int) -> LaneStatus:
        """As it is now.

        Args:
            waiting: whether there is a backlog.
            learnt_bytes: see `LaneStatus`.
        """
        clock, success = self._clock, self._last_success
        error, error_at = self._last_error or (None, None)
        skew, measured = self._skew or (None, None)
        return LaneStatus(
            state=self._trouble.state or ("flowing" if waiting else "idle"),
            attempt=self.attempt,
            next_attempt_at=self._next_attempt_at,
            last_success_at=success.told(clock) if success else None,
            last_error=error,
            last_error_at=error_at.told(clock) if error_at else None,
            skew_seconds=skew + measured.shift(clock) if skew and measured else skew,
            learnt_bytes=learnt_bytes,
        )
