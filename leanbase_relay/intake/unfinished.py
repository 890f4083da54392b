"""Unfinished lines: how much of them is held, and whose goes when it is too much.

A producer may write most of a large event and then stop, and so may a thousand of them.
The one that has stood still for longest is given up first: who is writing goes on.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

Owner = TypeVar("Owner")

SMALL_BYTES = 4 << 10
"""What everybody may hold unasked: the end of a read, as a rule."""


class Unfinished(Generic[Owner]):
    """The account of all connections together.

    Args:
        max_bytes: that may be held, but for small ones.
        give_up: has an owner let go of its line, which notes that it holds nothing.
    """

    def __init__(self, max_bytes: int, give_up: Callable[[Owner], None]) -> None:
        self._max_bytes = max_bytes
        self._give_up = give_up
        self._sizes: dict[Owner, int] = {}  # who wrote last stands last
        self._bytes = 0

    def note(self, owner: Owner, size: int) -> None:
        """An owner holds so much now, and has just written."""
        self._bytes -= self._sizes.pop(owner, 0)
        if size > SMALL_BYTES:
            self._sizes[owner] = size
            self._bytes += size
        while self._bytes > self._max_bytes:
            self._give_up(next(iter(self._sizes)))
