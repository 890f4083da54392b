"""Looking at dead letters: filters, order, pages; nothing where there is nothing."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from leanbase_relay.store.backlog import BacklogReader, Share
from leanbase_relay.store.letters import Count, LetterReader, Selection, pretty
from leanbase_relay.store.totals import Position
from tests.support.letters import DIED_AT_MS, NO_LIMIT, LetterHouse, event

NOW_MS = 1_800_000_000_000


@pytest.fixture
def house(tmp_path: Path) -> Iterator[LetterHouse]:
    with LetterHouse(tmp_path) as house:
        yield house


@pytest.mark.parametrize(
    ("which", "ids"),
    [
        ({}, [4, 3, 2, 1]),
        ({"door": "intake"}, [4, 1]),
        ({"project": "shop"}, [3]),
        ({"event": "seen"}, [3, 2]),
        ({"status": 400}, [3, 2]),
        ({"status": 413}, []),
        ({"died_before_ms": 300}, [2, 1]),
        ({"died_after_ms": 300}, [4, 3]),
        ({"died_after_ms": 200, "died_before_ms": 400}, [3, 2]),
        ({"ids": (4, 2, 99)}, [4, 2]),
        ({"ids": (4, 2), "door": "intake"}, [4]),
        ({"event": "' or 1=1 --"}, []),
    ],
)
def test_filters_add_up_and_the_newest_comes_first(
    house: LetterHouse, which: dict[str, Any], ids: list[int]
) -> None:
    house.refuse(b"no json", died_at_ms=100)
    house.bury(event(1), event="seen", died_at_ms=200)
    house.bury(event(2), event="seen", project="shop", died_at_ms=300)
    house.refuse(b"{}", died_at_ms=400)

    selection = Selection(**which)

    assert [kept.id for kept in house.letters.newest(selection)] == ids
    count = house.letters.count(selection, upto=NO_LIMIT)
    assert count.letters == len(ids)


def test_all_facts_come_back_as_they_were_kept(house: LetterHouse) -> None:
    facts: dict[str, Any] = {
        "reason": "answered 400 (no)",
        "origin": "store chunk=7",
        "event": "seen",
        "distinct_id": "u1",
        "uuid": "01890a5d",
        "requeues": 2,
        "historical": True,
    }
    house.bury(event(1), project="shop", **facts)

    (kept,) = house.kept()

    assert kept.letter == house._letter(
        "upstream", event(1), status=400, project="shop", **facts
    )
    assert (kept.died_at_ms, kept.size) == (DIED_AT_MS, len(event(1)))


def test_facts_alone_are_read_without_the_lines(house: LetterHouse) -> None:
    house.bury(event(1))

    (kept,) = house.letters.newest(Selection())

    assert (kept.letter.line, kept.size) == (b"", len(event(1)))


def test_many_letters_come_page_by_page(house: LetterHouse) -> None:
    house.refuse(*[b"no json"] * 1203)

    newest = house.letters.newest(Selection())
    assert [kept.id for kept in newest] == list(range(1203, 0, -1))
    assert len(list(house.letters.newest(Selection(), limit=700))) == 700


def test_a_page_ends_before_it_is_too_large(house: LetterHouse) -> None:
    house.refuse(b"x" * 60, b"x" * 60, b"x" * 500)
    asked: dict[str, Any] = {"upto": 99, "letters": 10, "max_bytes": 130}

    pages = [house.letters.page(Selection(), after=n, **asked) for n in (0, 2, 3)]

    assert [[kept.id for kept in page] for page in pages] == [[1, 2], [3], []]


def test_ids_that_nobody_has_are_told(house: LetterHouse) -> None:
    house.refuse(b"a", b"b")

    assert house.letters.unknown([9, 2, 9, 1, 7]) == [9, 7]


def test_where_there_is_no_store_there_is_nothing(tmp_path: Path) -> None:
    path = tmp_path / "none.db"

    with closing(LetterReader(path)) as reader:
        assert reader.highest() == 0
        assert list(reader.newest(Selection())) == []
        assert reader.count(Selection(), upto=9) == Count(0, 0)
        assert reader.unknown([3]) == [3]
        page = reader.page(Selection(), after=0, upto=9, letters=9, max_bytes=9)
        assert page == []
    with closing(BacklogReader(path)) as backlog:
        assert (backlog.highest(), backlog.waiting(Share(9))) == (0, [])
    assert not path.exists()


def test_the_last_refusal_of_the_upstream_is_known_for_each_project(
    house: LetterHouse,
) -> None:
    house.bury(event(1), died_at_ms=100)
    house.bury(event(2), died_at_ms=200)
    house.bury(event(3), died_at_ms=50, project="shop")
    house.refuse(b"no json", died_at_ms=900)

    assert house.reader.lately_refused_ms() == {"default": 200, "shop": 50}


def test_what_a_purge_would_take_is_counted_beforehand(house: LetterHouse) -> None:
    first = house.append(event(1), event(2), at_ms=NOW_MS + 100)
    house.append(event(3), at_ms=NOW_MS + 200)
    house.append(event(4), project="shop", at_ms=NOW_MS + 300)
    with house.store.transaction():
        house.store.ack("default", Position(first, 1))
    size = len(event(1))

    with closing(BacklogReader(house.path)) as backlog:
        everything = backlog.waiting(Share(backlog.highest()))
        old = backlog.waiting(Share(99, accepted_before_ms=NOW_MS + 200))
        shop = backlog.waiting(Share(99, project="shop"))

    assert everything == [
        ("default", 2, 3 * size + 1, NOW_MS + 100),
        ("shop", 1, size, NOW_MS + 300),
    ]
    assert old == [("default", 1, 2 * size + 1, NOW_MS + 100)]
    assert shop == everything[1:]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b'{"a":1.10,"b":1e999}', '{\n  "a": 1.10,\n  "b": 1e999\n}'),
        (b"no json", None),
        (b'{"a":"\xff"}', None),
        (b"[" * 9999, None),
    ],
)
def test_json_is_laid_out_and_its_numbers_are_left_alone(
    line: bytes, text: str | None
) -> None:
    assert pretty(line) == text
