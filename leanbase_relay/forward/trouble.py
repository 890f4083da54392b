"""Trouble: what keeps a lane from delivering, and the log of when it began and ended.

One line when it begins, one when something is delivered again. An upstream that comes
and goes all night is summed up (`seldom`); the end of what was not said is not said
either.
"""

import logging

from leanbase_relay.clock import Clock
from leanbase_relay.forward.verdict import Judgement, Verdict
from leanbase_relay.seldom import Seldom

log = logging.getLogger(__name__)


class Trouble:
    """One lane's."""

    def __init__(self, project: str, clock: Clock) -> None:
        self._project = project
        self._clock = clock
        self._seldom = Seldom(clock)
        self.state: str | None = None
        """``held`` or ``backing_off``; None while there is no trouble."""
        self._began: float | None = None  # None once it is over
        self._last_state: str | None = None
        self._attempts = 0
        self._said = False

    def meet(self, judgement: Judgement, *, backlog: int) -> None:
        """An attempt was in vain."""
        self.state = "held" if judgement.verdict is Verdict.HELD else "backing_off"
        if self._began is None:
            self._began, self._said = self._clock.monotonic(), False
            self._attempts = 0
        self._attempts += 1
        before, self._last_state = self._last_state, self.state
        if before == self.state or not (times := self._seldom.times()):
            return
        self._said = True
        log.warning(
            "lane_%s project=%s backlog=%d times=%d reason=%s",
            self.state,
            self._project,
            backlog,
            times,
            judgement.reason,
        )

    def pause(self) -> None:
        """The upstream decided, but took nothing: it is there, and not yet well."""
        self.state = None

    def end(self) -> None:
        """The upstream took something."""
        if self._began is not None and self._said:
            log.info(
                "lane_recovered project=%s after_attempts=%d after_seconds=%.0f",
                self._project,
                self._attempts,
                self._clock.monotonic() - self._began,
            )
        self.forget()

    def forget(self) -> None:
        """It is over; or what could not be delivered is gone by another door."""
        self.state = self._last_state = self._began = None
