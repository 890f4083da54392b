"""The clock: the one place that touches time, and the one door for waiting.

Durations come from the monotonic clock, stamps from the wall clock, and they are
never mixed. Every thread waits on a `Poke`, so that news and the order to stop
interrupt any wait. Tests pass a clock whose waiting advances its time.
"""

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Protocol, Self

LEAST_SHIFT_SECONDS = 1.0
"""What the wall clock must have been moved by. Clocks that drift, or that are slewed,
move with the boot clock; only a clock that is set moves alone."""

UNSET_BEFORE = 1_577_836_800.0
"""2020, by the wall clock: one that shows less was not set yet when it was read."""


def rfc_3339(wall: float, *, timespec: str = "milliseconds") -> str:
    """A stamp of the wall clock as text: ``2026-03-01T12:00:00.123Z``.

    Args:
        wall: seconds since 1970.
        timespec: to what it is told, as `datetime.isoformat` has it.
    """
    moment = datetime.fromtimestamp(wall, UTC)
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")


class Poke:
    """A hint that there may be work. Carries no data and is never queued."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Wake whoever waits, or spare the next wait."""
        self._event.set()

    @property
    def is_set(self) -> bool:
        """True while the hint was given and nobody has taken it."""
        return self._event.is_set()

    def take(self, timeout_seconds: float) -> bool:
        """Wait for the hint, at most so long; using it up."""
        given = self._event.wait(timeout_seconds)
        self._event.clear()
        return given


class Clock(Protocol):
    """Time, and waiting that a stop can interrupt."""

    @property
    def stopping(self) -> bool:
        """True once the relay was told to stop."""

    def monotonic(self) -> float:
        """Seconds, for durations."""

    def wall(self) -> float:
        """Seconds since 1970 UTC, for stamps."""

    @property
    def boot_id(self) -> str:
        """Which run of this machine it is; another one after each boot."""

    def since_boot(self) -> float:
        """Seconds since the machine booted, sleep included; nobody can set them."""

    def poke(self) -> Poke:
        """A poke that `stop` sets too; one for each thread that waits."""

    def wait(self, seconds: float, poke: Poke) -> bool:
        """Wait so long, or until poked; True means that we were told to stop."""

    def stop(self) -> None:
        """End every wait, now and from now on."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When something was: told right also when the wall clock was set since.

    Attributes:
        wall: as it stood then.
        apart: how far it was from the clock that counts from the boot.
    """

    wall: float
    apart: float

    @classmethod
    def now(cls, clock: Clock) -> Self:
        wall = clock.wall()
        return cls(wall, wall - clock.since_boot())

    def shift(self, clock: Clock) -> float:
        """By how many seconds the wall clock was set since then."""
        shift = clock.wall() - clock.since_boot() - self.apart
        return shift if abs(shift) >= LEAST_SHIFT_SECONDS else 0.0

    def told(self, clock: Clock) -> float:
        """When it was, by the wall clock as it stands today."""
        return self.wall + self.shift(clock)


class SystemClock:
    """The clock of a running relay."""

    def __init__(self) -> None:
        self._stopping = False
        self._pokes: list[Poke] = []

    @property
    def stopping(self) -> bool:
        return self._stopping

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    @cached_property
    def boot_id(self) -> str:
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        except OSError:
            return ""

    def since_boot(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def poke(self) -> Poke:
        poke = Poke()
        self._pokes.append(poke)
        if self._stopping:
            poke.set()
        return poke

    def wait(self, seconds: float, poke: Poke) -> bool:
        if not self._stopping:
            poke.take(min(seconds, threading.TIMEOUT_MAX))
        return self._stopping

    def stop(self) -> None:
        self._stopping = True
        for poke in self._pokes:
            poke.set()
