"""Seldom: how often the log says what happens again and again.

The first times are said at once, as they should be; what then goes on and on is said
every ten minutes, with how often it was. So a bad night is some lines and not ten
thousand, and a single change is never late.
"""

from leanbase_relay.clock import Clock

AT_ONCE = 4
EVERY_SECONDS = 600.0


class Seldom:
    """For one kind of line, and one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._allowed = float(AT_ONCE)
        self._since = clock.monotonic()
        self._untold = 0

    def times(self) -> int:
        """It happened. How often since it was last said; 0 = do not say it now."""
        now = self._clock.monotonic()
        grown = (now - self._since) / EVERY_SECONDS
        self._allowed = min(self._allowed + grown, float(AT_ONCE))
        self._since = now
        self._untold += 1
        if self._allowed < 1:
            return 0
        self._allowed -= 1
        times, self._untold = self._untold, 0
        return times
