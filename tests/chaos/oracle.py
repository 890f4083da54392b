"""The oracle: what was promised, what came, and whether that is the same."""

import threading
from collections import Counter
from dataclasses import dataclass, field

from leanbase_relay.sink import Request

Identity = tuple[str, str, str]
"""uuid, distinct_id and timestamp: what the upstream tells duplicates by."""


@dataclass
class Verdict:
    """What a run came to.

    Attributes:
        acknowledged: events that a producer was told are kept, by door.
        lost: of these, what never came.
        twice: of renamed spool files, lines that came as two events.
        changed: events that came again with another identity.
        received: distinct events that came.
        again: receptions beyond the first, all with the same identity.
    """

    acknowledged: dict[str, int]
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    received: int = 0
    again: int = 0

    @property
    def is_kept(self) -> bool:
        """Whether the promise was."""
        return not (self.lost or self.twice or self.changed)


class Oracle:
    """Takes down promises and receptions; any thread may tell it.

    An event is known by its mark, the property that its producer gave it: what has no
    uuid of its own would get a second one if it were taken twice.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._promised: dict[str, str] = {}
        self._came: dict[str, set[Identity]] = {}
        self._receptions: Counter[str] = Counter()

    def promised(self, door: str, marks: list[str]) -> None:
        """These were acknowledged: `stored`, a 200, or a rename that is done."""
        with self._lock:
            self._promised.update(dict.fromkeys(marks, door))

    def received(self, request: Request) -> None:
        """What the sink stored of a request."""
        with self._lock:
            for row in request.rows:
                mark = row.sent["properties"]["mark"]
                identity = (row.uuid, row.distinct_id, str(row.timestamp))
                self._came.setdefault(mark, set()).add(identity)
                self._receptions[mark] += 1

    def missing(self) -> int:
        """How many that were promised have not come yet."""
        with self._lock:
            return sum(mark not in self._came for mark in self._promised)

    def verdict(self) -> Verdict:
        """The comparison."""
        with self._lock:
            doors = Counter(self._promised.values())
            several = [mark for mark, came in self._came.items() if len(came) > 1]
            return Verdict(
                acknowledged=dict(doors),
                lost=[mark for mark in self._promised if mark not in self._came],
                twice=[mark for mark in several if self._is_two_events(mark)],
                changed=[mark for mark in several if not self._is_two_events(mark)],
                received=len(self._came),
                again=sum(self._receptions.values()) - len(self._came),
            )

    def _is_two_events(self, mark: str) -> bool:
        return len({uuid for uuid, *_ in self._came[mark]}) > 1
