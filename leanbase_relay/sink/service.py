"""The service's own order of steps, from a whole request to its answer. Pure.

Size, decode, parse, find the events, key, then event by event: the order decides
which of two faults is answered. Protocol v1 is one more entry in `_ENDPOINTS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

from leanbase_relay.sink.body import unwrap
from leanbase_relay.sink.envelope import Envelope, Event, read_envelope
from leanbase_relay.sink.judge import (
    Row,
    judge,
    produced_bytes,
    project_key,
    without_performance_events,
)
from leanbase_relay.sink.limits import Limits, Refusal
from leanbase_relay.sink.stored_time import parse_sent_at, sent_at_of_query
from leanbase_relay.sink.strict_json import parse
from leanbase_relay.sink.wire import Answer

SUCCESS = b'{"status":"Ok"}'

_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "*",
}


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


@dataclass(frozen=True, slots=True)
class Service:
    """The rules, with what an operator of the service may set."""

    known_keys: frozenset[str] | None = None  # None: any well-formed key will do
    deadband: timedelta = timedelta(seconds=150)
    limits: Limits = field(default_factory=Limits)

    def serve(self, arrival: Arrival) -> Outcome:
        """Answer one request."""
        endpoint = _ENDPOINTS.get(_route(arrival.path))
        if endpoint is None:
            return Outcome(Answer.text(404, f"no such endpoint: {arrival.path}"))
        return endpoint(self, arrival)

    def capture(self, arrival: Arrival) -> Outcome:
        """Protocol v0: one handler for all of its paths."""
        if arrival.method == "OPTIONS":
            return Outcome(Answer(200, headers=_CORS))
        if arrival.method not in ("GET", "POST"):
            return Outcome(Answer.text(405, f"method not allowed: {arrival.method}"))
        return self._take(arrival)

    def health(self, _: Arrival) -> Outcome:
        """What a load balancer asks."""
        return Outcome(Answer.text(200, "ok"))

    def _take(self, arrival: Arrival) -> Outcome:
        known = Outcome(Answer.json(SUCCESS))
        try:
            body = unwrap(
                arrival.body,
                path=_route(arrival.path),
                query=arrival.query,
                headers=arrival.headers,
                limits=self.limits,
            )
            known = replace(known, body=body)
            envelope = read_envelope(
                parse(body), nameless_allowed=_route(arrival.path) == "/engage"
            )
            known = replace(known, events=envelope.events)
            rows = self._judge(envelope, arrival)
        except Refusal as refusal:
            answer = Answer.text(refusal.status, str(refusal))
            return replace(known, answer=answer, hint=refusal.hint)
        return self._store(known, rows, beacon=arrival.query.get("beacon") == "1")

    def _judge(self, envelope: Envelope, arrival: Arrival) -> list[Row]:
        if not envelope.events:
            raise Refusal(400, "request holds no event")
        events = without_performance_events(envelope.events)
        if not events:
            return []
        return judge(
            events,
            api_key=project_key(envelope, events, known_keys=self.known_keys),
            historical=envelope.historical_migration,
            sent_at=parse_sent_at(envelope.sent_at)
            or sent_at_of_query(arrival.query.get("_")),
            now=arrival.at,
            deadband=self.deadband,
        )

    def _store(self, known: Outcome, rows: list[Row], *, beacon: bool) -> Outcome:
        """Only here the outcome can be partial: a big event leaves its neighbours."""
        fitting = tuple(row for row in rows if self._fits(row.sent, len(known.body)))
        if len(fitting) < len(rows):
            text = "maximum event size exceeded: Event rejected by kafka during send"
            answer = Answer.text(413, text)
            return replace(known, answer=answer, rows=fitting)
        answer = Answer(204) if beacon else known.answer
        return replace(known, answer=answer, rows=fitting)

    def _fits(self, event: Event, body_bytes: int) -> bool:
        # Encoding once more doubles at worst, and so most bodies need no measuring.
        if 2 * body_bytes < self.limits.event_bytes:
            return True
        return produced_bytes(event) <= self.limits.event_bytes


def _route(path: str) -> str:
    return path.rstrip("/") or "/"


_ENDPOINTS: Mapping[str, Callable[[Service, Arrival], Outcome]] = {
    "/batch": Service.capture,
    "/i/v0/e": Service.capture,
    "/e": Service.capture,
    "/capture": Service.capture,
    "/track": Service.capture,
    "/engage": Service.capture,
    "/": Service.health,
    "/_readiness": Service.health,
    "/_liveness": Service.health,
}
