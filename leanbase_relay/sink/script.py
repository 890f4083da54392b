"""Scripts: which fault meets which request, by number and by time. Pure.

A script is a list of steps. Each begins with the first request after the one before
it has ended, and what no step wants is answered honestly.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from leanbase_relay.sink.fault import Fault

HONEST = Fault()


@dataclass(frozen=True, slots=True)
class Step:
    """One fault and how long it lasts: for ``times``, ``seconds``, or for ever.

    Attributes:
        fault: what happens to a request.
        times: to so many requests.
        seconds: to every request in so many seconds from the first.
        after: once so many requests have been answered honestly.
        every_seconds: down for so long, up for as long, and again.
    """

    fault: Fault
    times: int | None = None
    seconds: float | None = None
    after: int = 0
    every_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """The faults to come; then, for ever, normal behaviour."""

    steps: tuple[Step, ...] = ()

    def then(self, *faults: Fault) -> "Script":
        """The same, and after it each of these for one request."""
        return self.then_steps(Step(fault, times=1) for fault in faults)

    def then_always(self, fault: Fault) -> "Script":
        """The same, and after it this one until another script is followed."""
        return self.then_steps([Step(fault)])

    def then_steps(self, steps: Iterable[Step]) -> "Script":
        """The same, and after it these steps."""
        return replace(self, steps=(*self.steps, *steps))


class Play:
    """A script being followed: where it stands."""

    def __init__(self, script: Script) -> None:
        self._left = list(reversed(script.steps))
        self._act: _Act | None = None

    def next_fault(self, now: float) -> Fault:
        """What meets the request that comes now, on a monotonic clock."""
        while self._act is not None or self._left:
            if self._act is None:
                self._act = _Act(self._left.pop())
            fault = self._act.next_fault(now)
            if fault is not None:
                return fault
            self._act = None
        return HONEST


class _Act:
    """One step being followed."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._honest_left = step.after
        self._times_left = step.times
        self._begun_at: float | None = None

    def next_fault(self, now: float) -> Fault | None:
        """None once the step is over."""
        if self._honest_left > 0:
            self._honest_left -= 1
            return HONEST
        if self._begun_at is None:
            self._begun_at = now
        if self._is_over(now - self._begun_at):
            return None
        if self._is_up(now - self._begun_at):
            return HONEST
        if self._times_left is not None:
            self._times_left -= 1
        return self._step.fault

    def _is_over(self, age: float) -> bool:
        seconds = self._step.seconds
        return self._times_left == 0 or (seconds is not None and age >= seconds)

    def _is_up(self, age: float) -> bool:
        every = self._step.every_seconds
        return every is not None and int(age / every) % 2 == 1
