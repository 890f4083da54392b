"""The operator's wishes on a real store: what comes back, what stays, what goes."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from leanbase_relay.errors import RelayError, StoreUnavailable
from leanbase_relay.forward.batch import build
from leanbase_relay.forward.letter import of_event
from leanbase_relay.forward.verdict import Judgement, Verdict
from leanbase_relay.store.chunk import pack
from leanbase_relay.store.totals import Position
from leanbase_relay.wishes import SLICE_BYTES, SLICE_CHUNKS, SLICE_LETTERS
from tests.support.letters import ACCEPTED_AT_MS, LetterHouse, event

NOW_MS = 1_800_000_000_000


@pytest.fixture
def house(tmp_path: Path) -> Iterator[LetterHouse]:
    with LetterHouse(tmp_path) as house:
        yield house


def counted(house: LetterHouse) -> tuple[int, int, int, int]:
    """Accepted, dead, backlog, refused."""
    totals = house.totals()
    return totals.accepted, totals.dead, totals.backlog_events, totals.refused


# Requeue: the door upstream.


def test_an_event_that_comes_back_is_no_new_acceptance(house: LetterHouse) -> None:
    house.bury(event(1), event(2))
    assert counted(house) == (2, 2, 0, 0)

    assert house.requeue()["requeued"] == 2

    assert counted(house) == (2, 0, 2, 0)
    assert house.backlog() == [event(1), event(2)]
    assert house.kept() == []
    assert house.totals().dead_letter_bytes == 0


def test_it_comes_back_at_the_end_and_keeps_its_time(house: LetterHouse) -> None:
    house.bury(event(1), historical=True)
    house.append(event(2), at_ms=ACCEPTED_AT_MS + 5)

    house.requeue()

    assert house.backlog() == [event(2), event(1)]
    (_, chunk) = house.chunks()
    assert chunk.accepted_at_ms == ACCEPTED_AT_MS
    assert (chunk.historical, chunk.requeues) == (True, 1)
    assert chunk.stamped is None, "its identity was fixed long ago"


def test_the_letter_of_a_second_death_knows_of_the_first(house: LetterHouse) -> None:
    house.bury(event(1))
    house.requeue()

    batch = build(house.chunks(), Position(0, 0), max_events=9, max_bytes=999)
    letter = of_event("default", batch, Judgement(Verdict.REFUSED, "no", 400))

    assert (letter.requeues, letter.accepted_at_ms) == (1, ACCEPTED_AT_MS)
    assert letter.line == event(1)


def test_events_of_the_same_time_share_a_row(house: LetterHouse) -> None:
    house.bury(*(event(n) for n in range(400)))

    house.requeue()

    assert [chunk.events for chunk in house.chunks()] == [400]


def test_a_damaged_chunk_cannot_come_back(house: LetterHouse) -> None:
    packed = pack(event(1)).data
    house.bury(packed)
    house.bury(packed, events=3)
    house.bury(b'{"a":1},{"b":2}')
    house.bury(event(1), events=3)

    done = house.requeue()

    assert done["requeued"] == 0
    assert list(done["staying"]) == [1, 2, 3, 4]
    assert all("damaged" in reason for reason in done["staying"].values())


def test_a_project_that_nobody_delivers_gets_nothing_back(house: LetterHouse) -> None:
    house.bury(event(1), project="gone")
    house.refuse(event(2), project="gone")

    done = house.requeue()

    assert done["requeued"] == 0
    assert "project gone is not configured" in done["staying"][1]
    assert house.totals("gone").dead == 1


# Requeue: the door intake.


def test_a_line_that_is_right_by_now_is_a_new_acceptance(house: LetterHouse) -> None:
    line = b'{"event":"seen","distinct_id":"u1","project":"shop"}'
    house.refuse(line, reason="project: 'shop' is not configured", historical=True)
    assert counted(house) == (0, 0, 0, 1)

    assert house.requeue()["requeued"] == 1

    shop = house.totals("shop")
    assert (shop.accepted, shop.backlog_events, shop.refused) == (1, 1, 0)
    assert counted(house) == (0, 0, 0, 1), "it counts refusals"
    (chunk,) = house.chunks("shop")
    assert chunk.accepted_at_ms == round(house.clock.wall() * 1000)
    assert (chunk.historical, chunk.requeues) == (True, 1)
    assert chunk.stamped is not None, "its timestamp is the relay's"
    (accepted,) = house.backlog("shop")
    assert accepted.startswith(b'{"event":"seen","distinct_id":"u1"')


def test_a_line_that_is_still_wrong_stays_with_the_reason(house: LetterHouse) -> None:
    house.refuse(b'{"event":"","distinct_id":"u1"}', b"no json")

    done = house.requeue()

    assert done["requeued"] == 0
    assert done["staying"][1] == "event: empty"
    assert done["staying"][2].startswith("not JSON")
    assert counted(house) == (0, 0, 0, 2)
    assert [kept.letter.requeues for kept in house.kept()] == [0, 0]


def test_of_a_line_that_was_too_long_the_end_is_missing(house: LetterHouse) -> None:
    reason = "line is longer than events.max_bytes (10 bytes)"
    house.refuse(event(1)[:10], reason=reason)

    assert house.requeue()["staying"][1] == f"{reason}; only its beginning was kept"


@pytest.mark.parametrize("line", [b"", b"  "])
def test_a_blank_line_is_no_event(house: LetterHouse, line: bytes) -> None:
    house.refuse(line)

    assert house.requeue()["staying"] == {1: "it is blank"}


def test_newlines_between_members_make_no_further_lines(house: LetterHouse) -> None:
    house.refuse(event(1).replace(b",", b",\n"))

    assert house.requeue()["requeued"] == 1
    assert house.totals().accepted == 1


# Not for ever.


def test_what_came_back_often_is_left_out_unless_it_is_asked_for(
    house: LetterHouse,
) -> None:
    house.bury(event(1), requeues=2)
    house.bury(event(2), requeues=3)
    house.refuse(event(3), requeues=4)

    done = house.requeue()

    assert (done["requeued"], done["left_out"]) == (1, 2)
    assert house.requeue(again=True)["requeued"] == 2


def test_what_dies_meanwhile_is_not_brought_back(house: LetterHouse) -> None:
    """A letter that dies again at once would go round as long as the command runs."""
    house.bury(*(event(n) for n in range(SLICE_LETTERS + 1)))
    deaths = iter(range(10_000))
    house.before_change = lambda store: store.refuse(
        house._letter("intake", event(next(deaths))), now_ms=1
    )

    done = house.requeue()

    assert done["requeued"] == SLICE_LETTERS + 1
    assert len(house.kept()) == next(deaths)


# In slices.


def test_a_slice_is_bounded_in_letters(house: LetterHouse) -> None:
    house.bury(*(event(n) for n in range(2 * SLICE_LETTERS + 1)))

    answers = house.wish("requeue_letters")

    slices = [answer["requeued"] for answer in answers]
    assert slices == [SLICE_LETTERS, SLICE_LETTERS, 1, 0]


def test_a_slice_is_bounded_in_bytes(house: LetterHouse) -> None:
    half = b'{"x":"%b"}' % (b"x" * (SLICE_BYTES // 2))
    house.bury(half, half, half * 3, half)

    answers = house.wish("requeue_letters")

    assert [len(answer["staying"]) for answer in answers] == [0, 0, 1, 0, 0]
    assert [answer["requeued"] for answer in answers] == [1, 1, 0, 1, 0]


def test_what_is_given_up_between_look_and_change_stays_gone(
    house: LetterHouse,
) -> None:
    house.bury(event(1), event(2))
    size = house.totals().dead_letter_bytes
    house.before_change = lambda store: store.trim_dead_letters(size // 2)

    assert house.requeue()["requeued"] == 1

    assert house.backlog() == [event(2)]
    assert counted(house) == (2, 1, 1, 0)


# Letters that are purged.


def test_purging_letters_changes_no_event(house: LetterHouse) -> None:
    house.bury(event(1), event(2))
    house.refuse(b"no json")

    answers = house.wish("purge_letters", which={"door": "upstream"})

    assert answers[0] == {"purged": 2, "bytes": 2 * len(event(1)), "after": 2}
    assert counted(house) == (2, 2, 0, 1)
    assert [kept.letter.line for kept in house.kept()] == [b"no json"]
    totals = house.totals()
    assert (totals.dead_letters, totals.dead_letters_given_up) == (1, 0)


def test_a_letter_is_purged_once(house: LetterHouse) -> None:
    house.bury(event(1), event(2))
    first = house.kept()[0]
    house.before_change = lambda store: store.purge_letters([first])

    assert house.wish("purge_letters")[0]["purged"] == 1
    assert house.totals().dead_letters == 0


# A backlog that is given up.


def test_a_purge_counts_what_still_waited(house: LetterHouse) -> None:
    """The events of the first chunk that were delivered are not dropped."""
    first = house.append(event(1), event(2), event(3))
    house.append(event(4))
    with house.store.transaction():
        house.store.ack("default", Position(first, 2))

    answers = house.wish("purge_backlog", upto=99)

    assert sum(answer["dropped"] for answer in answers) == 2
    totals = house.totals()
    assert (totals.delivered, totals.dropped, totals.backlog_events) == (2, 2, 0)
    assert totals.backlog_bytes == 0


def test_what_is_delivered_while_it_is_purged_counts_once(house: LetterHouse) -> None:
    chunk = house.append(event(1), event(2))

    house.wish("purge_backlog", upto=chunk)
    with house.store.transaction():
        house.store.ack("default", Position(chunk + 1, 0))

    totals = house.totals()
    assert (totals.accepted, totals.dropped, totals.delivered) == (2, 2, 0)


def test_only_what_was_asked_for_goes(house: LetterHouse) -> None:
    house.append(event(1), at_ms=NOW_MS - 100)
    house.append(event(2), at_ms=NOW_MS)
    last = house.append(event(3), at_ms=NOW_MS - 150)
    house.append(event(4), project="shop", at_ms=NOW_MS - 100)
    house.append(event(5), at_ms=NOW_MS - 150)

    house.wish("purge_backlog", upto=last, project="default", accepted_before_ms=NOW_MS)

    assert house.backlog() == [event(2), event(5)]
    assert house.backlog("shop") == [event(4)]


def test_what_came_while_the_clock_was_not_set_is_not_given_up_for_its_age(
    house: LetterHouse,
) -> None:
    """Its stamp says 1970, and it may be an hour old."""
    last = house.append(event(1), at_ms=3_600_000)

    house.wish("purge_backlog", upto=last, accepted_before_ms=NOW_MS)

    assert house.backlog() == [event(1)]
    house.wish("purge_backlog", upto=last)
    assert house.backlog() == []


def test_a_purge_goes_in_slices(house: LetterHouse) -> None:
    for number in range(SLICE_CHUNKS + 1):
        house.append(event(number))

    answers = house.wish("purge_backlog", upto=9999)

    assert [answer["dropped"] for answer in answers] == [SLICE_CHUNKS, 1, 0]


# What is no such wish.


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("requeue_letters", {"upto": "all"}),
        ("requeue_letters", {"upto": 1, "which": {"ids": [2**63]}}),
        ("requeue_letters", {"upto": 1, "which": {"door": 7}}),
        ("purge_letters", {"upto": None}),
        ("purge_backlog", {"upto": 2**70}),
        ("purge_backlog", {"upto": 1, "project": ["shop"]}),
    ],
)
def test_a_request_that_makes_no_sense_is_answered_so(
    house: LetterHouse, name: str, members: dict[str, object]
) -> None:
    with pytest.raises(RelayError, match="not such a request"):
        house.wish(name, **members)


def test_a_store_that_cannot_be_read_is_said_to_be_so(house: LetterHouse) -> None:
    with house.store.transaction():
        house.store._conn.execute("alter table dead_letter rename to lost")

    with pytest.raises(StoreUnavailable, match="no such table"):
        house.wishes.requeue_letters({"upto": 1})


def test_the_selection_is_the_readers(house: LetterHouse) -> None:
    house.bury(event(1), event=None)
    house.bury(event(2), event="order placed")

    done = house.requeue(which={"event": "order placed", "ids": [1, 2]})

    assert done["requeued"] == 1
    (kept,) = house.kept()
    assert replace(kept.letter, line=b"").event is None
