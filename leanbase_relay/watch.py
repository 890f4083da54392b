"""The watch: whether a thread fell, or hangs; and telling systemd that none does.

A thread that falls ends the process; one that hangs would not be noticed by anybody.
So each has a pulse. Lanes and spool do all of their waiting on the clock: theirs
remembers for what they wait, and until when. Whoever waits for something that has not
come is well for ever: an idle relay is healthy. The intake loop is asked, and has to
answer; the writer takes a step every few seconds.
"""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable, Set

from leanbase_relay import systemd
from leanbase_relay.clock import Clock, Poke

log = logging.getLogger(__name__)

# How long a thread may work without a look at the clock. A lane: upstream.timeout, and
# as long as name servers take, which nobody can bound. The spool lists its directory,
# which may hold a million files.
NAME_SERVERS_SECONDS = 300.0
SPOOL_BUSY_SECONDS = 120.0

STATUS_SECONDS = 5.0
"""Between two looks while systemd is to be told how it stands."""

_NO_WATCHDOG_SECONDS = 60.0

Moves = Callable[[], bool]


class Failure:
    """The first thread that fell, and what of.

    Args:
        foreseen: told of it; True if it has said all that there is to say.
    """

    def __init__(
        self, foreseen: Callable[[BaseException], bool] = lambda _: False
    ) -> None:
        self._foreseen = foreseen
        self._lock = threading.Lock()
        self.error: BaseException | None = None
        self.leaving = False

    def record(self, thread: str, error: BaseException) -> None:
        """Note it and wake the main thread, which ends the process."""
        with self._lock:
            if self.error is not None:
                return
            self.error = error
        if not self._foreseen(error):
            log.critical("thread_fell thread=%s", thread, exc_info=error)
        if not self.leaving:
            os.kill(os.getpid(), signal.SIGTERM)


class Pulse:
    """One thread's own clock, which knows whether the thread moves.

    Args:
        late_seconds: how long it may leave a poke, or the end of a wait, unnoticed.
        busy_seconds: how long it may work without a look at the clock.
    """

    def __init__(
        self, clock: Clock, *, late_seconds: float, busy_seconds: Callable[[], float]
    ) -> None:
        self._clock = clock
        self._late_seconds = late_seconds
        self._busy_seconds = busy_seconds
        self._waits: tuple[Poke, float] | None = None
        self._heard_at = clock.monotonic()

    def moves(self) -> bool:
        """A look from the watch: False if the thread should have been heard of."""
        now, waits = self._clock.monotonic(), self._waits
        if waits is None:
            return now - self._heard_at <= self._busy_seconds()
        poke, until = waits
        if now < until and not poke.is_set:
            self._heard_at = now  # what is late is late from the last good look on
            return True
        return now - self._heard_at <= self._late_seconds

    # The clock.

    @property
    def stopping(self) -> bool:
        self._heard_at = self._clock.monotonic()
        return self._clock.stopping

    @property
    def boot_id(self) -> str:
        return self._clock.boot_id

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def wall(self) -> float:
        return self._clock.wall()

    def since_boot(self) -> float:
        return self._clock.since_boot()

    def poke(self) -> Poke:
        return self._clock.poke()

    def wait(self, seconds: float, poke: Poke) -> bool:
        self._waits = poke, self._clock.monotonic() + seconds
        try:
            return self._clock.wait(seconds, poke)
        finally:
            self._heard_at = self._clock.monotonic()
            self._waits = None

    def stop(self) -> None:
        self._clock.stop()


class LoopPulse:
    """Asks an asyncio loop to answer, and waits for that."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Clock, *, late_seconds: float
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._late_seconds = late_seconds
        self._asked_at: float | None = None

    def moves(self) -> bool:
        """False if it owes an answer for too long."""
        now, asked_at = self._clock.monotonic(), self._asked_at
        if asked_at is None:
            self._asked_at = now
            self._loop.call_soon_threadsafe(self._answer)
            return True
        return now - asked_at <= self._late_seconds

    def _answer(self) -> None:
        self._asked_at = None


class Watch:
    """Looks at every thread now and then, and tells systemd while all is well.

    Args:
        on_hang: called once, when a thread was silent for too long.
    """

    def __init__(self, clock: Clock, *, on_hang: Callable[[], None]) -> None:
        self._clock = clock
        self._on_hang = on_hang
        self._watchdog_seconds = systemd.watchdog_seconds()
        self._threads: dict[str, Moves] = {}
        self._silent: tuple[str, ...] = ()
        self._said = ""
        self._next_at = clock.monotonic()

    @property
    def late_seconds(self) -> float:
        """How long a thread may be late."""
        return (self._watchdog_seconds or _NO_WATCHDOG_SECONDS) / 2

    @property
    def every_seconds(self) -> float | None:
        """From look to look; None where there is nobody to tell."""
        if self._watchdog_seconds is not None:
            return min(self._watchdog_seconds / 4, STATUS_SECONDS)
        return STATUS_SECONDS if systemd.is_there() else None

    def add(self, thread: str, moves: Moves) -> None:
        """Watch this one too."""
        self._threads[thread] = moves

    def add_loop(self, thread: str, loop: asyncio.AbstractEventLoop) -> None:
        """Watch the thread of a loop that runs."""
        pulse = LoopPulse(loop, self._clock, late_seconds=self.late_seconds)
        self.add(thread, pulse.moves)

    def add_steps(
        self, thread: str, stepped_at: Callable[[], float], *, every_seconds: float
    ) -> None:
        """Watch a thread that takes a step at least so often, come what may."""
        most = every_seconds + self.late_seconds
        self.add(thread, lambda: self._clock.monotonic() - stepped_at() <= most)

    def pulse(self, thread: str, busy_seconds: Callable[[], float]) -> Pulse:
        """A clock for a thread, by which it is watched."""
        late = self.late_seconds
        pulse = Pulse(self._clock, late_seconds=late, busy_seconds=busy_seconds)
        self.add(thread, pulse.moves)
        return pulse

    def step(self, state: Callable[[], str]) -> None:
        """One look, if it is due.

        Args:
            state: how the relay stands, in one line.
        """
        every, now = self.every_seconds, self._clock.monotonic()
        if every is None or now < self._next_at:
            return
        self._next_at = now + every
        self._look()
        said = f"silent: {', '.join(self._silent)}" if self._silent else state()
        news = [f"STATUS={said}"] if said != self._said else []
        self._said = said
        well = [] if self._silent else ["WATCHDOG=1"]
        if news or well:
            systemd.notify(*news, *well)

    def _look(self) -> None:
        silent = tuple(name for name, moves in self._threads.items() if not moves())
        if silent and not self._silent:
            log.critical("thread_silent thread=%s", ",".join(silent))
            self._on_hang()
        elif self._silent and not silent:
            log.warning("thread_moves thread=%s", ",".join(self._silent))
        self._silent = silent


def next_signal(of: Set[signal.Signals], seconds: float | None) -> int | None:
    """Wait for a signal, at most so long; None if none came."""
    if seconds is None:
        return signal.sigwait(of)
    came = signal.sigtimedwait(of, seconds)
    return came.si_signo if came else None
