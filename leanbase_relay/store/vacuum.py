"""Free pages, given back to the file system in steps that nobody notices.

SQLite goes through its list of free pages for each one: of a gigabyte of them that
takes 0.3 ms, and 2 MiB at once 140 ms in which nothing is committed. So a step is as
large as is done in time.
"""

from leanbase_relay.clock import Clock
from leanbase_relay.store.store import Store

MAX_PAGES, MIN_PAGES = 512, 16
STEP_SECONDS = 0.01
"""What a step is to take, at most."""

BUSY_NEXT_SECONDS = 0.25
"""Until the next one while there is a backlog: what leaves it needs the writer."""

_NEXT_SECONDS = 0.01


class Vacuum:
    """Gives back; belongs to the writer's thread."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._pages = MAX_PAGES

    def step(self) -> float:
        """Give some back.

        Returns:
            Seconds until the next step.
        """
        began = self._clock.monotonic()
        self._store.give_back(pages=self._pages)
        took = self._clock.monotonic() - began
        if took > STEP_SECONDS:
            self._pages = max(self._pages // 2, MIN_PAGES)
        else:
            self._pages = min(self._pages * 2, MAX_PAGES)
        if self._store.has_backlog:
            return BUSY_NEXT_SECONDS
        # Two thirds of the time are left to whoever wants to write.
        return max(2 * took, _NEXT_SECONDS)
