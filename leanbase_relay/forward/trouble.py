"""Trouble: what keeps a lane from delivering, and the log of when it began and ended.

One line when it begins, one when it ends. An upstream that comes and goes all night is
summed up (`seldom`); the end of what was not said is not said either.
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
        self._judgement: Judgement | None = None
        self._began = 0.0
        self._said = False

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self._judgement is not None

    @property
    def state(self) -> str | None:
        """``held`` or ``backing_off``; None without trouble."""
        if self._judgement is None:
            return None
        held = self._judgement.verdict is Verdict.HELD
        return "held" if held else "backing_off"

    def meet(self, judgement: Judgement, *, backlog: int) -> None:
        """An attempt was in vain."""
        before, self._judgement = self.state, judgement
        if before is None:
            self._began, self._said = self._clock.monotonic(), False
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

    def end(self, *, after_attempts: int) -> None:
        """The upstream decided on the batch."""
        if self._judgement is not None and self._said:
            log.info(
                "lane_recovered project=%s after_attempts=%d after_seconds=%.0f",
                self._project,
                after_attempts,
                self._clock.monotonic() - self._began,
            )
        self._judgement = None

    def forget(self) -> None:
        """What could not be delivered is gone by another door."""
        self._judgement = None
