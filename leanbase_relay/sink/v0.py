"""Protocol v0: from a whole request to its answer, in the service's order. Pure.

Size, decode, parse, find the events, key, then event by event: the order decides
which of two faults is answered.
"""

from dataclasses import replace

from leanbase_relay.sink.body import unwrap
from leanbase_relay.sink.envelope import Envelope, Event, read_envelope
from leanbase_relay.sink.exchange import Arrival, Outcome, Settings
from leanbase_relay.sink.judge import judge, project_key, without_performance_events
from leanbase_relay.sink.limits import Refusal
from leanbase_relay.sink.row import Row
from leanbase_relay.sink.size import all_surely_fit, produced_bytes
from leanbase_relay.sink.stored_time import TimeRule, parse_sent_at, sent_at_of_query
from leanbase_relay.sink.strict_json import parse
from leanbase_relay.sink.wire import Answer

SUCCESS = b'{"status":"Ok"}'
REFUSED = "invalid event could not be processed"


def take(arrival: Arrival, settings: Settings) -> Outcome:
    """One request on any of the paths of this protocol."""
    if arrival.method not in ("GET", "POST"):
        return Outcome(Answer.text(405, f"method not allowed: {arrival.method}"))
    known = Outcome(Answer.json(SUCCESS))
    path = arrival.path.rstrip("/")
    try:
        body = unwrap(
            arrival.body,
            path=path,
            query=arrival.query,
            headers=arrival.headers,
            limits=settings.limits,
        )
        known = replace(known, body=body)
        envelope = read_envelope(parse(body), nameless_allowed=path == "/engage")
        known = replace(known, events=envelope.events)
        rows = _judge(envelope, arrival, settings)
    except Refusal as refusal:
        return replace(refused(refusal), body=known.body, events=known.events)
    beacon = arrival.query.get("beacon") == "1"
    return _store(known, rows, max_bytes=settings.limits.event_bytes, beacon=beacon)


def refused(refusal: Refusal) -> Outcome:
    """The answer to a request that is turned down: plain text."""
    return Outcome(Answer.text(refusal.status, str(refusal)), hint=refusal.hint)


def _judge(envelope: Envelope, arrival: Arrival, settings: Settings) -> list[Row]:
    if not envelope.events:
        raise Refusal(400, "request holds no event")
    events = without_performance_events(envelope.events)
    if not events:
        return []
    rows = judge(
        events,
        api_key=project_key(envelope, events, known_keys=settings.known_keys),
        historical=envelope.historical_migration,
        time=TimeRule.of(
            parse_sent_at(envelope.sent_at) or sent_at_of_query(arrival.query.get("_")),
            now=arrival.at,
            deadband=settings.deadband,
        ),
    )
    _check_wanted(events, settings)
    return rows


def _check_wanted(events: tuple[Event, ...], settings: Settings) -> None:
    if settings.refuses is None:
        return
    for number, event in enumerate(events):
        if settings.refuses(event):
            raise Refusal(400, REFUSED, hint=f"event [{number}]: refused at your wish")


def _store(known: Outcome, rows: list[Row], *, max_bytes: int, beacon: bool) -> Outcome:
    """Only here the outcome can be partial: a big event leaves its neighbours."""
    fitting = tuple(rows)
    if not all_surely_fit(known.body, len(rows), max_bytes):
        fitting = tuple(row for row in rows if produced_bytes(row.sent) <= max_bytes)
    if len(fitting) < len(rows):
        text = "maximum event size exceeded: Event rejected by kafka during send"
        return replace(known, answer=Answer.text(413, text), rows=fitting)
    return replace(known, answer=Answer(204) if beacon else known.answer, rows=fitting)
