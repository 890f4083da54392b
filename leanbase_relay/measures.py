"""Measures: how long things took, how large they were, how often they happened.

Each is noted by one thread and may be read by any. A note costs a fraction of a
microsecond and keeps nothing but numbers.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
EVENTS = (1, 10, 50, 100, 500, 1_000, 2_500, 5_000, 10_000, 50_000)
BYTES = tuple(1 << power for power in range(10, 25, 2))


class Spread(NamedTuple):
    """A histogram as it was read.

    Attributes:
        buckets: an upper bound, and how many were not above it; the last is infinite.
        total: the sum of all that was noted.
    """

    buckets: tuple[tuple[float, int], ...]
    total: float


class Histogram:
    """How often a figure was how large."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = (*bounds, float("inf"))
        self._counts = [0] * len(self._bounds)
        self._total = 0.0

    def note(self, figure: float) -> None:
        """One more."""
        self._counts[bisect_left(self._bounds, figure)] += 1
        self._total += figure

    def read(self) -> Spread:
        """As of now; the infinite bucket is the count, so that they always agree."""
        counts = accumulate(self._counts.copy())
        return Spread(tuple(zip(self._bounds, counts, strict=True)), self._total)


class Tally:
    """How often each kind of thing happened. Whoever notes bounds the kinds."""

    def __init__(self, *kinds: str) -> None:
        self._counts = dict.fromkeys(kinds, 0)

    def note(self, kind: str, count: int = 1) -> None:
        """So many more of a kind."""
        self._counts[kind] = self._counts.get(kind, 0) + count

    def read(self) -> dict[str, int]:
        """As of now; kinds that are known from the start are there as zeros."""
        return self._counts.copy()
