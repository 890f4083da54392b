"""Protocol v1: from a whole request to its answer, in the service's order. Pure.

Headers, size, unpack, parse and types, the batch as a whole, each uuid: these fail
the whole request. Then event by event, and the answer says what became of each.
"""

import json
from collections.abc import Mapping
from dataclasses import replace

from leanbase_relay.sink.exchange import Arrival, Outcome, Settings
from leanbase_relay.sink.inflate import Damaged, Packing, TooMuch, inflate
from leanbase_relay.sink.limits import Refusal
from leanbase_relay.sink.size import all_surely_fit
from leanbase_relay.sink.stored_time import TimeRule
from leanbase_relay.sink.strict_json import parse
from leanbase_relay.sink.v1_batch import (
    Batch,
    Rules,
    check_batch,
    judge,
    read_batch,
    uuids_of,
)
from leanbase_relay.sink.v1_context import REQUEST_ID, Context, read_context
from leanbase_relay.sink.v1_results import Result, answer_of, rows_of
from leanbase_relay.sink.wire import Answer

PATH = "/i/v1/analytics/events"
ERROR_URI = "https://posthog.com/docs/api"

_TAGS = {400: "request_decoding_error", 413: "payload_too_large"}
_ZLIB_START = b"\x78"


def take(arrival: Arrival, settings: Settings) -> Outcome:
    """One request on the path of this protocol."""
    if arrival.method != "POST":
        return Outcome(Answer.text(405, f"method not allowed: {arrival.method}"))
    known = Outcome(Answer(200))
    try:
        context = read_context(arrival.headers, known_keys=settings.known_keys)
        known = replace(known, body=_unpack(arrival.body, context, settings))
        batch = read_batch(_parse(known.body))
        known = replace(known, events=batch.events)
        check_batch(batch)
        results = _judge(batch, known.body, context, arrival, settings)
    except Refusal as refusal:
        answer = _error(refusal, _echo(arrival.headers))
        return replace(known, answer=answer, hint=refusal.hint)
    return replace(
        known,
        answer=answer_of(results, _echo(arrival.headers)),
        results=results,
        rows=rows_of(results),
    )


def refused(refusal: Refusal, arrival: Arrival, settings: Settings) -> Outcome:
    """The answer to a request whose body could not be read; its headers come first."""
    text = str(refusal).removeprefix("maximum event size exceeded: ")
    if refusal.status == 413:
        refusal = Refusal(413, f"payload too large: {text}", tag=refusal.tag)
    try:
        read_context(arrival.headers, known_keys=settings.known_keys)
    except Refusal as earlier:
        refusal = earlier
    return Outcome(_error(refusal, _echo(arrival.headers)), hint=refusal.hint)


def _error(refusal: Refusal, headers: Mapping[str, str]) -> Answer:
    said = {
        "error": refusal.tag or _TAGS.get(refusal.status, "invalid_request"),
        "error_description": str(refusal),
        "error_uri": ERROR_URI,
    }
    body = json.dumps(said, ensure_ascii=False).encode(errors="replace")
    return Answer(refusal.status, body, "application/json", headers)


def _echo(headers: Mapping[str, str]) -> Mapping[str, str]:
    given = headers.get(REQUEST_ID.lower())
    return {} if given is None else {REQUEST_ID: given}


def _unpack(body: bytes, context: Context, settings: Settings) -> bytes:
    if not body:
        raise Refusal(400, "request body is empty", tag="empty_body")
    if context.encoding is None:
        return body
    packing: Packing = "gzip"
    if context.encoding == "deflate":
        packing = "zlib" if body.startswith(_ZLIB_START) else "deflate"
    limit = settings.limits.v1_decompressed_bytes
    try:
        return inflate(body, packing, max_bytes=limit)
    except TooMuch:
        text = f"decompressed {context.encoding} payload exceeds limit of {limit} bytes"
        raise Refusal(413, f"payload too large: {text}") from None
    except Damaged as damaged:
        raise Refusal(
            400,
            "Failed to decode request body.",
            tag="request_decoding_error",
            hint=f"{context.encoding}: {damaged}",
        ) from None


def _parse(body: bytes) -> object:
    """The value; the service keeps to itself what exactly was wrong."""
    try:
        body.decode()
        return parse(body)
    except (UnicodeDecodeError, Refusal) as wrong:
        raise Refusal(
            400,
            "Failed to parse request body.",
            tag="request_parsing_error",
            hint=str(wrong),
        ) from None


def _judge(
    batch: Batch,
    body: bytes,
    context: Context,
    arrival: Arrival,
    settings: Settings,
) -> tuple[Result, ...]:
    uuids = uuids_of(batch.events)
    _check_wanted(batch, settings)
    max_bytes = settings.limits.event_bytes
    # What the service adds to an event is small beside half of its limit.
    surely_fit = all_surely_fit(body, len(uuids), max_bytes // 2)
    rules = Rules(
        api_key=context.api_key,
        historical=batch.historical_migration,
        time=TimeRule.of(context.sent_at, now=arrival.at, deadband=settings.deadband),
        library=context.library,
        max_event_bytes=None if surely_fit else max_bytes,
    )
    return tuple(
        [
            judge(event, uuid, rules)
            for event, uuid in zip(batch.events, uuids, strict=True)
        ]
    )


def _check_wanted(batch: Batch, settings: Settings) -> None:
    if settings.refuses is None:
        return
    for number, event in enumerate(batch.events):
        if settings.refuses(event):
            raise Refusal(
                400,
                "invalid event could not be processed",
                tag="invalid_batch",
                hint=f"batch[{number}]: refused at your wish",
            )
