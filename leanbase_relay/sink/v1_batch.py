"""Protocol v1: a parsed body and the result of each of its events. Pure.

What is wrong with the types of any event, or with its uuid, fails the whole request.
What is wrong with the values drops that event alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from leanbase_relay.sink.envelope import UUID_TEXT, Event, Member
from leanbase_relay.sink.judge import canonical_uuid
from leanbase_relay.sink.limits import Refusal
from leanbase_relay.sink.row import Row
from leanbase_relay.sink.size import produced_bytes
from leanbase_relay.sink.stored_time import (
    BEYOND_THE_CALENDAR,
    TimeRule,
    parse_rfc_3339,
)
from leanbase_relay.sink.strict_json import repeated_names
from leanbase_relay.sink.v1_results import Result

MAX_TEXT_BYTES = 200  # of an event's name, and of its id

PLACEHOLDER_IDS = frozenset(
    {
        "0",
        "00000000-0000-0000-0000-000000000000",
        "[object object]",
        "anonymous",
        "anonymous-user",
        "backend",
        "distinct_id",
        "distinctid",
        "email",
        "false",
        "guest",
        "id",
        "nan",
        "none",
        "not_authenticated",
        "null",
        "system",
        "true",
        "undefined",
        "user",
    }
)

# Where the service puts what v1 has outside of the properties.
_PLACES = {"session_id": "$session_id", "window_id": "$window_id"}
_OPTION_PLACES = {
    "cookieless_mode": "$cookieless_mode",
    "disable_skew_correction": "$ignore_sent_at",
    "product_tour_id": "$product_tour_id",
    "process_person_profile": "$process_person_profile",
}


@dataclass(frozen=True, slots=True)
class Batch:
    """The events of one request, and what holds for all of them."""

    events: tuple[Event, ...]
    created_at: str
    historical_migration: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """What does not depend on the event."""

    api_key: str
    historical: bool
    time: TimeRule
    library: Mapping[str, str]
    max_event_bytes: int | None  # None: surely all fit


def read_batch(value: Any) -> Batch:
    """The batch, once all types are as they must be; or the service's 400."""
    wrong = _complaint(value, _BATCH_MEMBERS, _BATCH_REQUIRED)
    if wrong:
        raise _unfit(wrong)
    for number, event in enumerate(value["batch"]):
        if wrong := _event_complaint(event):
            raise _unfit(f"batch[{number}]: {wrong}")
    return Batch(
        tuple(value["batch"]),
        value["created_at"],
        value.get("historical_migration", False),
    )


def check_batch(batch: Batch) -> None:
    """What the service asks of a well-typed batch before it looks at the events."""
    if not batch.events:
        raise Refusal(400, "request batch is empty", tag="empty_batch")
    if _time(batch.created_at) is None:
        text = f"created_at is not valid RFC 3339: {batch.created_at}"
        raise Refusal(400, f"invalid batch: {text}", tag="invalid_batch")


def uuids_of(events: tuple[Event, ...]) -> list[str]:
    """The uuid of each event; or the service's 400 for one that is none, or not new."""
    uuids: list[str] = []
    seen = set[str]()
    for number, event in enumerate(events):
        given = event["uuid"]
        if not given:
            text = "event submitted without a uuid"
            raise _bad_uuid("missing_event_uuid", text, number)
        if UUID_TEXT.fullmatch(given) is None:
            text = f"event submitted with an invalid uuid: {given}"
            raise _bad_uuid("invalid_event_uuid", text, number)
        uuid = canonical_uuid(given)
        if uuid in seen:
            text = f"duplicate event uuid: {given}"
            raise _bad_uuid("duplicate_event_uuid", text, number)
        seen.add(uuid)
        uuids.append(uuid)
    return uuids


def judge(event: Event, uuid: str, rules: Rules) -> Result:
    """What becomes of one well-typed event."""
    name, distinct_id = event["event"], event["distinct_id"].strip()
    time = _time(event["timestamp"])
    if dropped := _why_dropped(event, name, distinct_id, time):
        return Result(uuid, name, "drop", dropped)
    options = event.get("options") or {}
    # `_why_dropped` has seen to the time; a checker cannot know.
    time = time or rules.time.now
    if options.get("disable_skew_correction") is not True:
        time = rules.time.shifted(time)
    row = Row(
        time,
        name,
        distinct_id,
        uuid,
        rules.api_key,
        rules.historical,
        event,
        "v1",
        _added(event, options, rules.library),
    )
    if rules.max_event_bytes is not None and _bytes_of(row) > rules.max_event_bytes:
        return Result(uuid, name, "drop", "event_too_big")
    if distinct_id.lower() in PLACEHOLDER_IDS:
        return Result(uuid, name, "ok", "person_processing_disabled", row)
    return Result(uuid, name, "ok", None, row)


def _why_dropped(
    event: Event, name: str, distinct_id: str, time: datetime | None
) -> str:
    """The service's word for the first thing that is wrong; empty if nothing is."""
    if name == "$performance_event":
        return "dropped_performance_event"
    if wrong := _text_wrong(name, "missing_event_name", "event_name_too_long"):
        return wrong
    if wrong := _text_wrong(distinct_id, "missing_distinct_id", _ID_TOO_LARGE):
        return wrong
    if time is None:
        return "invalid_event_timestamp"
    is_object = isinstance(event.get("properties", {}), dict)
    return "" if is_object else "malformed_event_properties"


def _text_wrong(text: str, missing: str, too_long: str) -> str:
    if not text:
        return missing
    # No character takes more than four bytes.
    is_short = 4 * len(text) <= MAX_TEXT_BYTES or len(text.encode()) <= MAX_TEXT_BYTES
    return "" if is_short else too_long


def _added(
    event: Event, options: Mapping[str, Any], library: Mapping[str, str]
) -> Mapping[str, Any]:
    """The properties that the service makes of members, options and headers."""
    if not options and event.keys().isdisjoint(_PLACES):
        return library
    added: dict[str, Any] = {}
    for places, given in ((_PLACES, event), (_OPTION_PLACES, options)):
        for name, place in places.items():
            if given.get(name) is not None:
                added[place] = given[name]
    return {**added, **library}


def _bytes_of(row: Row) -> int:
    """As big as it is stored: with what is added, without what v1 ignores."""
    return produced_bytes(
        {
            "event": row.event,
            "distinct_id": row.distinct_id,
            "uuid": row.uuid,
            "properties": row.properties,
            "timestamp": row.sent["timestamp"],
        }
    )


def _time(text: str) -> datetime | None:
    try:
        return parse_rfc_3339(text)
    except OverflowError:
        return BEYOND_THE_CALENDAR


def _event_complaint(event: Any) -> str:
    if _is_plainly_right(event):
        return ""
    wrong = _complaint(event, _EVENT_MEMBERS, _EVENT_REQUIRED)
    options = event.get("options") if not wrong else None
    if not options:
        return wrong
    wrong = _complaint(options, _OPTION_MEMBERS, frozenset())
    return f"options.{wrong}" if wrong else ""


def _is_plainly_right(event: Any) -> bool:
    """Most events, by the same rules as below: no odd member, nothing given twice."""
    return (
        type(event) is dict
        and type(event.get("event")) is str
        and type(event.get("uuid")) is str
        and type(event.get("distinct_id")) is str
        and type(event.get("timestamp")) is str
        and event.keys().isdisjoint(_RARE_MEMBERS)
    )


def _complaint(
    value: Any, members: Mapping[str, Member], required: frozenset[str]
) -> str:
    """Why this object is not what its members should make it; empty if it is."""
    if not isinstance(value, dict):
        return "not an object"
    for name in members.keys() & value.keys():
        if not members[name].takes(value[name]):
            return f"{name}: not {members[name].wanted}"
    if missing := sorted(required - value.keys()):
        return f"{missing[0]}: missing"
    repeated = sorted(repeated_names(value) & members.keys())
    return f"{repeated[0]}: given twice" if repeated else ""


def _unfit(hint: str) -> Refusal:
    return Refusal(
        400, "Failed to parse request body.", tag="request_parsing_error", hint=hint
    )


def _bad_uuid(tag: str, text: str, number: int) -> Refusal:
    return Refusal(400, text, tag=tag, hint=f"batch[{number}]")


def _or_null(kind: type) -> Callable[[Any], bool]:
    return lambda value: value is None or isinstance(value, kind)


_TEXT = Member(lambda value: isinstance(value, str), "a string")
_TEXT_OR_NULL = Member(_or_null(str), "a string")
_BOOL_OR_NULL = Member(_or_null(bool), "a boolean")

_BATCH_MEMBERS: Mapping[str, Member] = {
    "created_at": _TEXT,
    "batch": Member(lambda value: isinstance(value, list), "a list"),
    "historical_migration": Member(lambda value: isinstance(value, bool), "a boolean"),
    "capture_internal": _BOOL_OR_NULL,
}
_BATCH_REQUIRED = frozenset({"created_at", "batch"})
_EVENT_MEMBERS: Mapping[str, Member] = {
    "event": _TEXT,
    "uuid": _TEXT,
    "distinct_id": _TEXT,
    "timestamp": _TEXT,
    "session_id": _TEXT_OR_NULL,
    "window_id": _TEXT_OR_NULL,
    "options": Member(_or_null(dict), "an object"),
}
_EVENT_REQUIRED = frozenset({"event", "uuid", "distinct_id", "timestamp"})
_RARE_MEMBERS = _EVENT_MEMBERS.keys() - _EVENT_REQUIRED
_OPTION_MEMBERS: Mapping[str, Member] = {
    "cookieless_mode": _BOOL_OR_NULL,
    "disable_skew_correction": _BOOL_OR_NULL,
    "product_tour_id": _TEXT_OR_NULL,
    "process_person_profile": _BOOL_OR_NULL,
}
_ID_TOO_LARGE = "distinct_id_too_large"
