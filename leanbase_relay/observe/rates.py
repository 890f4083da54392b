"""Rates: how fast events came and went in the last minutes.

The writer tells the totals after each commit; the last ones of each second are kept,
for ten minutes. Nothing here has a timer: while nothing is committed nothing changes,
and an idle relay is not woken to write that down.
"""

import itertools
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from leanbase_relay.clock import Clock
from leanbase_relay.store.totals import Totals

KEPT_SECONDS = 600
MOST_SAMPLES = KEPT_SECONDS + 12  # the oldest step is begun before its first look
WINDOW_SECONDS = 10.0
"""Over which a rate is taken: shorter trembles, longer tells of what is over."""
POINTS = 60
"""Of the history that `status --watch` and the page draw."""
MOST_LANES = 16
"""Whose backlogs are kept one by one; the figures of the whole count all of them."""

_STEP_SECONDS = KEPT_SECONDS / POINTS
_NOTHING = Totals()


class Sample(NamedTuple):
    """The totals of all projects at one moment; `at` is monotonic.

    Attributes:
        left: delivered, dead or dropped: out of the backlog, whichever way.
        lanes: backlog events of the projects that are kept one by one.
    """

    at: float
    accepted: int
    delivered: int
    left: int
    backlog: int
    lanes: tuple[int, ...]


def sample_of(
    at: float, totals: Mapping[str, Totals], projects: Sequence[str] = ()
) -> Sample:
    """The sums over all projects, and the backlogs of some."""
    every = totals.values()
    accepted = sum(one.accepted for one in every)
    backlog = sum(one.backlog_events for one in every)
    return Sample(
        at,
        accepted=accepted,
        delivered=sum(one.delivered for one in every),
        left=accepted - backlog,
        backlog=backlog,
        lanes=tuple(totals.get(name, _NOTHING).backlog_events for name in projects),
    )


@dataclass(frozen=True, slots=True)
class Flow:
    """How fast it goes now.

    Attributes:
        taken, delivered: events a second, in and out.
        drain_seconds: until the backlog is empty, at this pace; None where it does
            not shrink.
    """

    taken: float
    delivered: float
    drain_seconds: float | None

    def as_json(self) -> dict[str, Any]:
        """As the control socket tells it."""
        drain = self.drain_seconds
        return {
            "in_per_second": round(self.taken, 3),
            "out_per_second": round(self.delivered, 3),
            "drain_seconds": None if drain is None else round(drain, 1),
        }


class Rates:
    """The ring of samples. `note` is the writer's to call, the looks are anybody's."""

    def __init__(
        self, clock: Clock, totals: Mapping[str, Totals], projects: Sequence[str] = ()
    ) -> None:
        self._clock = clock
        self._projects = tuple(projects[:MOST_LANES])
        self._lock = threading.Lock()
        self._began = clock.monotonic()
        first = sample_of(self._began, totals, self._projects)
        self._samples = deque([first], maxlen=MOST_SAMPLES)
        self._latest: tuple[float, Mapping[str, Totals]] | None = None

    def note(self, totals: Mapping[str, Totals]) -> None:
        """After a commit, with totals that nobody changes any more.

        It is to cost next to nothing: one second's sums are taken in the next.
        """
        now = self._clock.monotonic()
        with self._lock:
            if self._latest is not None and int(now) != int(self._latest[0]):
                self._samples.append(sample_of(*self._latest, self._projects))
            self._latest = now, totals

    def flow(self) -> Flow:
        """How fast it goes now."""
        now = self._clock.monotonic()
        samples = self._look()
        last, before = samples[-1], _at(samples, now - WINDOW_SECONDS)
        # A relay that has just started has no ten seconds to look back on.
        seconds = max(min(WINDOW_SECONDS, now - self._began), 1.0)
        shrinks = (last.left - before.left - last.accepted + before.accepted) / seconds
        return Flow(
            taken=(last.accepted - before.accepted) / seconds,
            delivered=(last.delivered - before.delivered) / seconds,
            drain_seconds=last.backlog / shrinks
            if shrinks > 0 and last.backlog
            else None,
        )

    def history(self) -> dict[str, Any]:
        """The last minutes, step by step, oldest first; for drawing."""
        now, samples = self._clock.monotonic(), self._look()
        edges = self._edges(now)
        seen = [_at(samples, edge) for edge in edges]
        return {
            "step_seconds": _STEP_SECONDS,
            "backlog": [sample.backlog for sample in seen[1:]],
            "in_per_second": _slopes(edges, [sample.accepted for sample in seen]),
            "out_per_second": _slopes(edges, [sample.delivered for sample in seen]),
            "lanes": {
                name: [sample.lanes[place] for sample in seen[1:]]
                for place, name in enumerate(self._projects)
            },
        }

    def _edges(self, now: float) -> list[float]:
        """Where steps begin and end: always at the same moments, and now.

        Steps that slid with the time would make every bar of a drawing tremble.
        """
        last = (now - 1.0) // _STEP_SECONDS * _STEP_SECONDS
        edges = [last - _STEP_SECONDS * back for back in range(POINTS - 1, -1, -1)]
        return [edge for edge in edges if edge > self._began - _STEP_SECONDS] + [now]

    def _look(self) -> list[Sample]:
        with self._lock:
            samples = list(self._samples)
            latest = self._latest
        if latest is not None:
            samples.append(sample_of(*latest, self._projects))
        return samples


def _at(samples: list[Sample], moment: float) -> Sample:
    """What was true at a moment: the last sample before it, or the first of all."""
    place = bisect_right(samples, moment, key=lambda sample: sample.at)
    return samples[max(place - 1, 0)]


def _slopes(edges: list[float], counts: list[int]) -> list[float]:
    seconds = (after - before for before, after in itertools.pairwise(edges))
    risen = (after - before for before, after in itertools.pairwise(counts))
    return [round(count / each, 2) for count, each in zip(risen, seconds, strict=True)]
