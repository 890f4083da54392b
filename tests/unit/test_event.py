"""Runs of lines: what the judge makes of many at once."""

import json
import uuid
from typing import Any

import pytest

from leanbase_relay.intake.event import Judge, Judged, Refusal
from leanbase_relay.store.chunk import Chunk, split
from tests.support.intake import event
from tests.support.keys import KEY, key_ring

NOW_MS = 1_772_366_400_123
MAX_BYTES = 2000
BAD = b'{"event":"e"}\n'


def judge(**settings: Any) -> Judge:
    return Judge(
        max_bytes=MAX_BYTES, projects=frozenset({"default", "shop"}), **settings
    )


def judged(run: bytes, **settings: Any) -> Judged:
    return judge(**settings).judge(run, project="default", now_ms=NOW_MS)


def events_of(result: Judged, project: str = "default") -> list[bytes]:
    return [
        one
        for chunk in result.chunks
        if chunk.project == project
        for one in split(chunk.event_bytes)
    ]


def reasons(result: Judged) -> dict[int, str]:
    return {refusal.line: refusal.reason for refusal in result.refusals}


class TestRuns:
    def test_events_in_order_are_one_chunk_of_the_very_bytes(self) -> None:
        lines = [event(number).strip() for number in range(1000)]
        result = judged(b"\n".join(lines))

        (chunk,) = result.chunks
        assert chunk.event_bytes == b",".join(lines)
        assert (chunk.events, result.lines, result.refusals) == (1000, 1000, ())

    @pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
    def test_the_last_newline_and_carriage_returns_do_not_matter(
        self, ending: bytes
    ) -> None:
        run = event(1).replace(b"\n", b"\r\n") + event(2).strip() + ending

        assert events_of(judged(run)) == [event(1).strip(), event(2).strip()]

    @pytest.mark.parametrize("run", [b"", b"\n", b"\r\n", b" \t\n"])
    def test_a_blank_line_is_a_line_and_nothing_else(self, run: bytes) -> None:
        assert judged(run) == Judged((), (), 1, (1,))

    def test_bad_lines_are_told_by_their_number_and_their_neighbours_stay(self) -> None:
        lines = [event(number) for number in range(1, 101)]
        lines[16] = BAD
        lines[49] = b"\n"
        lines[99] = b"nonsense"
        result = judged(b"".join(lines))

        assert reasons(result) == {
            17: "distinct_id: missing",
            100: "not JSON: Expecting value (column 1)",
        }
        assert (result.lines, result.blank, result.blanks) == (100, 1, (50,))
        assert events_of(result) == [
            line.strip() for line in lines if line[:9] == event()[:9] and line != BAD
        ]

    def test_what_is_missing_is_added_and_the_run_stays_one_chunk(self) -> None:
        lines = [
            event(1),
            event(2, uuid=None),
            event(3, timestamp=None),
            b' {"event":"e","distinct_id":"u" } \n',
        ]
        result = judged(b"".join(lines * 5))
        whole, no_uuid, no_timestamp, neither = events_of(result)[:4]

        assert len(result.chunks) == 1
        assert whole == event(1).strip()
        assert no_uuid.startswith(event(2, uuid=None).strip()[:-1] + b',"uuid":"')
        assert json.loads(no_timestamp)["timestamp"] == "2026-03-01T12:00:00.123Z"
        assert neither.startswith(b'{"event":"e","distinct_id":"u" ,"uuid":"')
        minted = {json.loads(one)["uuid"] for one in events_of(result)}
        assert len(minted) == 2 + 2 * 5
        assert {uuid.UUID(one).version for one in minted} == {7}

    @pytest.mark.parametrize(
        ("head", "project", "historical"),
        [
            (b'{"project":"shop",', "shop", False),
            (b'{"historical_migration":true,', "default", True),
            (b'{"historical_migration":true,"project":"shop",', "shop", True),
        ],
    )
    def test_what_send_puts_before_each_event_does_not_leave_the_fast_way(
        self, head: bytes, project: str, *, historical: bool
    ) -> None:
        lines = [event(number).strip() for number in range(100)]

        (chunk,) = judged(b"\n".join(head + line[1:] for line in lines)).chunks

        assert chunk == Chunk(project, 100, b",".join(lines), historical=historical)

    def test_a_head_that_not_all_lines_have_is_looked_at_line_by_line(self) -> None:
        shop, plain = b'{"project":"shop",' + event(1)[1:], event(2)

        result = judged(shop + plain + shop.replace(b"shop", b"nowhere"))

        (first,), (second,) = events_of(result, "shop"), events_of(result)
        assert (json.loads(first), json.loads(second)) == (
            json.loads(event(1)),
            json.loads(event(2)),
        )
        assert reasons(result) == {3: "project: 'nowhere' is not configured"}

    def test_an_unknown_project_at_the_head_is_refused_on_each_line(self) -> None:
        result = judged(b'{"project":"nowhere",' + event(1)[1:])

        assert reasons(result) == {1: "project: 'nowhere' is not configured"}

    def test_an_sdks_event_keeps_what_looks_like_such_a_head(self) -> None:
        run = b'{"project":"shop",' + event(1)[1:].strip()

        assert events_of(judged(run, from_sdk=True)) == [run]

    def test_a_key_in_the_properties_is_taken_out_of_that_event_alone(self) -> None:
        """Found among many, on the way on which nothing is decoded."""
        lines = [event(number).strip() for number in range(100)]
        keyed = event(50, properties={"token": KEY, "n": 50}).strip()

        result = judged(b"\n".join([*lines[:50], keyed, *lines[51:]]), keys=key_ring())

        stored = events_of(result)
        assert [*stored[:50], *stored[51:]] == [*lines[:50], *lines[51:]]
        assert json.loads(stored[50])["properties"] == {"n": 50}

    def test_who_made_the_stamps_is_known_of_each_event(self) -> None:
        bare = b'{"event":"e","distinct_id":"u"}\n'

        (chunk,) = judged(bare + event(1) + bare + bare).chunks

        assert chunk.stamped == ((0, 1), (2, 2))

    def test_each_project_has_its_events_in_order(self) -> None:
        lines = [event(n, project="shop" if n % 3 else None) for n in range(30)]
        result = judged(b"".join(lines))

        assert [chunk.project for chunk in result.chunks] == ["default", "shop"]
        assert events_of(result) == [event(n).strip() for n in range(30) if not n % 3]
        assert [json.loads(one)["properties"]["n"] for one in events_of(result, "shop")]
        assert [
            json.loads(e)["properties"]["n"] for e in events_of(result, "shop")
        ] == [n for n in range(30) if n % 3]

    @pytest.mark.parametrize("bad", [b"", BAD])
    def test_no_chunk_has_more_events_than_it_may(self, bad: bytes) -> None:
        lines = [event(number) for number in range(100)]
        result = judged(b"".join(lines) + bad, max_events=30)

        assert all(chunk.events <= 30 for chunk in result.chunks)
        assert all(
            chunk.events == len(split(chunk.event_bytes)) for chunk in result.chunks
        )
        assert events_of(result) == [line.strip() for line in lines]

    @pytest.mark.parametrize("lines", [1, 2, 20])
    def test_no_line_is_longer_than_it_may_be(self, lines: int) -> None:
        longest = event(1, pad="x" * (MAX_BYTES - len(event(1, pad="")) + 1))
        too_long = longest.replace(b"xx", b"xxx", 1)

        others = event(0) * (lines - 1)

        assert len(longest.strip()) == MAX_BYTES
        assert judged(others + longest).events == lines
        assert reasons(judged(others + too_long)) == {
            lines: "line is longer than events.max_bytes (2000 bytes)"
        }

    @pytest.mark.parametrize("before", [0, 1, 3, 40])
    @pytest.mark.parametrize("behind", [0, 1, 40])
    def test_a_line_that_is_too_long_is_found_wherever_it_stands(
        self, before: int, behind: int
    ) -> None:
        """Runs longer than a line may be are judged at once, too."""
        longest = event(1, pad="x" * (MAX_BYTES - len(event(1, pad="")) + 1))
        too_long = longest.replace(b"xx", b"xxx", 1)
        others = event(0) * before, event(2) * behind

        assert judged(others[0] + longest + others[1]).events == before + behind + 1
        assert list(reasons(judged(too_long.join(others)))) == [before + 1]

    def test_blanks_beyond_the_limit_are_a_line_that_is_too_long(self) -> None:
        assert judged(b" " * MAX_BYTES).blank == 1
        assert len(judged(b" " * (MAX_BYTES + 1)).refusals) == 1

    def test_lines_do_not_lean_on_each_other(self) -> None:
        """Joined by commas, these three lines once passed for three events."""
        torn = event(1).strip()
        middle = torn.index(b', "uuid"')
        run = b"\n".join(
            [
                torn[:middle],
                torn[middle + 1 :],
                event(2).strip() + b"," + event(3).strip(),
            ]
        )

        assert judged(run).events == 0
        assert list(reasons(judged(run))) == [1, 2, 3]


class TestFastAndSlowAgree:
    """What the fast way must leave to the line-by-line way, one thing at a time."""

    @pytest.mark.parametrize(
        "odd",
        [
            event(timestamp="2026-03-01T12:00:00+0000"),
            event(timestamp="2026-03-01 12:00:00Z"),
            event(timestamp="2026-03-01T14:00:00+02:00"),
            event(timestamp="2026-03-01t12:00:00z"),
            event(timestamp=""),
            event(distinct_id=5),
            event(uuid=""),
            event(offset=0),
            event(api_key="phc_secret"),
            event(**{"$token": "phc_secret"}),
            event(properties=[]),
            event(properties={"$process_person_profile": "false"}),
            event(distinct_id=None, **{"$distinct_id": "u"}),
            event(distinct_id=None, distinctId="u"),
            event(project="shop"),
        ],
    )
    def test_what_needs_mending_is_mended_among_others(self, odd: bytes) -> None:
        alone = judged(odd)
        among = judged(event(1) * 10 + odd + event(2) * 10)

        assert alone.events == 1
        assert among.events == 21
        mended = events_of(alone) + events_of(alone, "shop")
        assert mended != [odd.strip()]
        if b'"uuid": ""' not in odd:
            assert set(mended) <= {*events_of(among), *events_of(among, "shop")}

    @pytest.mark.parametrize(
        ("odd", "reason"),
        [
            (event(distinct_id=" "), "distinct_id: empty"),
            (event(uuid="x" * 36), "uuid: not a UUID"),
            (event(uuid="é" * 36), "uuid: not a UUID"),
            (event(uuid="0" * 36), "uuid: not a UUID"),
            (event(uuid="-" * 36), "uuid: not a UUID"),
            (event(uuid="0-" * 18), "uuid: not a UUID"),
            (event(properties={"$cookieless_mode": 1}), "properties.$cookieless_mode"),
            (event(**{"$set": [1]}), "$set: must be an object"),
            (event(**{"$distinct_id": "u"}), "distinct_id: given beside"),
            (event(x=1).replace(b'"x": 1', b'"x": 1e999'), "the number 1e999"),
            (event(x=1).replace(b'"x": 1', b'"x": "\\ud800"'), "a lone surrogate"),
            (event(x=1).replace(b'"x": 1', b'"x": NaN'), "not JSON: NaN"),
            (event(x=1).replace(b'"x": 1', b'"x": "\xff"'), "not valid UTF-8"),
            (event(x=1).replace(b"1}", b"[" * 125 + b"]" * 125 + b"}"), "nested deep"),
            (event(1).strip() + event(2), "not JSON: Extra data"),
        ],
    )
    def test_what_is_bad_is_refused_among_others(self, odd: bytes, reason: str) -> None:
        result = judged(event(1) * 10 + odd + event(2) * 10)

        assert list(reasons(result)) == [11]
        assert reasons(result)[11].startswith(reason)
        assert events_of(result) == [event(1).strip()] * 10 + [event(2).strip()] * 10

    def test_an_event_without_a_place_is_told_apart_from_one_with(self) -> None:
        plain = event(1)
        placed = event(2, properties={"$ip": "203.0.113.9"})
        result = judged(placed * 20 + plain + placed * 20, disable_geoip=True)

        assert events_of(result)[0] == placed.strip()
        assert json.loads(events_of(result)[20])["properties"] == {
            "n": 1,
            "$geoip_disable": True,
        }

    def test_where_all_are_placed_nothing_is_touched(self) -> None:
        run = event(2, properties={"$geoip_disable": False}) * 20

        assert len(judged(run, disable_geoip=True).chunks) == 1
        assert events_of(judged(run, disable_geoip=True)) == run.split(b"\n")[:-1]


class TestDeadLetter:
    def test_it_keeps_the_line_and_what_can_be_read_of_it(self) -> None:
        line = event(7, uuid="foo", properties=5).strip()
        letter = Refusal(3, "uuid: not a UUID", line, "default").dead_letter("socket")

        assert (letter.door, letter.project, letter.origin) == (
            *("intake", "default", "socket"),
        )
        assert (letter.reason, letter.line) == ("uuid: not a UUID", line)
        assert (letter.event, letter.distinct_id, letter.uuid) == (
            *("order placed", "user-1", "foo"),
        )

    @pytest.mark.parametrize(
        "line", [b"nonsense", b"[1]", b"\xff", b"[" * 2000, b'{"event":5}', b""]
    )
    def test_it_knows_nothing_of_a_line_that_cannot_be_read(self, line: bytes) -> None:
        letter = Refusal(1, "not JSON", line, "default").dead_letter("socket")

        assert (letter.event, letter.distinct_id, letter.uuid) == (None, None, None)

    @pytest.mark.parametrize("text", [b'"\xff"', b"5", b"null"])
    def test_it_leaves_out_a_name_that_cannot_be_read(self, text: bytes) -> None:
        """A distinct_id that was not UTF-8 once brought the whole relay down."""
        line = b'{"event":"e","uuid":"foo","distinct_id":%b}' % text
        letter = Refusal(1, "not valid UTF-8", line, "default").dead_letter("socket")

        assert (letter.event, letter.distinct_id, letter.uuid) == ("e", None, "foo")

    def test_no_key_is_kept_in_it_be_it_on_the_edge_of_the_cut(self) -> None:
        keyed = event(1, uuid="no", token=KEY).strip()
        long = b"x" * (MAX_BYTES - 3) + KEY.encode() + b"x"

        refusals = judged(b"\n".join([keyed, long]), keys=key_ring()).refusals

        assert [KEY[:3].encode() in refusal.text for refusal in refusals] == [False] * 2
        assert refusals[0].text == keyed.replace(KEY.encode(), b"********")
        assert len(refusals[1].text) == MAX_BYTES

    def test_the_line_is_cut_to_the_limit(self) -> None:
        (refusal,) = judged(b"x" * (MAX_BYTES + 5)).refusals

        assert refusal.text == b"x" * MAX_BYTES
