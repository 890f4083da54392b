from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from leanbase_relay.sink.envelope import Envelope
from leanbase_relay.sink.judge import judge, project_key, without_performance_events
from leanbase_relay.sink.limits import Refusal
from leanbase_relay.sink.row import Row
from leanbase_relay.sink.stored_time import TimeRule

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GOOD: dict[str, Any] = {"event": "e", "distinct_id": "u"}


def rows_of(*events: dict[str, Any]) -> list[Row]:
    return judge(
        events,
        api_key="phc_test",
        historical=False,
        time=TimeRule.of(None, now=NOW, deadband=timedelta(0)),
    )


def key_of(*events: dict[str, Any], known: frozenset[str] | None = None) -> str:
    return project_key(Envelope(events), events, known_keys=known)


def test_the_batchs_key_wins_over_those_of_its_events() -> None:
    events = ({**GOOD, "api_key": "other"},)

    assert project_key(Envelope(events, "mine"), events, known_keys=None) == "mine"


@pytest.mark.parametrize("name", ["token", "$token", "api_key"])
def test_an_event_may_spell_its_key_in_three_ways(name: str) -> None:
    assert key_of({**GOOD, name: "phc_test"}) == "phc_test"


def test_an_events_key_may_stand_in_its_properties() -> None:
    assert key_of({**GOOD, "properties": {"token": "phc_test"}}) == "phc_test"


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ([None], "event submitted without an api_key"),
        (["a", "b"], "batch submitted with inconsistent api_key values"),
        ([" "], "API key is not valid: empty"),
        (["p" * 65], "API key is not valid: too_long"),
        (["phc_é"], "API key is not valid: not_ascii"),
        (["phx_mine"], "API key is not valid: personal_api_key"),
        (["phc_\0a"], "API key is not valid: null_byte"),
    ],
)
def test_a_bad_key_is_401_with_the_services_text(
    keys: list[str | None], text: str
) -> None:
    with pytest.raises(Refusal) as refused:
        key_of(*({**GOOD, "api_key": key} for key in keys))

    assert (refused.value.status, str(refused.value)) == (401, text)


def test_an_array_needs_only_one_event_with_a_key() -> None:
    assert key_of(GOOD, {**GOOD, "token": "phc_test"}) == "phc_test"


def test_a_key_that_no_project_has_is_401_where_keys_are_known() -> None:
    known = frozenset({"phc_test"})

    assert key_of({**GOOD, "token": " phc_test "}, known=known) == "phc_test"
    with pytest.raises(Refusal, match="project API key"):
        key_of({**GOOD, "token": "phc_other"}, known=known)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"distinct_id": 23}, "23"),
        ({"distinct_id": False}, "false"),
        ({"distinct_id": {"b": [1], "a": "x"}}, '{"a":"x","b":[1]}'),
        ({"distinct_id": " u "}, " u "),
        ({"distinct_id": "a\0b"}, "a\ufffdb"),
        ({"distinct_id": "é" * 201}, "é" * 200),
        ({"$distinct_id": "23"}, "23"),
        ({"distinct_id": None, "properties": {"distinct_id": 7}}, "7"),
    ],
)
def test_an_id_becomes_the_services_text(given: dict[str, Any], text: str) -> None:
    (row,) = rows_of({"event": "e", **given})

    assert row.distinct_id == text


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ({**GOOD, "event": ""}, "event submitted with an empty event name"),
        ({"event": "e"}, "event submitted without a distinct_id"),
        (
            {"event": "e", "distinct_id": " ", "properties": {"distinct_id": "u"}},
            "event submitted without a distinct_id",
        ),
        (
            {"event": "e", "properties": {"distinct_id": None}},
            "event submitted without a distinct_id",
        ),
        (
            {**GOOD, "properties": {"$cookieless_mode": "true"}},
            "event submitted with invalid cookieless mode",
        ),
    ],
)
def test_the_first_bad_event_fails_them_all(event: dict[str, Any], text: str) -> None:
    with pytest.raises(Refusal) as refused:
        rows_of(GOOD, event, GOOD)

    assert (refused.value.status, str(refused.value)) == (400, text)
    assert refused.value.hint == "event [1]"


def test_duplicates_are_told_by_day_name_id_and_uuid() -> None:
    uuid = "01890A5DAC96774BBCCEB302099A8057"
    (row,) = rows_of({**GOOD, "uuid": uuid, "timestamp": "2026-02-28T23:30:00-01:00"})

    assert row.key == (
        "2026-03-01",
        "e",
        "u",
        "01890a5d-ac96-774b-bcce-b302099a8057",
    )


def test_each_event_without_uuid_is_a_row_of_its_own() -> None:
    first, second = rows_of(GOOD, {**GOOD, "uuid": ""})

    assert first.key != second.key


def test_performance_events_are_forgotten() -> None:
    assert without_performance_events([{"event": "$performance_event"}, GOOD]) == (
        GOOD,
    )
