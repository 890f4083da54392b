"""Protocol v1: what a whole request comes to, with a result for each event. Pure.

The store knows one shape of event, that of protocol v0. So each event is transcribed:
what v1 has beside the properties, and in the request's headers, becomes the property
that the upstream makes of it; and what v1 does not know is left out, since v0 may know
it (`$set` beside the properties counts there, and here it does not).
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec

from leanbase_relay.intake import envelope, timestamp
from leanbase_relay.intake.answer import Answer, Declined
from leanbase_relay.intake.capture_v0 import UNKNOWN_KEY
from leanbase_relay.intake.event import Judged
from leanbase_relay.intake.line import OPTION_PLACES, TEXT_PLACES, TOO_LONG
from leanbase_relay.intake.taking import Taken, Taker
from leanbase_relay.keys import KeyRing
from leanbase_relay.splice import inside, object_of

PATH = "/i/v1/analytics/events"
MAX_BODY_BYTES = 10 << 20
REQUEST_ID = "PostHog-Request-Id"

_ATTEMPT = "PostHog-Attempt"
_SDK_INFO = "PostHog-Sdk-Info"
_TIMESTAMP = "PostHog-Request-Timestamp"
_REQUIRED = (_SDK_INFO, _ATTEMPT, REQUEST_ID, _TIMESTAMP, "Content-Type", "User-Agent")
_ENCODINGS = {"gzip", "deflate"}
_LONGEST_SDK_INFO = 200
_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_ERROR_URI = "https://posthog.com/docs/api"
_TAGS = {
    400: "invalid_request",
    401: "invalid_api_token",
    413: "payload_too_large",
    415: "unsupported_encoding",
    503: "service_unavailable",
}
_DROPPED = {
    "event: empty": "missing_event_name",
    "distinct_id: empty": "missing_distinct_id",
}
"""The upstream's words for events that it drops alone, by our reason."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the headers of a request say, once all of them are right.

    Attributes:
        project: whose key it has.
        encoding: gzip, deflate or nothing.
        library: the properties `$lib` and `$lib_version`, spelled as JSON.
    """

    project: str
    encoding: str | None
    library: Mapping[str, bytes]


def read_context(headers: Mapping[str, str], keys: KeyRing) -> Context:
    """Read the headers.

    Raises:
        Declined: one is missing, or makes no sense, or the key is nobody's.
    """
    if "Authorization" not in headers:
        raise Declined(401, "request has no key", tag="missing_authorization")
    missing = [f'"{name}"' for name in _REQUIRED if name not in headers]
    if missing:
        names = ", ".join(missing)
        raise Declined(
            400,
            f"request is missing required headers: [{names}]",
            tag="missing_required_headers",
        )
    project = _project(headers["Authorization"], keys)
    if headers["Content-Type"].partition(";")[0].strip().lower() != "application/json":
        raise Declined(
            415, "content type must be application/json", tag="unsupported_content_type"
        )
    encoding = headers.get("Content-Encoding")
    if encoding is not None and encoding.lower() not in _ENCODINGS:
        raise Declined(415, "content encoding must be gzip, deflate, or none")
    _check_numbers(headers)
    return Context(project, encoding and encoding.lower(), _library(headers[_SDK_INFO]))


def take(text: bytes, taker: Taker, context: Context) -> Taken:
    """Take a request.

    Args:
        text: the body, unpacked.
        taker: of its events.
        context: what its headers say.

    Raises:
        Declined: nothing of it can be taken.
    """
    events, historical = _read_batch(text, taker.max_events)
    uuids: list[str | None] = []

    def transcribed() -> Iterator[bytes]:
        for event in events:
            uuid, spelled = _transcribed(event, context.library)
            uuids.append(uuid)
            yield spelled

    judged = taker.judged(transcribed(), project=context.project, historical=historical)
    return taker.taken(judged, _answer(judged, uuids))


def declined(no: Declined) -> Answer:
    """The answer to a request that is turned down: v1 says it in JSON."""
    said = {
        "error": no.tag or _TAGS.get(no.status, "invalid_request"),
        "error_description": str(no),
        "error_uri": _ERROR_URI,
    }
    body = json.dumps(said).encode()
    return Answer(no.status, body, "application/json", no.headers)


def _project(authorization: str, keys: KeyRing) -> str:
    scheme, _, key = authorization.partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise _invalid("Authorization must use the Bearer scheme")
    project = keys.project_of(key.strip())
    if project is None:
        raise Declined(401, UNKNOWN_KEY)
    return project


def _check_numbers(headers: Mapping[str, str]) -> None:
    """What the relay has no use for must make sense all the same."""
    try:
        UUID(headers[REQUEST_ID])
    except ValueError:
        raise _invalid(f"{REQUEST_ID} must be a UUID") from None
    attempt = headers[_ATTEMPT].removeprefix("+")
    if not re.fullmatch("0*[1-9][0-9]{0,9}", attempt, re.ASCII):
        raise _invalid(f"{_ATTEMPT} must be a whole number above 0")
    if not _is_rfc_3339(headers[_TIMESTAMP]):
        raise _invalid(f"{_TIMESTAMP} must be RFC 3339")


def _is_rfc_3339(text: str) -> bool:
    return bool(_RFC_3339.fullmatch(text)) and timestamp.utc(text) is not None


def _library(sdk_info: str) -> Mapping[str, bytes]:
    name, _, version = (part.strip() for part in sdk_info.rpartition("/"))
    if not (name and version) or len(sdk_info.encode()) > _LONGEST_SDK_INFO:
        return {}
    return {"$lib": _json(name), "$lib_version": _json(version)}


def _read_batch(text: bytes, max_events: int) -> tuple[Sequence[bytes], bool]:
    """The events, and whether they are an import."""
    text = text.strip()
    if not text.startswith(b"{"):
        raise _unparsed("it is not an object")
    given = envelope.members(text)
    if given.get("batch", b"")[:1] != b"[":
        raise _unparsed("batch: must be a list")
    created_at = envelope.text_of(given.get("created_at", b""))
    if created_at is None:
        raise _unparsed("created_at: must be a string")
    historical = given.get("historical_migration", b"false")
    if historical not in (b"true", b"false"):
        raise _unparsed("historical_migration: must be a boolean")
    events = envelope.elements(given["batch"])
    envelope.check_count(events, max_events)
    if not _is_rfc_3339(created_at):
        raise Declined(400, "created_at: must be RFC 3339", tag="invalid_batch")
    return events, historical == b"true"


def _transcribed(
    event: bytes, library: Mapping[str, bytes]
) -> tuple[str | None, bytes]:
    """An event's uuid, and the event as v0 spells it; what is none stays as it is."""
    try:
        given = envelope.members(event) if event.startswith(b"{") else {}
    except Declined:
        given = {}
    if not given:
        return None, event
    properties = _with(
        given.get("properties", b""), {**library, **_beside_properties(given)}
    )
    spelled = {
        "event": given.get("event"),
        "distinct_id": given.get("distinct_id"),
        "uuid": given.get("uuid"),
        "timestamp": given.get("timestamp"),
        "properties": properties,
    }
    kept = {name: value for name, value in spelled.items() if value}
    return envelope.text_of(given.get("uuid", b"")), object_of(kept)


def _beside_properties(given: Mapping[str, bytes]) -> dict[str, bytes]:
    """The properties that v1 makes of what stands beside them."""
    beside = {place: given.get(name, b"null") for name, place in TEXT_PLACES.items()}
    options = given.get("options", b"")
    if options.startswith(b"{"):
        said = envelope.members(options)
        for name, (place, _) in OPTION_PLACES.items():
            beside[place] = said.get(name, b"null")
    return {place: value for place, value in beside.items() if value != b"null"}


def _with(properties: bytes, added: Mapping[str, bytes]) -> bytes:
    """An object's text with these members in it; what is none is left as it is."""
    if not added or properties[:1] not in (b"{", b""):
        return properties
    given = properties[1:-1].strip()
    if any(name.encode() in given for name in added):
        return object_of({**envelope.members(properties), **added})
    return b"{%b%b%b}" % (given, b"," if given else b"", inside(added))


def _answer(judged: Judged, uuids: Iterable[str | None]) -> Answer:
    """A result for each event that has a uuid; or the reason why none was taken."""
    words = {no.line: _word(no.reason) for no in judged.refusals}
    if not judged.chunks and "rejected" in words.values():
        first = judged.refusals[0].reason
        return declined(
            Declined(400, f"no event can be taken; the first: {first}", tag="rejected")
        )
    results = {}
    for number, uuid in enumerate(uuids, 1):
        if uuid:
            results[_canonical(uuid)] = words.get(number)
    told = ",".join([_told(uuid, word) for uuid, word in results.items()])
    return Answer(200, b'{"results":{%b}}' % told.encode(), "application/json")


def _word(reason: str) -> str:
    """What the upstream calls it; `rejected` where it would refuse all of the batch."""
    if TOO_LONG in reason:
        return "event_too_big"
    if reason.startswith("properties: must"):
        return "malformed_event_properties"
    return _DROPPED.get(reason, "rejected")


def _told(uuid: str, word: str | None) -> str:
    if word is None:
        return f'{json.dumps(uuid)}:{{"result":"ok"}}'
    return f'{json.dumps(uuid)}:{{"result":"drop","details":"{word}"}}'


def _canonical(uuid: str) -> str:
    try:
        return str(UUID(uuid))
    except ValueError:
        return uuid


def _json(text: str) -> bytes:
    return msgspec.json.encode(text)


def _invalid(what: str) -> Declined:
    return Declined(400, f"invalid header value: {what}", tag="invalid_header_value")


def _unparsed(what: str) -> Declined:
    return Declined(
        400, f"Failed to parse request body: {what}", tag="request_parsing_error"
    )
