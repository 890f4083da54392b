"""What came and what was stored, in the order of arrival; safe to read at any time."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from leanbase_relay.sink.envelope import Event
from leanbase_relay.sink.row import Row, RowKey

Keep = Literal["all", "counts"]

MAX_REMEMBERED_ROWS = 4_000_000  # some 70 bytes each


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the sink saw it."""

    at: float  # seconds since 1970
    method: str
    path: str  # as it came, without the query
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in small letters
    status: int | None  # None: the client got no answer
    reason: str = ""  # the text of a refusal or of a fault
    hint: str = ""  # which event and member it was about; the client is not told
    wire_bytes: int = 0
    body: bytes = b""  # decoded: out of base64, form and gzip
    events: tuple[Event, ...] = ()  # as they came; empty if the body held none
    rows: tuple[Row, ...] = field(default=(), repr=False)  # what was stored of them
    results: Mapping[str, int] = field(default_factory=dict)  # protocol v1: how many

    @property
    def event_count(self) -> int:
        """How many events the request held."""
        return len(self.events)

    @property
    def decoded_bytes(self) -> int:
        """The size of the body before it was compressed."""
        return len(self.body)


@dataclass(frozen=True, slots=True)
class Counts:
    """Sums over everything since the start."""

    requests: int = 0
    refused_requests: int = 0  # answered with 400 and above, or not at all
    events: int = 0  # stored, duplicates included
    rows: int = 0  # stored, duplicates counted once

    @property
    def duplicates(self) -> int:
        """Events that were stored over one with the same identity."""
        return self.events - self.rows


class Log:
    """Keeps requests, events and rows; or, for long runs, only counts them.

    Rows are told apart by a hash of their key. After `MAX_REMEMBERED_ROWS` of them
    the memory starts anew, so that a duplicate across that border counts as a row.
    """

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._news = threading.Condition()
        self._requests: list[Request] = []
        self._events: list[Event] = []
        self._rows: dict[RowKey, Row] = {}
        self._seen: set[int] = set()
        self._sums: Counter[str] = Counter()

    def record(self, request: Request) -> None:
        """Take down a request and store its rows; whoever waits sees both."""
        with self._news:
            self._count(request)
            if self._keep == "all":
                self._requests.append(request)
                self._events.extend(row.sent for row in request.rows)
                self._rows.update((row.key, row) for row in request.rows)
            self._news.notify_all()

    @property
    def requests(self) -> list[Request]:
        """Every request so far."""
        with self._news:
            return list(self._requests)

    @property
    def events(self) -> list[Event]:
        """Every stored event so far, as it came, duplicates included."""
        with self._news:
            return list(self._events)

    @property
    def rows(self) -> dict[RowKey, Row]:
        """What the service would show: one row for each identity, the last wins."""
        with self._news:
            return dict(self._rows)

    @property
    def counts(self) -> Counts:
        """The sums so far."""
        with self._news:
            return Counts(**self._sums)

    def wait_until(
        self, enough: Callable[[Counts], bool], *, within_seconds: float
    ) -> bool:
        """Wait for the sums to be as wanted; False when time is up."""
        with self._news:
            return self._news.wait_for(
                lambda: enough(Counts(**self._sums)), within_seconds
            )

    def _count(self, request: Request) -> None:
        self._sums["requests"] += 1
        if request.status is None or request.status >= 400:
            self._sums["refused_requests"] += 1
        self._sums["events"] += len(request.rows)
        before = len(self._seen)
        self._seen.update([row.fingerprint for row in request.rows])
        self._sums["rows"] += len(self._seen) - before
        if len(self._seen) > MAX_REMEMBERED_ROWS:
            self._seen.clear()
