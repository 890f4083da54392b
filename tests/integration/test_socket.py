"""The socket protocol: what a producer writes, what it reads, what is stored."""

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.intake import (
    FULL,
    RunningIntake,
    counts,
    errors,
    event,
)

BAD = b'{"event":"e"}\n'
MISSING = "distinct_id: missing"
MAX_BYTES = 1000
TOO_LONG = "line is longer than events.max_bytes (1000 bytes)"


@pytest.fixture
def relay(short_dir: Path) -> Iterator[RunningIntake]:
    with RunningIntake(short_dir, max_event_bytes=MAX_BYTES) as relay:
        yield relay


class TestReplies:
    def test_what_is_stored_is_told_and_is_in_the_store(
        self, relay: RunningIntake
    ) -> None:
        replies = relay.send(event(1) + event(2))

        assert replies[-1] == {"stored": 2, "refused": 0}
        assert relay.backlog() == [event(1).strip(), event(2).strip()]
        assert relay.totals().accepted == 2

    def test_counts_are_since_the_connection_opened(self, relay: RunningIntake) -> None:
        relay.send(event(0))
        with relay.connect() as client:
            client.send(event(1))
            first = client.replies_until(1)
            client.send(event(2) + BAD)
            second = client.replies_until(3)

            assert first == [{"stored": 1, "refused": 0}]
            assert counts(second) == (2, 1)
            assert client.send_all(event(3))[-1] == {"stored": 3, "refused": 1}

    def test_a_refused_line_is_told_before_the_counts_that_hold_it(
        self, relay: RunningIntake
    ) -> None:
        replies = relay.send(event(1) + BAD + event(2))

        assert replies == [
            {"line": 2, "error": "distinct_id: missing"},
            {"stored": 2, "refused": 1},
        ]

    def test_blank_lines_count_as_lines_and_settle_nothing(
        self, relay: RunningIntake
    ) -> None:
        replies = relay.send(b"\n\r\n" + event(1) + b" \n" + BAD + b"\n")

        assert errors(replies) == {5: "distinct_id: missing"}
        assert counts(replies) == (1, 1)

    def test_line_numbers_go_on_over_many_writes(self, relay: RunningIntake) -> None:
        with relay.connect() as client:
            for number in range(1, 6):
                client.send(event(number) + BAD)
                told = errors(client.replies_until(2 * number))
                assert told == {2 * number: "distinct_id: missing"}

    def test_producers_of_one_turn_of_the_loop_hear_each_its_own(
        self, relay: RunningIntake
    ) -> None:
        """What both wrote is judged as one run; neither notices the other."""
        with relay.connect() as one, relay.connect() as other:
            one.send(event(0))
            one.replies_until(1)
            other.send(BAD)
            other.replies_until(1)
            with relay.frozen():
                one.send(event(1) + BAD + event(2))
                other.send(b"\n" + event(3) + BAD)
            to_one, to_other = one.replies_until(4), other.replies_until(3)

        assert (counts(to_one), errors(to_one)) == ((3, 1), {3: MISSING})
        assert (counts(to_other), errors(to_other)) == ((1, 2), {4: MISSING})
        assert relay.backlog() == [event(number).strip() for number in range(4)]
        assert sorted(letter.origin.split()[-1] for letter in relay.letters()) == [
            "line=1",
            "line=3",
            "line=4",
        ]

    def test_carriage_returns_before_newlines_are_not_part_of_the_line(
        self, relay: RunningIntake
    ) -> None:
        replies = relay.send((event(1) + event(2)).replace(b"\n", b"\r\n"))

        assert counts(replies) == (2, 0)
        assert relay.backlog() == [event(1).strip(), event(2).strip()]

    def test_events_go_to_their_project(self, relay: RunningIntake) -> None:
        replies = relay.send(event(1, project="shop") + event(2, project="moon"))

        assert errors(replies) == {2: "project: 'moon' is not configured"}
        assert [json.loads(one) for one in relay.backlog("shop")] == [
            json.loads(event(1))
        ]
        assert relay.totals("default").refused == 1

    def test_a_refused_line_is_kept_with_its_origin(self, relay: RunningIntake) -> None:
        relay.send(event(1) + b"\n" + BAD)

        (letter,) = relay.letters()
        assert letter.line == BAD.strip()
        assert letter.reason == "distinct_id: missing"
        assert letter.origin == f"socket uid={os.getuid()} pid={os.getpid()} line=3"


class TestTheEnd:
    def test_a_last_line_without_newline_counts(self, relay: RunningIntake) -> None:
        assert counts(relay.send(event(1) + event(2).strip())) == (2, 0)
        assert counts(relay.send(event(3).strip())) == (1, 0)

    def test_a_torn_last_line_is_refused(self, relay: RunningIntake) -> None:
        replies = relay.send(event(1) + event(2)[:50])

        assert list(errors(replies)) == [2]
        assert counts(replies) == (1, 1)

    def test_nothing_sent_is_nothing_answered(self, relay: RunningIntake) -> None:
        assert relay.send(b"") == []
        assert relay.send(b"\n\n") == [{"stored": 0, "refused": 0}]

    def test_a_client_that_vanishes_in_the_middle_harms_nobody(
        self, relay: RunningIntake
    ) -> None:
        with relay.connect() as other:
            with relay.connect() as client:
                client.send(event(1) + event(2)[:50])
            other.send(event(3))

            assert other.replies_until(1) == [{"stored": 1, "refused": 0}]
        assert event(3).strip() in relay.backlog()
        assert counts(relay.send(event(4))) == (1, 0)

    def test_a_client_that_vanishes_before_the_commit_is_stored_all_the_same(
        self, relay: RunningIntake
    ) -> None:
        relay.hold()
        with relay.connect() as client:
            client.send(event(1))
            relay.await_held()
        relay.settle_loop()
        relay.let_go()

        assert counts(relay.send(event(2))) == (1, 0)
        assert relay.backlog() == [event(1).strip(), event(2).strip()]


class TestLongLines:
    def test_one_is_refused_and_skipped_and_the_connection_lives_on(
        self, relay: RunningIntake
    ) -> None:
        with relay.connect() as client:
            client.send(event(1) + b"x" * 5 * MAX_BYTES)
            assert errors(client.replies_until(2)) == {2: TOO_LONG}
            client.send(b"x" * 5 * MAX_BYTES)
            client.send(b"x\n" + event(3))

            assert client.replies_until(3) == [{"stored": 2, "refused": 1}]
        assert relay.letters()[0].line == b"x" * MAX_BYTES

    def test_a_line_of_exactly_the_limit_passes_with_either_ending(
        self, relay: RunningIntake
    ) -> None:
        line = event(1, pad="").replace(
            b'"pad": ""',
            b'"pad": "%b"' % (b"x" * (MAX_BYTES + 1 - len(event(1, pad="")))),
        )
        assert len(line.strip()) == MAX_BYTES
        with relay.connect() as client:
            client.send(line)
            client.send(line.strip() + b"\r")
            assert client.replies_until(1) == [{"stored": 1, "refused": 0}]
            client.send(b"\n")
            assert client.replies_until(2) == [{"stored": 2, "refused": 0}]
            replies = client.send_all(line.replace(b"x", b"xx", 1))

        assert replies == [
            {"line": 3, "error": TOO_LONG},
            {"stored": 2, "refused": 1},
        ]

    def test_one_that_never_ends_is_one_line(self, relay: RunningIntake) -> None:
        replies = relay.send(b"x" * 3000)

        assert replies == [
            {"line": 1, "error": TOO_LONG},
            {"stored": 0, "refused": 1},
        ]


class TestBadInput:
    @pytest.mark.parametrize(
        ("bad", "error"),
        [
            (b"nonsense", "not JSON"),
            (b"[]", "not a JSON object but a list"),
            (b'{"distinct_id":"u"}', "event: missing"),
            (b'{"event":5,"distinct_id":"u"}', "event: must be a string"),
            (b'{"event":"e","distinct_id":"\xff"}', "not valid UTF-8"),
            (b'{"event":"e","distinct_id":"\\ud800"}', "a lone surrogate"),
            (b'{"event":"e","distinct_id":"u","a":NaN}', "not JSON: NaN"),
            (b'{"event":"e","distinct_id":"u","a":1e999}', "the number 1e999"),
            (b'{"event":"e","distinct_id":"u","a":%b}' % (b"9" * 400), "the number 99"),
            (b'{"a":' + b"[" * 128 + b"]" * 128 + b"}", "nested deeper than 125"),
            (b'{"a":' + b"[" * 450 + b"]" * 450 + b"}", "nested deeper than 125"),
            (b'{"event":"e\0","distinct_id":"u"}', "not JSON: Invalid control"),
            (b"\0", "not JSON"),
        ],
    )
    def test_each_is_named_kept_and_harms_no_neighbour(
        self, relay: RunningIntake, bad: bytes, error: str
    ) -> None:
        replies = relay.send(event(1) + bad + b"\n" + event(2))

        assert list(errors(replies)) == [2]
        assert errors(replies)[2].startswith(error)
        assert counts(replies) == (2, 1)
        assert relay.backlog() == [event(1).strip(), event(2).strip()]
        assert [letter.line for letter in relay.letters()] == [bad]


class TestNoRoom:
    def test_a_full_store_refuses_events_line_by_line_and_keeps_no_letter_of_them(
        self, short_dir: Path
    ) -> None:
        with RunningIntake(short_dir, limits=FULL) as relay:
            replies = relay.send(event(1) + b"\n" + BAD + event(2))

            assert errors(replies) == {
                1: "store full",
                3: "distinct_id: missing",
                4: "store full",
            }
            assert counts(replies) == (0, 3)
            assert [letter.line for letter in relay.letters()] == [BAD.strip()]
            assert relay.totals().refused == 1

    def test_a_failed_commit_refuses_its_lines_and_the_next_one_may_do(
        self, relay: RunningIntake
    ) -> None:
        relay.store.error = sqlite3.OperationalError("disk I/O error")
        with relay.connect() as client:
            client.send(event(1) + b"\n" + BAD)
            replies = client.replies_until(2)
            relay.store.error = None
            client.send(event(2))

            assert errors(replies) == {
                1: "store unavailable: disk I/O error",
                3: "distinct_id: missing",
            }
            assert counts(replies) == (0, 2)
            assert client.replies_until(3) == [{"stored": 1, "refused": 2}]
        assert relay.letters() == []
        assert relay.backlog() == [event(2).strip()]

    def test_lines_settled_twice_over_are_counted_once(self, short_dir: Path) -> None:
        """First there was no room for the event, then no disk for the dead letter."""
        with RunningIntake(short_dir, limits=FULL) as relay:
            relay.store.error = sqlite3.OperationalError("disk I/O error")
            replies = relay.send(event(1) + BAD + event(2))

            assert errors(replies) == {
                1: "store full",
                2: "distinct_id: missing",
                3: "store full",
            }
            assert len([one for one in replies if "line" in one]) == 3
            assert counts(replies) == (0, 3)


class TestWhoMaySend:
    def test_whoever_is_named(self, short_dir: Path) -> None:
        with RunningIntake(short_dir, allow_uids=(os.getuid(),)) as relay:
            assert counts(relay.send(event(1))) == (1, 0)

    def test_another_is_told_and_hung_up_on(self, short_dir: Path) -> None:
        with (
            RunningIntake(short_dir, allow_uids=(os.getuid() + 1,)) as relay,
            relay.connect() as client,
        ):
            assert client.rest() == [
                {"error": f"uid {os.getuid()} is not in socket.allow_uids"}
            ]
            relay.settle_loop()
            assert relay.totals().accepted == 0
