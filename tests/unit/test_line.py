"""Every rule of what an event is: contract 8, with upstream 4.1 and 4.2."""

import json
import uuid
from dataclasses import replace
from typing import Any

import pytest

from leanbase_relay.intake.line import (
    Line,
    Refused,
    Rules,
    depth,
    judge_line,
)
from leanbase_relay.intake.uuids import mint_uuid
from tests.support.keys import key_ring

NOW_MS = 1_772_366_400_123  # 2026-03-01T12:00:00.123Z
NOW = "2026-03-01T12:00:00.123Z"
UUID = "01890a5d-ac96-774b-bcce-b302099a8057"
RULES = Rules(max_bytes=2000, projects=frozenset({"default", "shop"}))
LOCATING = Rules(RULES.max_bytes, RULES.projects, disable_geoip=True)
GOOD: dict[str, Any] = {
    "event": "order placed",
    "distinct_id": "user-1",
    "uuid": UUID,
    "timestamp": "2026-03-01T11:00:00Z",
    "properties": {"amount": 12.5},
}


def line_with(without: tuple[str, ...] = (), /, **members: Any) -> bytes:
    event = {name: GOOD[name] for name in GOOD if name not in without}
    return json.dumps(event | members).encode()


def raw(member: str) -> bytes:
    """A good event in which one member stands as it is spelled here."""
    name = json.loads(member.partition(":")[0])
    return line_with((name,))[:-1] + b"," + member.encode() + b"}"


def judged(line: bytes, rules: Rules = RULES) -> bytes:
    result = judge_line(line, rules, project="default", now_ms=NOW_MS)
    assert result.project == "default"
    return result.event_bytes


def refusal_of(line: bytes, rules: Rules = RULES) -> str:
    with pytest.raises(Refused) as no:
        judge_line(line, rules, project="default", now_ms=NOW_MS)
    return str(no.value)


def accepted(line: bytes, rules: Rules = RULES) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(judged(line, rules))
    return event


class TestNothingToMend:
    @pytest.mark.parametrize(
        "line",
        [
            line_with(),
            b" " + line_with() + b"\t\r",
            line_with(event=" "),
            line_with(distinct_id=" user-1 "),
            line_with(distinct_id="d" * 300),
            line_with(distinct_id="a\0b"),
            line_with(distinct_id="guest"),
            line_with(uuid=UUID.upper()),
            line_with(uuid=UUID.replace("-", "")),
            line_with(uuid=f"urn:uuid:{UUID}"),
            line_with(uuid=f"{{{UUID}}}"),
            line_with(uuid="00000000-0000-0000-0000-000000000000"),
            line_with(timestamp="2026-03-01T11:00:00.123456+00:00"),
            line_with(properties={}),
            line_with(("properties",)),
            line_with(**{"$set": {"a": 1}, "$set_once": {"b": []}}),
            line_with(**{"$set": None, "$set_once": None}),
            line_with(properties={"$cookieless_mode": True}),
            line_with(properties={"$cookieless_mode": None}),
            line_with(properties={"$process_person_profile": False}),
            line_with(properties={"$process_person_profile": 0}),
            line_with(properties={"$process_person_profile": "no"}),
            line_with(properties={"distinct_id": "other", "token": "t"}),
            line_with(groups=[], options=7, session_id=None, window_id=["w"]),
            line_with(options={"cookieless_mode": "perhaps", "new": 1}),
            raw('"properties" : { "a" :1.10, "b":1E+2 ,"a":-0.0, "\\u0061":"\\/"} '),
            raw('"properties":{"n":123456789012345678901234567890}'),
            raw('"other":{"other":1},"other":2'),
        ],
    )
    def test_the_line_stays_byte_for_byte(self, line: bytes) -> None:
        assert judged(line) == line.strip()


class TestNotJson:
    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (b"nonsense", "not JSON: Expecting value (column 1)"),
            (b'{"event":"e","propert', "not JSON: Unterminated string"),
            (b"{'event':'e'}", "not JSON: Expecting property name"),
            (line_with() + line_with(), "not JSON: Extra data"),
            (line_with() + b",", "not JSON: Extra data"),
            (line_with()[:-1], "not JSON: Expecting ',' delimiter"),
            (b"\xef\xbb\xbf" + line_with(), "not JSON"),
            (raw('"properties":{"x":NaN}'), "not JSON: NaN is not a number"),
            (raw('"properties":{"x":-Infinity}'), "not JSON: -Infinity is not a num"),
            (raw('"properties":{"x":1e999}'), "the number 1e999 is beyond double"),
            (
                raw('"properties":{"x":-%s}' % ("9" * 400)),
                "the number -9999999999999999... is beyond double range",
            ),
            (raw('"properties":{"x":"\\ud83d"}'), "a lone surrogate"),
            (raw('"properties":{"x":"\\ude00\\ud83d"}'), "a lone surrogate"),
            (raw('"properties":{"\\ud83d":1}'), "a lone surrogate"),
            (b'{"event":"\xff"}', "not valid UTF-8 (byte 11 of the line)"),
            (b'{"event":"\xed\xa0\xbd"}', "not valid UTF-8 (byte 11 of the line)"),
            (b'{"event":"a\0b"}', "not JSON: Invalid control character"),
            (line_with() + b"\0", "not JSON: Extra data"),
            (b'{"event":"a\tb"}', "not JSON: Invalid control character"),
            (b'{"event":"\\x41"}', "not JSON: Invalid \\escape"),
            (raw('"properties":{"x":01}'), "not JSON"),
            (raw('"properties":{"x":1.}'), "not JSON"),
            (b"[" * 2000, "nested deeper than 125 levels"),
        ],
    )
    def test_the_reason_says_what_and_where(self, line: bytes, reason: str) -> None:
        assert refusal_of(line).startswith(reason)

    @pytest.mark.parametrize(
        ("line", "kind"),
        [
            (b'"just text"', "a string"),
            (b"null", "null"),
            (b"[{}]", "a list"),
            (b"-1", "a number"),
            (b" true", "a boolean"),
        ],
    )
    def test_only_an_object_is_an_event(self, line: bytes, kind: str) -> None:
        assert refusal_of(line) == f"not a JSON object but {kind}"

    def test_a_line_may_be_as_long_as_the_limit_and_no_longer(self) -> None:
        fits = line_with() + b" " * (RULES.max_bytes - len(line_with()))

        assert judged(fits) == line_with()
        assert refusal_of(fits + b" ") == (
            "line is longer than events.max_bytes (2000 bytes)"
        )


class TestNesting:
    def test_125_levels_are_taken_and_126_are_not(self) -> None:
        fits = raw('"properties":' + nested(124))

        assert judged(fits) == fits
        assert refusal_of(raw('"properties":' + nested(125))) == (
            "nested deeper than 125 levels"
        )

    def test_brackets_in_text_and_side_by_side_do_not_count(self) -> None:
        text = raw('"properties":{"x":"\\"[{[{' + "[{" * 200 + '\\\\","y":"[\\\\"}')
        wide = raw('"properties":{"x":[' + "{}," * 200 + "{}]}")

        assert judged(text) == text
        assert judged(wide) == wide

    @pytest.mark.parametrize("closing", ['"', ""])
    def test_a_line_of_escaped_quotes_costs_no_more_than_its_length(
        self, closing: str
    ) -> None:
        """Counting levels in text that is not JSON once took hours for such a line."""
        rules = Rules(1 << 20, frozenset())
        line = b"[" * 126 + b'"' + b'\\"' * 400_000 + closing.encode()

        assert refusal_of(line, rules).startswith("not JSON")

    @pytest.mark.parametrize("levels", [126, 500, 1023, 1100])
    def test_depth_is_exact_where_it_matters(self, levels: int) -> None:
        assert depth(nested(levels).encode()) == levels


def nested(levels: int) -> str:
    return '{"n":' * (levels - 1) + "{}" + "}" * (levels - 1)


class TestRefusedMembers:
    @pytest.mark.parametrize(
        ("member", "reason"),
        [
            ('"event":5', "event: must be a string, not a number"),
            ('"event":null', "event: must be a string, not null"),
            ('"event":""', "event: empty"),
            ('"distinct_id":""', "distinct_id: empty"),
            ('"distinct_id":" \\t\\u00a0"', "distinct_id: empty"),
            ('"distinct_id":null', "distinct_id: missing"),
            ('"uuid":"foo"', "uuid: not a UUID"),
            (f'"uuid":"{UUID[:-1]}"', "uuid: not a UUID"),
            (f'"uuid":" {UUID}"', "uuid: not a UUID"),
            (f'"uuid":"{{{UUID}"', "uuid: not a UUID"),
            (f'"uuid":"{UUID[:-1]}\u0661"', "uuid: not a UUID"),
            ('"uuid":7', "uuid: must be a string, not a number"),
            ('"timestamp":1772366400', "timestamp: must be a string, not a number"),
            ('"timestamp":true', "timestamp: must be a string, not a boolean"),
            ('"timestamp":{"$date":"x"}', "timestamp: must be a string, not an obj"),
            ('"offset":"60000"', "offset: must be a 64-bit integer"),
            ('"offset":1.0', "offset: must be a 64-bit integer"),
            ('"offset":9223372036854775808', "offset: must be a 64-bit integer"),
            ('"properties":null', "properties: must be an object, not null"),
            ('"properties":[1]', "properties: must be an object, not a list"),
            ('"properties":"{}"', "properties: must be an object, not a string"),
            ('"$set":"x"', "$set: must be an object, not a string"),
            ('"$set_once":[{}]', "$set_once: must be an object, not a list"),
            ('"api_key":5', "api_key: must be a string, not a number"),
            ('"$token":{}', "$token: must be a string, not an object"),
            ('"token":"a","api_key":"a"', "token: given beside api_key"),
            ('"project":7', "project: must be a string"),
            ('"project":null', "project: must be a string"),
            ('"project":"moon"', "project: 'moon' is not configured"),
            (
                '"properties":{"$cookieless_mode":"true"}',
                "properties.$cookieless_mode: must be a boolean",
            ),
            ('"$distinct_id":"x"', "distinct_id: given beside $distinct_id"),
            ('"event":"e","event":"e"', "event: given twice"),
            ('"uuid":"","\\u0075uid":""', "uuid: given twice"),
            ('"properties":{},"properties":{}', "properties: given twice"),
        ],
    )
    def test_the_reason_names_the_member(self, member: str, reason: str) -> None:
        assert refusal_of(raw(member)).startswith(reason)

    @pytest.mark.parametrize("name", ["event", "distinct_id"])
    def test_what_must_be_there_is_missing(self, name: str) -> None:
        assert refusal_of(line_with((name,))) == f"{name}: missing"

    def test_an_empty_object_lacks_its_name(self) -> None:
        assert refusal_of(b"{}") == "event: missing"


class TestDistinctId:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("23", "23"),
            ("23.4", "23.4"),
            ("-0", "-0.0"),
            ("1e16", "1e16"),
            ("1.5e-5", "0.000015"),
            ("18446744073709551615", "18446744073709551615"),
            ("18446744073709551616", "1.8446744073709552e19"),
            ("true", "true"),
            ("false", "false"),
            (
                '{"b": [1, null],\n"a":"\\u00e9\\u0001"}',
                '{"a":"é\\u0001","b":[1,null]}',
            ),
            ("[ ]", "[]"),
        ],
    )
    def test_other_values_become_the_text_that_upstream_makes(
        self, value: str, text: str
    ) -> None:
        line = raw('"distinct_id":' + value.replace("\n", " "))

        assert accepted(line) == {**GOOD, "distinct_id": text}

    @pytest.mark.parametrize(
        "ids",
        [
            {"$distinct_id": "user-1"},
            {"distinctId": "user-1"},
            {"distinctId": "user-1", "distinct_id": None},
            {"distinctId": "user-1", "$distinct_id": None},
        ],
    )
    def test_other_spellings_are_put_where_upstream_looks(
        self, ids: dict[str, Any]
    ) -> None:
        assert accepted(line_with(("distinct_id",), **ids)) == GOOD

    def test_phps_spelling_counts_where_upstream_finds_no_id(self) -> None:
        ids: dict[str, Any] = {"distinctId": 5, "properties": {"distinct_id": "inner"}}

        event = accepted(line_with(("distinct_id",), **ids))

        assert event == {**GOOD, **ids, "distinct_id": "inner"}

    def test_the_top_level_wins_over_the_properties(self) -> None:
        line = line_with(properties={"distinct_id": "inner"})

        assert accepted(line)["distinct_id"] == "user-1"

    @pytest.mark.parametrize("name", ["distinct_id", "$distinct_id", "distinctId"])
    def test_null_counts_as_absent(self, name: str) -> None:
        """A `$distinct_id` of null that stayed would fail the whole batch upstream."""
        event = accepted(
            line_with(
                ("distinct_id",), **{name: None, "properties": {"distinct_id": 7}}
            )
        )

        assert event["distinct_id"] == "7"
        assert "$distinct_id" not in event
        assert event["properties"] == {"distinct_id": 7}

    def test_an_empty_top_level_id_wins_as_well(self) -> None:
        line = line_with(distinct_id="", properties={"distinct_id": "inner"})

        assert refusal_of(line) == "distinct_id: empty"

    @pytest.mark.parametrize("wish", [False, "false"])
    def test_an_anonymous_event_is_given_a_random_id(self, wish: object) -> None:
        line = line_with(("distinct_id",), properties={"$process_person_profile": wish})
        first, second = accepted(line), accepted(line)

        assert uuid.UUID(first["distinct_id"]).version == 4
        assert first["distinct_id"] != second["distinct_id"]

    @pytest.mark.parametrize("wish", [True, None, 0, "no"])
    def test_no_other_wish_makes_it_anonymous(self, wish: object) -> None:
        line = line_with(("distinct_id",), properties={"$process_person_profile": wish})

        assert refusal_of(line) == "distinct_id: missing"


class TestMending:
    @pytest.mark.parametrize("name", ["properties", "$set", "$set_once"])
    @pytest.mark.parametrize("empty", [b"[]", b"[ \t]"])
    def test_phps_empty_map_is_an_empty_object(self, name: str, empty: bytes) -> None:
        line = line_with((name,))[:-1] + b',"%b":%b}' % (name.encode(), empty)

        assert accepted(line) == {**GOOD, name: {}}

    @pytest.mark.parametrize("name", ["api_key", "token", "$token"])
    @pytest.mark.parametrize("key", ["phc_secret", None, ""])
    def test_a_key_never_reaches_the_store(self, name: str, key: str | None) -> None:
        assert accepted(line_with(**{name: key})) == GOOD

    def test_the_project_is_taken_out_and_told(self) -> None:
        result = judge_line(
            line_with(project="shop"), RULES, project="default", now_ms=NOW_MS
        )

        assert result.project == "shop"
        assert json.loads(result.event_bytes) == GOOD

    def test_an_import_is_told_and_its_mark_taken_out(self) -> None:
        line = line_with(historical_migration=True)

        result = judge_line(line, RULES, project="default", now_ms=NOW_MS)

        assert result.historical
        assert json.loads(result.event_bytes) == GOOD
        assert accepted(line_with(historical_migration=False)) == GOOD
        assert "historical_migration: must be a boolean, not a string" in refusal_of(
            line_with(historical_migration="yes")
        )

    def test_what_v1_has_beside_the_properties_goes_into_them(self) -> None:
        """As v1 does it: over what the properties say of the same."""
        options = {
            "process_person_profile": False,
            "disable_skew_correction": True,
            "cookieless_mode": None,
            "product_tour_id": "t1",
            "unknown": 1,
        }
        properties = {"$session_id": "under", "price": 1.5}

        event = accepted(
            line_with(
                options=options, session_id="s", window_id="w", properties=properties
            )
        )

        assert event["properties"] == {
            "$session_id": "s",
            "$window_id": "w",
            "price": 1.5,
            "$process_person_profile": False,
            "$ignore_sent_at": True,
            "$product_tour_id": "t1",
        }
        assert not event.keys() & {"options", "session_id", "window_id"}

    def test_who_made_the_stamp_is_told(self) -> None:
        def stamped(line: bytes) -> bool:
            return judge_line(line, RULES, project="default", now_ms=NOW_MS).stamped

        assert stamped(line_with(("timestamp",)))
        assert stamped(line_with(timestamp=""))
        assert stamped(line_with(timestamp="last tuesday"))
        assert stamped(line_with(offset=5000))
        assert not stamped(line_with())
        assert not stamped(line_with(timestamp="2026-03-01 11:00"))

    @pytest.mark.parametrize("wish", ["true", "false"])
    def test_a_wish_given_as_text_becomes_the_boolean_that_was_meant(
        self, wish: str
    ) -> None:
        line = raw(
            f'"properties":{{ "a":1.10,"$process_person_profile":"{wish}", "b":[1, 2]}}'
        )
        mended = f'{{"a":1.10,"$process_person_profile":{wish},"b":[1, 2]}}'

        assert judged(line).endswith(b'"properties":' + mended.encode() + b"}")

    @pytest.mark.parametrize("given", [(), (("uuid", None),), (("uuid", ""),)])
    def test_a_uuid_is_minted_where_there_is_none(
        self, given: tuple[tuple[str, object], ...]
    ) -> None:
        line = line_with(("uuid",), **dict(given))
        first, second = accepted(line), accepted(line)

        assert uuid.UUID(first["uuid"]).version == 7
        assert first["uuid"] != second["uuid"]
        assert {**first, "uuid": UUID} == GOOD

    def test_what_is_absent_is_added_and_the_rest_keeps_its_bytes(self) -> None:
        line = b' { "event" : "e", "distinct_id":"\\u0075","x":1,"x":2 } '
        start, added = judged(line)[: len(line) - 3], judged(line)[len(line) - 3 :]

        assert start == line.strip()[:-1]
        assert json.loads(b"{" + added[1:])["timestamp"] == NOW

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ({}, NOW),
            ({"timestamp": None}, NOW),
            ({"timestamp": ""}, NOW),
            ({"timestamp": "not a date"}, NOW),
            ({"timestamp": "2026-03-01T14:00:00.50+02:00"}, "2026-03-01T12:00:00.50Z"),
            ({"timestamp": "1772366400123"}, NOW),
            ({"offset": 60_000}, "2026-03-01T11:59:00.123Z"),
            ({"offset": -60_000}, "2026-03-01T12:01:00.123Z"),
            ({"offset": 0, "timestamp": "2020-01-01T00:00:00Z"}, NOW),
            ({"offset": None, "timestamp": NOW}, NOW),
            ({"offset": 2**63 - 1}, NOW),
        ],
    )
    def test_the_timestamp_is_settled_at_intake(
        self, given: dict[str, Any], expected: str
    ) -> None:
        event = accepted(line_with(("timestamp",), **given))

        assert event == {**GOOD, "timestamp": expected}


class TestGeoip:
    @pytest.mark.parametrize("properties", [{"$ip": "203.0.113.9"}, {"$ip": None}])
    def test_an_address_of_the_apps_is_left_alone(
        self, properties: dict[str, Any]
    ) -> None:
        line = line_with(properties=properties)

        assert judged(line, LOCATING) == line

    def test_a_word_of_the_apps_is_left_alone(self) -> None:
        line = line_with(properties={"$geoip_disable": False})

        assert judged(line, LOCATING) == line

    def test_a_name_is_what_it_spells(self) -> None:
        line = raw('"properties":{"\\u0024ip":"203.0.113.9"}')

        assert judged(line, LOCATING) == line

    @pytest.mark.parametrize("properties", [{}, {"a": 1, "ip": "x"}, []])
    def test_else_the_upstream_is_told_not_to_guess(self, properties: Any) -> None:
        event = accepted(line_with(properties=properties), LOCATING)

        assert event["properties"] == dict(properties) | {"$geoip_disable": True}

    def test_also_where_there_are_no_properties(self) -> None:
        event = accepted(line_with(("properties",)), LOCATING)

        assert event["properties"] == {"$geoip_disable": True}


def test_minted_uuids_sort_by_their_time() -> None:
    earlier, later = mint_uuid(NOW_MS), mint_uuid(NOW_MS + 1)

    assert earlier < later
    assert uuid.UUID(earlier).int >> 80 == NOW_MS
    assert uuid.UUID(earlier).variant == uuid.RFC_4122


class TestKeysInside:
    KEYED = replace(RULES, keys=key_ring())

    def test_a_projects_key_is_taken_out_of_the_properties(self) -> None:
        """Where browser SDKs put it."""
        line = line_with(properties={"a": 1, "token": " phc_test ", "b": 2})

        assert accepted(line, self.KEYED)["properties"] == {"a": 1, "b": 2}

    def test_so_is_one_that_is_spelled_otherwise(self) -> None:
        line = raw(r'"properties":{"\u0074oken":"\u0070hc_test","b":1.10}')

        assert judged(line, self.KEYED).endswith(b'"properties":{"b":1.10}}')

    @pytest.mark.parametrize("token", ["phc_other", 7, None, ["phc_test"]])
    def test_any_other_token_is_the_apps_own(self, token: object) -> None:
        line = line_with(properties={"token": token})

        assert judged(line, self.KEYED) == line


class TestFromSdks:
    """Protocol v0 knows nothing of what is for the relay, nor of v1's members."""

    SDKS = replace(RULES, from_sdk=True)

    @pytest.mark.parametrize(
        "member",
        [
            '"project":"shop"',
            '"project":7',
            '"historical_migration":true',
            '"historical_migration":"x"',
            '"session_id":"s"',
            '"options":{"cookieless_mode":true}',
        ],
    )
    def test_such_members_pass_through(self, member: str) -> None:
        line = raw(member)

        result = judge_line(line, self.SDKS, project="default", now_ms=NOW_MS)

        assert result == Line("default", line)

    def test_an_event_that_is_too_long_is_called_one(self) -> None:
        assert refusal_of(line_with(text="x" * 2000), self.SDKS) == (
            "event is longer than events.max_bytes (2000 bytes)"
        )
