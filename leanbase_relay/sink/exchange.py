"""What comes in, what comes of it, and what an operator of the service may set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

from leanbase_relay.sink.envelope import Event
from leanbase_relay.sink.limits import Limits
from leanbase_relay.sink.row import Row
from leanbase_relay.sink.v1_results import Result
from leanbase_relay.sink.wire import Answer


@dataclass(frozen=True, slots=True)
class Settings:
    """How strict the service is, and to whom."""

    known_keys: frozenset[str] | None = None  # None: any well-formed key will do
    deadband: timedelta = timedelta(seconds=150)
    limits: Limits = field(default_factory=Limits)
    refuses: Callable[[Event], bool] | None = None  # one such event: 400 for all
    v1: bool = True  # False: a server that does not know this protocol


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that has arrived whole."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in small letters
    body: bytes
    at: datetime

    @classmethod
    def of(
        cls,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        at: datetime,
    ) -> "Arrival":
        """From the request line and what follows it."""
        url = urlsplit(target)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        return cls(method, url.path, query, headers, body, at)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the service makes of a request."""

    answer: Answer
    rows: tuple[Row, ...] = ()
    events: tuple[Event, ...] = ()
    body: bytes = b""
    hint: str = ""
    results: tuple[Result, ...] = ()  # of protocol v1, in the order of the events
