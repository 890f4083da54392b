"""Room: how many bytes may be held at once, and who waits until there are fewer."""

import asyncio
import contextlib
from collections import deque

MAX_WAITING = 256


class Room:
    """A bound in bytes, for the tasks of one loop.

    Who finds no room waits in line, so that nobody who wants much is overtaken for
    ever. One that wants more than there is gets all of it.

    Args:
        max_bytes: how many may be held at once.
        max_waiting: how long the line may be; whoever waits holds something as well.
    """

    def __init__(self, max_bytes: int, *, max_waiting: int = MAX_WAITING) -> None:
        self._max_waiting = max_waiting
        self._max_bytes = max_bytes
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.used = 0

    async def take(self, size: int, within_seconds: float) -> None:
        """Take room, at once or in turn.

        Raises:
            TimeoutError: there was none in that time, or the line is too long.
        """
        if not self._line and self._fits(size):
            self.used += size
            return
        if len(self._line) >= self._max_waiting:
            raise TimeoutError
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append((size, turn))
        try:
            async with asyncio.timeout(within_seconds):
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.give_back(size)
            else:
                with contextlib.suppress(ValueError):  # it was taken out already
                    self._line.remove((size, turn))
                self._let_in()
            raise

    def give_back(self, size: int) -> None:
        """Give room back, to whoever is next."""
        self.used -= size
        self._let_in()

    def _fits(self, size: int) -> bool:
        return self.used + size <= self._max_bytes or self.used == 0

    def _let_in(self) -> None:
        while self._line and self._fits(self._line[0][0]):
            size, turn = self._line.popleft()
            if not turn.cancelled():
                self.used += size
                turn.set_result(None)
