import json
from collections.abc import Iterable
from typing import Any

import pytest

from leanbase_relay.intake.event import Judge, Judged
from leanbase_relay.intake.profiles import PERSON_EVENTS, Profiles
from leanbase_relay.store.chunk import split
from tests.support.intake import event

NOW_MS = 1_772_366_400_123
MODES = ("as_sent", "always", "never", "identified_only")
MARK = {"$process_person_profile": False}


class Memory:
    """Known ids in memory."""

    def __init__(self, *ids: str) -> None:
        self.ids = set(ids)

    def among(self, project: str, ids: Iterable[str]) -> set[str]:
        return {one for one in ids if (project, one) in self.pairs(project)}

    def pairs(self, project: str) -> set[tuple[str, str]]:
        return {(project, one) for one in self.ids}

    def learn(self, project: str, ids: Iterable[str]) -> tuple[int, ...]:
        assert project == "default"
        self.ids |= set(ids)
        return (len(self.ids),)


def judged(mode: str, *events: dict[str, Any], known: Memory | None = None) -> Judged:
    judge = Judge(
        max_bytes=10_000,
        projects=frozenset({"default"}),
        profiles=Profiles(mode, known or Memory()),
    )
    run = b"".join(event(**{"properties": {}, **one}) for one in events)
    return judge.judge(run, project="default", now_ms=NOW_MS)


def properties(mode: str, *events: dict[str, Any], known: Memory | None = None) -> Any:
    result = judged(mode, *events, known=known)
    assert not result.refusals
    return [
        json.loads(one)["properties"]
        for chunk in result.chunks
        for one in split(chunk.event_bytes)
    ]


@pytest.mark.parametrize("mode", ["as_sent", "always"])
@pytest.mark.parametrize(
    "given", [{}, {"a": 1}, MARK, {"$process_person_profile": True}]
)
def test_where_nothing_is_asked_nothing_is_added(
    mode: str, given: dict[str, Any]
) -> None:
    assert properties(mode, {"properties": given}) == [given]


@pytest.mark.parametrize("mode", ["never", "identified_only"])
@pytest.mark.parametrize("given", [{}, {"a": 1}, {"$process_person_profile": "no"}])
def test_an_ordinary_event_of_nobody_known_becomes_anonymous(
    mode: str, given: dict[str, Any]
) -> None:
    assert properties(mode, {"properties": given}) == [{**given, **MARK}]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wish", [True, False])
def test_an_explicit_boolean_wins(mode: str, wish: bool) -> None:  # noqa: FBT001
    given = {"$process_person_profile": wish}

    assert properties(mode, {"properties": given}) == [given]


def test_the_bytes_within_the_properties_stay() -> None:
    line = event(properties={}).replace(
        b'"properties": {}', b'"properties":{ "a" :1.10 }'
    )
    judge = Judge(
        max_bytes=10_000, projects=frozenset({"default"}), profiles=Profiles("never")
    )

    (chunk,) = judge.judge(line, project="default", now_ms=NOW_MS).chunks

    assert b'{ "a" :1.10 ,"$process_person_profile":false}' in chunk.event_bytes


@pytest.mark.parametrize("name", sorted(PERSON_EVENTS))
def test_never_turns_events_about_persons_down(name: str) -> None:
    result = judged("never", {}, {"event": name}, {})

    assert result.events == 2
    (refusal,) = result.refusals
    assert refusal.line == 2
    assert refusal.reason == (
        f"event: {name} is about a person, and events.person_profiles is never"
    )


@pytest.mark.parametrize("name", sorted(PERSON_EVENTS))
def test_where_persons_are_wanted_events_about_them_are_untouched(name: str) -> None:
    for mode in ("as_sent", "always", "identified_only"):
        assert properties(mode, {"event": name, "properties": {"a": 1}}) == [{"a": 1}]


@pytest.mark.parametrize(
    "members",
    [
        {"distinct_id": "known"},
        {"$set": {"a": 1}},
        {"$set_once": {"a": 1}},
        {"properties": {"$set": {"a": 1}}},
        {"properties": {"$set_once": {"a": 1}}},
        {"properties": {"$unset": ["a"]}},
        {"properties": {"$groups": {"company": "acme"}}},
        {"properties": {"$is_identified": True}},
    ],
)
def test_identified_only_leaves_an_event_that_is_somebodys(
    members: dict[str, Any],
) -> None:
    given = members.get("properties", {})

    assert properties("identified_only", members, known=Memory("known")) == [given]
    # Which is no matter where no event makes a person.
    (marked,) = properties("never", members, known=Memory("known"))
    assert marked == {**given, **MARK}


@pytest.mark.parametrize(
    "members",
    [
        {"distinct_id": "stranger"},
        {"$set": {}},
        {"properties": {"$groups": {}}},
        {"properties": {"$unset": []}},
        {"properties": {"$is_identified": False}},
        {"properties": {"$is_identified": "true"}},
    ],
)
def test_identified_only_marks_what_is_nobodys(members: dict[str, Any]) -> None:
    (marked,) = properties("identified_only", members, known=Memory("known"))

    assert marked == {**members.get("properties", {}), **MARK}


def test_an_id_is_known_from_the_event_on_that_names_it() -> None:
    known = Memory()
    alias = {"event": "$create_alias", "distinct_id": "u2"}
    identify = {"event": "$identify", "distinct_id": "u1"}

    result = properties(
        "identified_only",
        {"distinct_id": "u1"},
        {**identify, "properties": {"$anon_distinct_id": "anon-9"}},
        {"distinct_id": "u1"},
        {"distinct_id": "anon-9"},
        {**alias, "properties": {"alias": "other"}},
        {"distinct_id": "other"},
        {"distinct_id": "u3"},
        known=known,
    )

    assert [MARK.items() <= one.items() for one in result] == [
        True,
        *[False] * 5,
        True,
    ]
    assert known.ids == {"u1", "anon-9", "u2", "other"}


def test_what_the_store_keeps_goes_with_the_chunk() -> None:
    (chunk,) = judged("identified_only", {"event": "$identify"}).chunks

    assert chunk.identified == (1,)
    (chunk,) = judged("identified_only", {}).chunks
    assert chunk.identified == ()


@pytest.mark.parametrize(
    ("mode", "anonymous"),
    [("as_sent", 1), ("always", 1), ("never", 3), ("identified_only", 2)],
)
def test_anonymous_events_are_counted(mode: str, anonymous: int) -> None:
    result = judged(
        mode,
        {"properties": MARK},
        {"properties": {"$process_person_profile": True}},
        {"distinct_id": "known"},
        {"distinct_id": "stranger"},
        known=Memory("known"),
    )

    assert sum(chunk.anonymous for chunk in result.chunks) == anonymous


def test_lines_that_are_mended_are_decided_about_as_well() -> None:
    result = judged("never", {"uuid": "", "timestamp": None}, {"event": ""}, {})

    assert [chunk.anonymous for chunk in result.chunks] == [2]
    assert [refusal.line for refusal in result.refusals] == [2]


def test_a_text_that_means_a_boolean_is_one_before_it_is_looked_at() -> None:
    wishes = ({"$process_person_profile": "true"}, {"$process_person_profile": "false"})

    result = properties("never", *({"properties": wish} for wish in wishes))

    assert result == [{"$process_person_profile": True}, MARK]
