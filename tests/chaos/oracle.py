"""The oracle: what was promised, what came, and whether that is the same."""

import threading
from collections import Counter
from dataclasses import dataclass, field

from leanbase_relay.sink import Request


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
        # Hashes: a long run has millions of events.
        self._identities: dict[str, int] = {}
        self._uuids: dict[str, int] = {}
        self._receptions = 0
        self._twice: set[str] = set()
        self._changed: set[str] = set()

    def promised(self, door: str, marks: list[str]) -> None:
        """These were acknowledged: `stored`, a 200, or a rename that is done."""
        with self._lock:
            self._promised.update(dict.fromkeys(marks, door))

    def received(self, request: Request) -> None:
        """What the sink stored of a request."""
        with self._lock:
            for row in request.rows:
                self._receptions += 1
                mark = row.sent["properties"]["mark"]
                identity = hash((row.uuid, row.distinct_id, row.timestamp))
                uuid = hash(row.uuid)
                if self._uuids.setdefault(mark, uuid) != uuid:
                    self._twice.add(mark)
                elif self._identities.setdefault(mark, identity) != identity:
                    self._changed.add(mark)

    def missing(self) -> int:
        """How many that were promised have not come yet."""
        with self._lock:
            return sum(mark not in self._uuids for mark in self._promised)

    def verdict(self) -> Verdict:
        """The comparison."""
        with self._lock:
            return Verdict(
                acknowledged=dict(Counter(self._promised.values())),
                lost=[mark for mark in self._promised if mark not in self._uuids],
                twice=sorted(self._twice),
                changed=sorted(self._changed),
                received=len(self._uuids),
                again=self._receptions - len(self._uuids),
            )
