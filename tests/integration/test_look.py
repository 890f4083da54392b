"""Looking into a store: every event once, in order, and nothing is disturbed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from leanbase_relay.store.chunk import Chunk
from leanbase_relay.store.deposit import DeadLetter
from leanbase_relay.store.look import Known, Look, NotAQuestion
from leanbase_relay.store.row import row_of
from leanbase_relay.store.store import Store
from leanbase_relay.store.totals import Position
from tests.support.intake import event

PLACED_3 = ("order placed", 1)
LAST = ("2026-03-01T12:00:00.123Z", "user-1")
NOW_MS = 1_772_366_400_123
AT = "2026-03-01T12:00:00.123Z"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "relay.db")
    yield store
    store.close()


@pytest.fixture
def look(store: Store) -> Iterator[Look]:
    """Taken when the test has filled its store."""
    looks: list[Look] = []

    class Later:
        def __getattr__(self, name: str) -> object:
            looks.append(Look(store.path))
            return getattr(looks[-1], name)

    yield Later()  # type: ignore[misc]
    for one in looks:
        one.close()


def add(store: Store, first: int, last: int, project: str = "default") -> None:
    lines = [event(number).strip() for number in range(first, last)]
    chunk = Chunk(project, len(lines), b",".join(lines))
    with store.transaction():
        store.append(row_of(chunk, stamped=None), now_ms=NOW_MS)


def numbers(look: Look, project: str | None = None) -> list[int]:
    return [
        json.loads(one.event_bytes)["properties"]["n"] for one in look.events(project)
    ]


def answer(look: Look, question: str) -> list[tuple[object, ...]]:
    return list(look.ask(question)[1])


def test_each_event_is_seen_once_and_in_order(store: Store, look: Look) -> None:
    add(store, 0, 3)
    add(store, 10, 12, "shop")
    add(store, 3, 5)

    assert numbers(look) == [0, 1, 2, 10, 11, 3, 4]
    assert numbers(look, "shop") == [10, 11]


def test_events_may_be_of_a_time(store: Store, look: Look) -> None:
    for number, at in enumerate((1000, 2000, 3000)):
        row = row_of(Chunk("default", 1, event(number).strip()), stamped=None)
        with store.transaction():
            store.append(row, now_ms=at)

    def between(after: int | None, before: int | None) -> list[int]:
        found = look.events(after_ms=after, before_ms=before)
        return [one.accepted_at_ms for one in found]

    assert between(None, None) == [1000, 2000, 3000]
    assert between(2000, None) == [2000, 3000]
    assert between(None, 2000) == [1000]
    assert between(1500, 2500) == [2000]


def test_what_a_lane_has_finished_is_not_waiting_any_more(
    store: Store, look: Look
) -> None:
    add(store, 0, 5)
    with store.transaction():
        store.ack("default", Position(1, 3))

    assert numbers(look) == [3, 4]
    assert answer(look, "select count(*) from events") == [(2,)]


def test_names_are_of_what_waits_and_a_second_look_reads_only_what_came(
    store: Store, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, 0, 5)
    add(store, 5, 7, "shop")
    with store.transaction():
        store.ack("default", Position(1, 3))
    first: Known = {}
    assert [one.counts for one in look.names({}, first)] == [
        {"order placed": 2},
        {"order placed": 2},
    ]

    add(store, 7, 8)
    read: list[int] = []
    unpacked = Look._bytes_of

    def counting(self: Look, chunk: int) -> bytes:
        read.append(chunk)
        return unpacked(self, chunk)

    monkeypatch.setattr(Look, "_bytes_of", counting)
    second: Known = {}
    called = list(look.names(first, second))

    assert [(one.project, *one.counts.values()) for one in called] == [
        ("default", 2),
        ("shop", 2),
        ("default", 1),
    ]
    assert read == [3]
    assert first.keys() < second.keys()


def test_more_rows_than_a_page_has(store: Store, look: Look) -> None:
    for number in range(1203):
        add(store, number, number + 1)

    assert numbers(look) == list(range(1203))


def test_a_damaged_chunk_hides_no_other(store: Store, look: Look) -> None:
    for number in range(3):
        add(store, number, number + 1)
    with store.transaction():
        store._conn.execute("update chunk set checksum = 0 where id = 2")

    assert numbers(look) == [0, 2]
    assert answer(look, "select count(*) from events") == [(2,)]


def test_where_there_is_no_store_there_is_nothing(tmp_path: Path) -> None:
    look = Look(tmp_path / "none.db")

    assert numbers(look) == []
    assert answer(look, "select * from events") == []
    assert answer(look, "select count(*) from dead_letters") == [(0,)]
    look.close()


def test_events_are_a_table(store: Store, look: Look) -> None:
    add(store, 7, 8, "shop")

    columns, rows = look.ask("select * from events")

    assert list(columns) == [
        *("seq", "project", "event", "distinct_id", "timestamp", "uuid"),
        *("accepted_at", "properties"),
    ]
    assert list(rows) == [
        (
            1_000_000,
            "shop",
            "order placed",
            "user-1",
            "2026-03-01T12:00:00.123Z",
            "01890a5d-ac96-774b-bcce-000000000007",
            AT,
            '{"n": 7}',
        )
    ]


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("select event, count(*) from events group by 1", [("order placed", 5)]),
        ("select sum(properties ->> '$.n') from events", [(10,)]),
        ("select count(*) from events where project = 'shop'", [(0,)]),
        ("with e as (select seq from events) select min(seq) from e", [(1_000_000,)]),
        ("select event, uuid like '%3' from events where seq = 1000003", [PLACED_3]),
        ("select max(timestamp), max(distinct_id) from events", [LAST]),
        ("select EVENT from Events limit 1", [("order placed",)]),
        ("select length(properties) from events where seq = 1000000", [(8,)]),
    ],
)
def test_questions_in_sql_are_answered(
    store: Store, look: Look, question: str, found: list[tuple[object, ...]]
) -> None:
    add(store, 0, 5)

    assert answer(look, question) == found


def test_dead_letters_are_a_table_too(store: Store, look: Look) -> None:
    letter = DeadLetter("intake", "shop", "no JSON", "socket", b"{", event="e")
    with store.transaction():
        store.refuse(letter, now_ms=NOW_MS)

    assert answer(
        look, "select id, door, project, event, reason, died_at, line from dead_letters"
    ) == [(1, "intake", "shop", "e", "no JSON", AT, b"{")]


@pytest.mark.parametrize(
    "statement",
    [
        "delete from dead_letters",
        "insert into chunk values (1, 'p', 0, '')",
        "update dead_letters set door = 'x'",
        "drop view events",
        "create table mine (x)",
        "attach database '/etc/passwd' as other",
        "pragma query_only = off",
        "vacuum",
        "begin",
        "select load_extension('x')",
        "select 1; delete from dead_letters",
        "what is there?",
        "",
    ],
)
def test_whatever_is_no_question_is_refused(look: Look, statement: str) -> None:
    with pytest.raises(NotAQuestion):
        look.ask(statement)


def test_an_answer_that_takes_its_time_keeps_no_log_from_being_folded_in(
    store: Store, look: Look
) -> None:
    for number in range(50):
        add(store, number, number + 1)
    _, rows = look.ask("select * from events")
    next(rows)
    events = look.events()
    next(events)

    add(store, 50, 51)
    store.truncate_log()

    assert store.log_bytes() == 0
    assert len(list(rows)) == 49


def test_what_leaves_meanwhile_is_not_seen(store: Store, look: Look) -> None:
    for number in range(9):
        add(store, number, number + 1)
    _, rows = look.ask("select properties ->> '$.n' from events")
    assert next(rows) == (0,)

    with store.transaction():
        store.ack("default", Position(99, 0))

    assert len(list(rows)) <= 1, "what was fetched already"
