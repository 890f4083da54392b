"""Names: what events are called. Of those that wait, and of those that came lately.

Those that wait are all in the store, and are counted by whoever wants to know. Those
that came lately may have left already. So of each second in which events were stored
the beginning of one row a project is kept, packed as it is, for some minutes; nothing
is unpacked before somebody asks. A commit pays for that by adding up its rows, and once
a second by a copy of 4 KiB.
"""

import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from leanbase_relay import deflate
from leanbase_relay.clock import Clock
from leanbase_relay.store.row import Row

KEPT_SECONDS = 300
SAMPLE_BYTES = 4 << 10
"""Of a packed row: some forty events of the usual kind."""
MOST_BYTES = 4 << 20
"""Of all samples; with very many projects fewer seconds are kept."""
MOST_NAMES = 1_000
"""That are told: who has more puts what varies into the names."""

_MOST_PLAIN_BYTES = 64 << 10
_END_OF_ONE = b"},"

Counts = Mapping[str, int]
"""How many events have a name."""


class _Called(msgspec.Struct, gc=False):
    event: str = ""


_called = msgspec.json.Decoder(list[_Called]).decode


def names_of(event_bytes: bytes, *, after: int = 0) -> Counts:
    """What the events of a chunk are called, but the first so many."""
    return Counter(one.event for one in _called(b"[%b]" % event_bytes)[after:])


def names_of_beginning(event_bytes: bytes) -> Counts:
    """The same of a chunk that breaks off, up to the last event that is whole."""
    end = len(event_bytes)
    while end > 0:
        try:
            return names_of(event_bytes[:end])
        except msgspec.DecodeError:
            # What looks like the end of an event may be within one.
            end = event_bytes.rfind(_END_OF_ONE, 0, end) + 1
    return {}


@dataclass(slots=True)
class _Second:
    """What was stored in one second, by project; `whole` while all of it is sampled."""

    at: int
    whole: bool = True
    events: Counter[str] = field(default_factory=Counter)
    samples: dict[str, bytes] = field(default_factory=dict)


class Names:
    """Samples of the last minutes. `note` is the writer's to call, `look` anybody's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seconds: deque[_Second] = deque()
        self._bytes = 0
        self._since = clock.monotonic()  # all that came after it is kept

    def note(self, rows: Sequence[Row]) -> None:
        """After a commit, with the rows that it stored."""
        now = int(self._clock.monotonic())
        with self._lock:
            if not self._seconds or self._seconds[-1].at != now:
                self._forget(now)
                self._seconds.append(_Second(now))
            second = self._seconds[-1]
            for row in rows:
                project = row.chunk.project
                second.events[project] += row.chunk.events
                if project in second.samples:
                    second.whole = False
                    continue
                sample = row.packed.data[:SAMPLE_BYTES]
                second.whole &= len(sample) == len(row.packed.data)
                second.samples[project] = sample
                self._bytes += len(sample)

    def look(self) -> dict[str, Any]:
        """How many events came lately, by project and name, most frequent first.

        How many there were of a project in a second is exact; how they divide among
        the names is what the samples say; `exact` is true where they are all there was.
        A name that is None stands for events that were too large to be sampled.
        """
        now = self._clock.monotonic()
        with self._lock:
            self._forget(int(now))
            seconds = [(dict(one.events), dict(one.samples)) for one in self._seconds]
            is_exact = all(one.whole for one in self._seconds)
            covered = now - self._since
        found: Counter[tuple[str, str | None]] = Counter()
        for events, samples in seconds:
            for project, number in events.items():
                shares = _shares(samples[project])
                for name, share in shares.items():
                    found[project, name] += number * share  # type: ignore[assignment]
        return {
            "seconds": round(min(covered, KEPT_SECONDS), 1),
            "exact": is_exact,
            "accepted": sum(sum(events.values()) for events, _ in seconds),
            "events": [
                {"project": project, "event": name, "events": round(number)}
                for (project, name), number in found.most_common(MOST_NAMES)
            ],
        }

    def _forget(self, now: int) -> None:
        """Let go what is too old, or too much."""
        while self._seconds and (
            self._seconds[0].at < now - KEPT_SECONDS or self._bytes > MOST_BYTES
        ):
            second = self._seconds.popleft()
            self._bytes -= sum(map(len, second.samples.values()))
            self._since = max(self._since, second.at + 1.0)


def _shares(sample: bytes) -> Mapping[str | None, float]:
    """Which part of the events has which name, by this sample."""
    counts = names_of_beginning(deflate.beginning(sample, max_bytes=_MOST_PLAIN_BYTES))
    total = sum(counts.values())
    if not total:
        return {None: 1.0}
    return {name: count / total for name, count in counts.items()}
