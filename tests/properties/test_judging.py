"""The judge against itself, line by line, and against the capture service."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from leanbase_relay.intake.event import Judge, Judged
from leanbase_relay.intake.line import Line, Refused, Rules, judge_line
from leanbase_relay.sink import Row, Sink
from leanbase_relay.store.chunk import Stamped, split
from tests.support.clock import FakeClock
from tests.support.intake import event
from tests.support.keys import KEY, key_ring

NOW_MS = 1_772_366_400_125  # an eighth of a second, which no float rounds
MAX_EVENTS = 25
UUID = "01890a5d-ac96-774b-bcce-b302099a8057"
RULES = Rules(max_bytes=2000, projects=frozenset({"default", "shop"}))

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)
properties = st.fixed_dictionaries(
    {},
    optional={
        "distinct_id": values,
        "$cookieless_mode": st.sampled_from([True, False, None, "true"]),
        "$process_person_profile": st.sampled_from(
            [True, False, None, "true", "false", 0]
        ),
        "$ip": scalars,
        "$geoip_disable": scalars,
        "token": st.sampled_from([KEY, "mine", None, 7]),
        "a": values,
    },
)
ids: st.SearchStrategy[Any] = values | st.sampled_from(
    ["u", "", " ", None, 7, -0.0, 1e-5, 1e22, False, [], {"b": 1}]
)
uuids = st.sampled_from(
    [UUID, UUID.upper(), UUID.replace("-", ""), f"{{{UUID}}}", "", None, "foo", 7, " "]
)
stamps = st.sampled_from(
    [
        *("2026-03-01T12:00:00Z", "2026-03-01T12:00:00.123456+00:00", "2026-03-01"),
        *("2026-03-01T14:00:00.5+02:00", "2026-03-01 12:00:00", "03/01/2026", "never"),
        *("1772366400123", "2026-03-01T12:00:00+0000", "2026-02-30T12:00:00Z", ""),
        *(None, 5, True),
    ]
)
events: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "event": st.sampled_from(["e", "$identify", " "])
        | st.sampled_from(["", None, 5]),
        "properties": properties | st.sampled_from([[], None, {}]),
    },
    optional={
        "distinct_id": ids,
        "$distinct_id": ids,
        "distinctId": ids,
        "uuid": uuids,
        "timestamp": stamps,
        "offset": st.sampled_from([None, 0, 60_000, -60_000, 2**63, "5", 1.5]),
        "$set": st.sampled_from([{}, {"a": 1}, [], None, "x"]),
        "$set_once": st.sampled_from([{}, {"a": 1}, [], None, "x"]),
        "token": st.sampled_from(["phc_secret", None, 5]),
        "api_key": st.just("phc_secret"),
        "groups": st.sampled_from([[], {}]),
        "historical_migration": st.sampled_from([True, False, None]),
        "session_id": st.sampled_from(["s", None, 5]),
        "options": st.sampled_from([{}, {"cookieless_mode": True}, 5, None]),
    },
)
good_events = events.map(
    lambda given: {
        **given,
        "event": "e",
        "distinct_id": "u",
        "uuid": UUID,
        "timestamp": "2026-03-01T12:00:00Z",
    }
)


def lines_of(events: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Events in some spelling: with blanks or without, escaped or not."""
    return st.builds(
        lambda event, ascii_only, separators, before, after: (
            before
            + json.dumps(event, ensure_ascii=ascii_only, separators=separators).encode(
                errors="replace"
            )
            + after
        ),
        events,
        st.booleans(),
        st.sampled_from([(",", ":"), (", ", " : ")]),
        st.sampled_from([b"", b" "]),
        st.sampled_from([b"", b" ", b"\r"]),
    )


odd_lines = st.sampled_from(
    [
        *(b"", b" ", b"{", b"}", b"[", b"]", b",", b'"', b"{}", b"null", b"nonsense"),
        *(b'{"event":"e"', b'"distinct_id":"u"}', b'{"event":"e",', b"\xff", b"\0"),
        b'{"event":"e","distinct_id":"u","properties":{"a":[{}',
        b'{}]},"timestamp":"2026-03-01T12:00:00Z"}',
        event(1).strip() + b"," + event(2).strip(),
        event(1).strip() + event(2).strip(),
        event(project="shop").strip(),
        b'{"project":"shop",' + event(4).strip()[1:],
        event(project="moon").strip(),
        event(pad="x" * 2000).strip(),
        b" " * 2001,
        event(1, uuid=None).strip(),
        event(1, timestamp=None).strip(),
        event(3).strip().replace(b"3", b"1e999"),
        event(3).strip().replace(b"3", b"[" * 126 + b"]" * 126),
        event(3).strip().replace(b"3", b"1" * 30),
        event(3).strip().replace(b"3", b'"\\ud800"'),
    ]
)
runs = st.lists(
    st.one_of(
        st.integers(0, 99).map(lambda number: event(number).strip()),
        lines_of(good_events),
        lines_of(events),
        odd_lines,
    ),
    min_size=1,
    max_size=40,
)


def judge_of(run: bytes, rules: Rules) -> Judged:
    judge = Judge(
        max_bytes=rules.max_bytes,
        projects=rules.projects,
        disable_geoip=rules.disable_geoip,
        max_events=MAX_EVENTS,
        keys=rules.keys,
        from_sdk=rules.from_sdk,
    )
    return judge.judge(run, project="default", now_ms=NOW_MS)


def line_by_line(
    lines: list[bytes], rules: Rules
) -> tuple[dict[str, list[tuple[bytes, Line]]], dict[int, str]]:
    """What the rules say of each line alone: the lines and events of each project."""
    accepted: dict[str, list[tuple[bytes, Line]]] = {}
    refused: dict[int, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() and len(line) <= rules.max_bytes:
            continue
        try:
            result = judge_line(line, rules, project="default", now_ms=NOW_MS)
        except Refused as no:
            refused[number] = str(no)
        else:
            accepted.setdefault(result.project, []).append((line, result))
    return accepted, refused


def but_for_what_is_random(line: bytes, mended: bytes) -> object:
    """Event bytes as they are, unless a random uuid or id is among them.

    A head that all lines of a run have is taken off without spelling the rest anew.
    """
    given, event = json.loads(line), json.loads(mended)
    named = [given.get(name) for name in ("distinct_id", "$distinct_id", "distinctId")]
    named.append((given.get("properties") or {}).get("distinct_id"))
    random = {
        *(() if given.get("uuid") else ("uuid",)),
        *(() if any(name is not None for name in named) else ("distinct_id",)),
    }
    kept = {name: event[name] for name in event if name not in random}
    had_head = "project" in given or "historical_migration" in given
    return kept if random or had_head else mended


def is_in(stamped: Stamped, number: int) -> bool:
    return any(first <= number < first + count for first, count in stamped)


@settings(deadline=None)
@given(runs, st.booleans(), st.booleans())
def test_a_run_is_judged_as_its_lines_are(
    lines: list[bytes],
    disable_geoip: bool,  # noqa: FBT001 - Hypothesis gives it
    from_sdk: bool,  # noqa: FBT001 - the same
) -> None:
    """Known members given twice aside: of these the fast way knows nothing."""
    rules = Rules(
        RULES.max_bytes,
        RULES.projects,
        disable_geoip,
        keys=key_ring(),
        from_sdk=from_sdk,
    )
    lines = [line.removesuffix(b"\r") for line in lines]

    judged = judge_of(b"".join(line + b"\n" for line in lines), rules)

    accepted, refused = line_by_line(lines, rules)
    found: dict[str, list[Line]] = {}
    for chunk in judged.chunks:
        assert 0 < chunk.events <= MAX_EVENTS
        events = split(chunk.event_bytes)
        assert len(events) == chunk.events
        found.setdefault(chunk.project, []).extend(
            Line(chunk.project, event, is_in(chunk.stamped, number), chunk.historical)
            for number, event in enumerate(events)
        )
    assert {one.line: one.reason for one in judged.refusals} == refused
    assert judged.events + len(judged.refusals) + judged.blank == len(lines)
    assert judged.lines == len(lines)
    assert found.keys() == accepted.keys()
    for owner, expected in accepted.items():
        for (line, alone), among in zip(expected, found[owner], strict=True):
            assert but_for_what_is_random(
                line, among.event_bytes
            ) == but_for_what_is_random(line, alone.event_bytes)
            assert (among.stamped, among.historical) == (
                alone.stamped,
                alone.historical,
            )


@pytest.fixture(scope="module")
def service() -> Iterator[Sink]:
    with Sink(clock=FakeClock(wall=NOW_MS / 1000)) as sink:
        yield sink


def served(service: Sink, event: bytes) -> tuple[int, tuple[Row, ...]]:
    """The service's answer to one event, and what it stored."""
    body = b'{"api_key":"phc_test","batch":[%b]}' % event
    answer = requests.post(f"{service.url}/batch/", data=body, timeout=10)
    return answer.status_code, service.requests[-1].rows


def is_kinder(given: dict[str, Any]) -> bool:
    """The documented places where the relay takes what the service refuses."""
    empty_lists = any(
        given.get(name) == [] for name in ("properties", "$set", "$set_once")
    )
    properties = given.get("properties") or {}
    anonymous = properties.get("$process_person_profile") in (False, "false")
    return empty_lists or given.get("distinctId") is not None or anonymous


@settings(deadline=None)
@given(lines_of(events))
def test_what_the_judge_accepts_the_service_takes_and_the_other_way_round(
    service: Sink, line: bytes
) -> None:
    judged = judge_of(line, RULES)
    status_as_given, as_given = served(service, line)

    if judged.refusals:
        assert status_as_given == 400
        return
    (chunk,) = judged.chunks
    status, as_sent = served(service, chunk.event_bytes)
    assert status == 200
    assert b"phc_secret" not in chunk.event_bytes
    given = json.loads(line)
    if status_as_given != 200:
        assert is_kinder(given)
        return
    (expected,), (row,) = as_given, as_sent
    assert (row.event, row.timestamp) == (expected.event, expected.timestamp)
    if given.get("distinctId") is None:  # which stands above `properties.distinct_id`
        assert row.distinct_id == expected.distinct_id
    if given.get("uuid"):
        assert row.uuid == expected.uuid


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An event with anything in place of some of its bytes."""
    line = event(1)
    start, end = sorted(draw(st.tuples(*[st.integers(0, len(line))] * 2)))
    return line[:start] + draw(st.binary(max_size=6) | escapes) + line[end:]


escapes = st.sampled_from(
    [rb"\ud800", rb"\udc00\ud800", rb"\u0000", rb"\x", b'"', b"[[["]
)


@settings(deadline=None)
@given(st.binary(max_size=60) | damaged())
def test_no_bytes_whatever_upset_the_judge(run: bytes) -> None:
    judged = judge_of(run, RULES)

    assert judged.events + len(judged.refusals) + judged.blank == judged.lines
    for refusal in judged.refusals:
        letter = refusal.dead_letter("socket")
        assert letter.line == refusal.text
        for text in (letter.reason, letter.event, letter.distinct_id, letter.uuid):
            assert (text or "").encode() is not None  # or SQLite could not keep it


@settings(deadline=None)
@given(st.text(max_size=40) | stamps.filter(lambda text: isinstance(text, str)))
def test_no_timestamp_whatever_upsets_it(text: str) -> None:
    (chunk,) = judge_of(event(timestamp=text), Rules(10_000, RULES.projects)).chunks

    stamp = json.loads(chunk.event_bytes)["timestamp"]
    assert datetime.fromisoformat(stamp).utcoffset() == timedelta(0)
