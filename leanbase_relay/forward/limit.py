"""The learnt limit: how large a request the upstream takes, where it takes less. Pure.

A 413 teaches it, and only when smaller requests with the same events went through: one
event that is too large for itself says nothing of requests. What is learnt is what was
seen to be delivered. Now and then a larger request is tried, a quarter larger than the
last; if it is refused, the next trial comes twice as late.
"""

GROW_AFTER = 64
"""So many full requests are delivered before a larger one is tried."""
MAX_GROW_AFTER = 1 << 10


class Limit:
    """Bytes of events that one request may have.

    Args:
        learnt: from an earlier life; 0 if nothing is known.
    """

    def __init__(self, learnt: int = 0) -> None:
        self.learnt = learnt
        """The largest request that is known to be taken; 0 if none was refused."""
        self._trial = learnt
        self._patience = GROW_AFTER
        self._full = 0

    def of(self, max_bytes: int) -> int:
        """The bound for the next request, where the configuration says `max_bytes`."""
        return min(self._trial, max_bytes) if self._trial else max_bytes

    def delivered(self, size: int, max_bytes: int) -> bool:
        """Note a delivery; True if `learnt` changed by it."""
        if not self.learnt:
            return False
        proven = size > self.learnt
        if proven and self._trial >= max_bytes:
            self._set(0)  # nothing but the configuration bounds a request any more
            self._patience = GROW_AFTER
        elif proven:
            self.learnt = size
        # Whole events seldom fill a request: one that is just too large for what is
        # left leaves up to half of it.
        if 2 * size > self._trial:
            self._full += 1
        if self._full >= self._patience:
            self._full = 0
            self._trial = self._trial * 5 // 4
        return proven

    def refused(self, size: int, largest: int) -> bool:
        """Note that a request of this size was too big, while its parts were not.

        Args:
            size: what was refused.
            largest: of the requests that the same events went in.

        Returns:
            True if `learnt` changed by it.
        """
        before = self.learnt
        if self.learnt and size > self.learnt:  # a trial, and what was known still is
            largest = max(largest, self.learnt)
            self._patience = min(2 * self._patience, MAX_GROW_AFTER)
        self._set(largest)
        return self.learnt != before

    def _set(self, learnt: int) -> None:
        self.learnt = self._trial = learnt
        self._full = 0
