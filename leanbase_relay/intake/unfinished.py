"""Unfinished lines: how much of them is held, and whose goes when it is too much.

A producer may write most of a large event and then stop, and so may a thousand of them.
The one that has stood still for longest is given up first: who is writing goes on.
"""

import logging
from typing import Protocol

from leanbase_relay.clock import Clock
from leanbase_relay.seldom import Seldom

log = logging.getLogger(__name__)

MAX_BYTES_TOGETHER = 8 << 20
"""Of all unfinished lines but small ones; or two of the longest, if that is more."""
SMALL_BYTES = 4 << 10
"""What everybody may hold unasked: the end of a read, as a rule."""


class Holder(Protocol):
    """A connection that may hold a line whose end has not come."""

    peer: str

    def give_up_line(self) -> None:
        """Let go of it, and note that nothing is held."""


class Unfinished:
    """The account of all connections together.

    Args:
        max_line_bytes: the longest that a line may be.
    """

    def __init__(self, clock: Clock, *, max_line_bytes: int) -> None:
        self._max_bytes = max(MAX_BYTES_TOGETHER, 2 * max_line_bytes)
        self._sizes: dict[Holder, int] = {}  # who wrote last stands last
        self._bytes = 0
        self._seldom = Seldom(clock)

    def note(self, holder: Holder, size: int) -> None:
        """One holds so much now, and has just written."""
        self._bytes -= self._sizes.pop(holder, 0)
        if size > SMALL_BYTES:
            self._sizes[holder] = size
            self._bytes += size
        while self._bytes > self._max_bytes:
            idlest = next(iter(self._sizes))
            idlest.give_up_line()
            if times := self._seldom.times():
                log.warning("line_given_up times=%d peer=%s", times, idlest.peer)
