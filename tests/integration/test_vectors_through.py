"""The vectors all the way: judged, and what was accepted sent to the strict sink."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import requests

from leanbase_relay.intake.event import Judge, Judged
from leanbase_relay.sink import Row, Sink
from tests.support.clock import FakeClock
from tests.support.vectors import VECTORS, Vector, line_of, name_of

NOW = datetime(2026, 3, 2, 8, 30, 0, 250_000, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)
KINDER = {
    # What PHP writes for an empty map.
    *("props_list", "set_list", "set_once_list"),
    # Keys within an event are taken out: the relay sends one of its own.
    *("token_absent", "token_empty", "token_65_bytes", "token_nul"),
}
STRICTER = {
    # Nameless events become `$identify` on the one path /engage, which HTTP serves.
    "engage_nameless"
}
RANDOM_UUID = {"uuid_empty", "php_file_alias_line"}
TIME_OF_ACCEPTANCE = {"ts_garbage", "ts_empty"}
MENDED_PROPERTIES = {"ppp_string_false": {"$process_person_profile": False}}


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink(clock=FakeClock(wall=NOW.timestamp())) as sink:
        yield sink


def judged(vector: Vector) -> Judged:
    judge = Judge(max_bytes=900 << 10, projects=frozenset({"default"}))
    return judge.judge(line_of(vector), project="default", now_ms=NOW_MS)


def stored(sink: Sink, event_bytes: bytes) -> Row:
    """What the sink stores of an event that comes as the relay sends it."""
    sent_at = NOW.isoformat().encode()
    answer = requests.post(
        f"{sink.url}/batch/",
        data=b'{"api_key":"phc_test","sent_at":"%b","batch":[%b]}'
        % (sent_at, event_bytes),
        headers={"Content-Type": "application/json"},
        timeout=10,
    )
    assert (answer.status_code, answer.text) == (200, '{"status":"Ok"}')
    (row,) = sink.requests[-1].rows
    return row


def is_accepted(vector: Vector) -> bool:
    name = name_of(vector)
    return name in KINDER or (bool(vector["valid"]) and name not in STRICTER)


ACCEPTED = [vector for vector in VECTORS if is_accepted(vector)]


@pytest.mark.parametrize("vector", VECTORS, ids=name_of)
def test_a_vector_is_accepted_where_upstream_takes_it_or_the_relay_is_kinder(
    vector: Vector,
) -> None:
    result = judged(vector)

    assert (result.events, len(result.refusals)) == (
        (1, 0) if is_accepted(vector) else (0, 1)
    )


@pytest.mark.parametrize("vector", ACCEPTED, ids=name_of)
def test_what_is_accepted_is_stored_as_upstream_would_have_stored_it(
    sink: Sink, vector: Vector
) -> None:
    (chunk,) = judged(vector).chunks
    given, name = json.loads(line_of(vector)), name_of(vector)

    row = stored(sink, chunk.event_bytes)

    assert row.event == given["event"]
    assert row.uuid == expected_uuid(name, row, given.get("uuid"))
    assert row.timestamp == expected_time(name, given)
    for member, value in vector.get("expected_stored", {}).items():
        wanted = datetime.fromisoformat(value) if member == "timestamp" else value
        assert getattr(row, member) == wanted
    sent = json.loads(chunk.event_bytes)
    assert sent.keys() >= {"event", "distinct_id", "uuid", "timestamp"}
    assert not sent.keys() & {"api_key", "token", "$token", "offset", "$distinct_id"}
    properties = MENDED_PROPERTIES.get(name) or given.get("properties") or {}
    assert sent.get("properties", {}) == properties


def expected_uuid(name: str, row: Row, given: str | None) -> str:
    if given:
        assert name not in RANDOM_UUID
        return str(UUID(given))
    assert name in RANDOM_UUID
    assert UUID(row.uuid).version == 7
    return row.uuid


def expected_time(name: str, given: Vector) -> datetime:
    if name in TIME_OF_ACCEPTANCE or name == "ts_far_future":
        return NOW
    if "offset" in given:
        return NOW - timedelta(milliseconds=given["offset"])
    texts: dict[str, str] = {
        "ts_offset": "2026-03-01T12:00:00.5",
        "ts_slashes": "2026-03-01",
        "ts_unix_ms_text": "2026-03-01T12:00:00.123",
    }
    time = datetime.fromisoformat(texts.get(name) or given["timestamp"])
    return time.replace(tzinfo=time.tzinfo or UTC)


def test_the_exceptions_are_vectors() -> None:
    names = set(map(name_of, VECTORS))

    assert names >= KINDER | STRICTER | RANDOM_UUID | TIME_OF_ACCEPTANCE


def test_an_event_that_waits_a_week_keeps_its_time(sink: Sink) -> None:
    """No `sent_at` of the app's, no arrival: what was read at intake counts."""
    judge = Judge(max_bytes=900 << 10, projects=frozenset({"default"}))
    line = b'{"event":"e","distinct_id":"u","timestamp":"23/02/2026","offset":null}'
    run = b'{"event":"e","distinct_id":"u"}\n' + line
    week_ago_ms = NOW_MS - 7 * 86_400_000

    (chunk,) = judge.judge(run, project="default", now_ms=week_ago_ms).chunks

    rows = [
        stored(sink, json.dumps(one).encode())
        for one in json.loads(b"[" + chunk.event_bytes + b"]")
    ]
    assert [row.timestamp for row in rows] == [NOW - timedelta(days=7)] * 2
