"""Measures: numbers that agree with each other whenever they are read."""

import math

from leanbase_relay.errors import StoreFull, StoreUnavailable
from leanbase_relay.forward.attempts import Attempts
from leanbase_relay.forward.verdict import Answer, Silence
from leanbase_relay.measures import Histogram, Tally
from leanbase_relay.store.chunk import Chunk
from leanbase_relay.store.commits import Commits
from leanbase_relay.store.deposit import DeadLetter, Deposit


def test_a_bucket_holds_what_is_not_above_its_bound() -> None:
    histogram = Histogram((1, 10))
    for figure in (0.5, 1, 1.5, 10, 11):
        histogram.note(figure)

    assert histogram.read() == (((1, 2), (10, 4), (math.inf, 5)), 24)


def test_what_was_read_changes_no_more() -> None:
    tally = Tally("socket")
    before = tally.read()
    tally.note("socket", 2)

    assert before == {"socket": 0}
    assert tally.read() == {"socket": 2}


def letter(origin: str) -> DeadLetter:
    return DeadLetter("intake", "default", "event: empty", origin, b"{}")


def test_refused_lines_are_counted_by_the_door_they_came_to() -> None:
    commits = Commits()

    commits.committed(
        map(letter, ["socket uid=0 pid=1 line=2", "spool a.jsonl line=1", "moon"])
    )

    assert commits.refused.read() == {"socket": 1, "spool": 1, "http": 0, "other": 1}


def test_what_found_no_room_is_counted_in_events() -> None:
    commits, deposit = Commits(), Deposit((Chunk("default", 7, b"{}"),))

    commits.refuse(deposit, StoreFull("store full"))
    commits.refuse(deposit, StoreUnavailable("store unavailable"))

    assert commits.turned_away.read() == {"full": 7, "unavailable": 7}


def test_attempts_are_counted_by_status_and_silence_by_its_reason() -> None:
    attempts = Attempts()
    for answer in (
        Answer(status=200),
        Answer(status=503),
        Answer(silence=Silence.TIMEOUT),
        Answer(status=999),
    ):
        attempts.note(answer, events=3, size=20, seconds=0.2)

    assert attempts.by_status.read() == {"200": 1, "503": 1, "timeout": 1, "other": 1}
    assert attempts.seconds.read().buckets[-1] == (math.inf, 4)
    assert attempts.events.read().total == 12
