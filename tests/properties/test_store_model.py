"""The store against a model: a list of events, each of which knows what became of it.

After every step the two agree, on the connection that writes and on one that only
reads, whatever was committed, taken back, killed half-way or opened anew.
"""

import copy
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from leanbase_relay.store.backlog import BacklogReader, Share
from leanbase_relay.store.chunk import Chunk, join, split, unpack
from leanbase_relay.store.deposit import DeadLetter, FileId, FileProgress
from leanbase_relay.store.letters import (
    OVERHEAD_BYTES,
    KeptLetter,
    LetterReader,
    Selection,
)
from leanbase_relay.store.reader import Reader
from leanbase_relay.store.row import row_of
from leanbase_relay.store.store import Store
from leanbase_relay.store.totals import Position, Totals

PROJECTS = ("default", "shop")
NO_LIMIT = 1 << 40
LINE = b"{}"
NOW_MS = 1_800_000_000_000

Change = tuple[str, str, int, int]
"""Its name, the project, and two numbers that say which and how much."""

CHANGES = st.tuples(
    st.sampled_from(
        [
            *("append", "ack", "bury", "bury_one", "drop_oldest", "refuse", "trim"),
            *("requeue", "purge_letters", "purge", "progress", "forget"),
        ]
    ),
    st.sampled_from(PROJECTS),
    st.integers(0, 3),
    st.integers(0, 5),
)


@dataclass
class Event:
    """One accepted event, and the door by which it left."""

    project: str
    position: Position
    text: bytes
    door: str = "backlog"
    requeues: int = 0


@dataclass
class Letter:
    """One dead letter: of an event, of several, or of a line that was refused."""

    id: int
    project: str
    event: Event | None = None
    events: int = 1

    @property
    def size(self) -> int:
        return len(LINE) + OVERHEAD_BYTES

    def kept(self) -> KeptLetter:
        """As who looked at it before has it."""
        letter = DeadLetter(
            "upstream" if self.event or self.events > 1 else "intake",
            self.project,
            "no",
            "here",
            LINE,
            events=self.events,
        )
        return KeptLetter(self.id, NOW_MS, len(LINE), letter)


@dataclass
class Model:
    """What the store should hold; positions compare as the store's do."""

    events: list[Event] = field(default_factory=list)
    chunks: dict[int, tuple[str, int]] = field(default_factory=dict)  # project, events
    accepted_at_ms: dict[int, int] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)
    gone: list[KeptLetter] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    given_up: Counter[str] = field(default_factory=Counter)
    progress: dict[FileId, FileProgress] = field(default_factory=dict)
    highest_chunk: int = 0

    def count(self, project: str, door: str) -> int:
        return sum(e.project == project and e.door == door for e in self.events)

    def backlog(self, project: str) -> list[Event]:
        return [e for e in self.events if e.project == project and e.door == "backlog"]

    def leave(self, project: str, upto: Position, door: str) -> int:
        leaving = [e for e in self.backlog(project) if e.position < upto]
        for event in leaving:
            event.door = door
        return len(leaving)

    def letters_of(self, project: str) -> list[int]:
        return [letter.size for letter in self.letters if letter.project == project]


class StoreModel(RuleBasedStateMachine):
    """Applies each change to both, and looks at both afterwards."""

    new_store: Path

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="relay-model-"))
        self.path = self.home / "relay.db"
        shutil.copyfile(self.new_store, self.path)
        self.model = Model()
        self.made = 0
        self.kills = 0
        self.open()

    def teardown(self) -> None:
        self.close()
        shutil.rmtree(self.home)

    def open(self) -> None:
        self.store = Store.open(self.path)
        self.reader = Reader(self.path)

    def close(self) -> None:
        self.reader.close()
        self.store.close()

    # What happens.

    @initialize(change=CHANGES)
    def begin_with_events_and_dead_letters(self, change: Change) -> None:
        append = ("append", *change[1:])
        self.commit(
            [append, ("bury_one", *change[1:]), ("refuse", *change[1:]), append]
        )

    @rule(changes=st.lists(CHANGES, min_size=1, max_size=6))
    def commit(self, changes: list[Change]) -> None:
        with self.store.transaction():
            self.apply(changes)

    @rule(
        project=st.sampled_from(PROJECTS),
        which=st.integers(0, 3),
        dropped_bytes=st.integers(0, 40),
        purged=st.booleans(),
        door=st.sampled_from(["ack", "bury"]),
    )
    def deliver(
        self, project: str, which: int, dropped_bytes: int, door: str, *, purged: bool
    ) -> None:
        """What a lane does; chunks may be given up while its request is in flight."""
        backlog = self.model.backlog(project)
        if not backlog:
            return
        chunk, done = backlog[which % len(backlog)].position
        upto = self.normal(Position(chunk, done + 1))
        if dropped_bytes:
            with self.store.transaction():
                self.drop_oldest(dropped_bytes)
        if purged:
            with self.store.transaction():
                self.purge(Share(chunk, project=project), most=NO_LIMIT)
        with self.store.transaction():
            self.leave(door, project, upto)

    @rule(
        change=st.sampled_from(["requeue", "purge_letters"]),
        which=st.integers(0, 3),
        much=st.integers(1, 3),
    )
    def wish(self, change: str, which: int, much: int) -> None:
        self.commit([(change, PROJECTS[0], which, much)])

    @rule(changes=st.lists(CHANGES, min_size=1, max_size=6))
    def take_back(self, changes: list[Change]) -> None:
        before = copy.deepcopy(self.model)
        with suppress(ZeroDivisionError), self.store.transaction():
            self.apply(changes)
            raise ZeroDivisionError
        self.model = before

    @rule(
        changes=st.lists(CHANGES, min_size=1, max_size=6),
        committed=st.booleans(),
        folded=st.booleans(),
    )
    def kill(self, changes: list[Change], *, committed: bool, folded: bool) -> None:
        """The files as they are at that instant are all that the next start has."""
        if folded:
            self.store.truncate_log()
        before, left = copy.deepcopy(self.model), self.path
        with suppress(ZeroDivisionError), self.store.transaction():
            self.apply(changes)
            if not committed:
                left = self.what_a_kill_leaves()
                self.model = before
                raise ZeroDivisionError
        if committed:
            left = self.what_a_kill_leaves()
        self.close()
        self.path = left
        self.open()

    def what_a_kill_leaves(self) -> Path:
        self.kills += 1
        after = self.home / f"after-{self.kills}"
        after.mkdir()
        for file in ("relay.db", "relay.db-wal"):
            if (self.path.parent / file).exists():
                shutil.copyfile(self.path.parent / file, after / file)
        return after / "relay.db"

    @rule()
    def stop_and_start(self) -> None:
        self.close()
        self.open()

    @rule()
    def reopen_after_trouble(self) -> None:
        self.store.reopen()

    @rule(pages=st.integers(1, 8))
    def tidy(self, pages: int) -> None:
        self.store.give_back(pages=pages)
        self.store.truncate_log()

    # Changes.

    def apply(self, changes: list[Change]) -> None:
        for name, project, which, much in changes:
            getattr(self, f"do_{name}")(project, which, much)

    def do_append(self, project: str, which: int, much: int) -> None:
        texts = [b'{"n":%d}' % (self.made + n) for n in range(much + 1)]
        self.made += len(texts)
        chunk = Chunk(project, len(texts), join(texts))
        events = [Event(project, Position(0, 0), text) for text in texts]
        self.store.append(row_of(chunk, stamped=None), now_ms=NOW_MS + which)
        self.appended(chunk, events, NOW_MS + which)

    def appended(self, chunk: Chunk, events: list[Event], at_ms: int) -> None:
        (row,) = self.store._conn.execute("select max(id) from chunk").fetchone()
        assert row > self.model.highest_chunk, "chunk ids only grow"
        self.model.highest_chunk = row
        self.model.chunks[row] = (chunk.project, chunk.events)
        self.model.accepted_at_ms[row] = at_ms
        for number, event in enumerate(events):
            event.position = Position(row, number)
            event.door = "backlog"
            event.requeues = chunk.requeues
            self.model.events.append(event)

    def do_ack(self, project: str, which: int, much: int) -> None:
        self.leave("ack", project, self.known(project, which, much))

    def do_bury(self, project: str, which: int, much: int) -> None:
        self.leave("bury", project, self.known(project, which, much))

    def leave(self, door: str, project: str, upto: Position) -> None:
        if door == "ack":
            self.store.ack(project, upto)
            self.model.leave(project, upto, "delivered")
            return
        leaving = [e for e in self.model.backlog(project) if e.position < upto]
        letter = DeadLetter(
            "upstream", project, "answered 400", "store", LINE, events=len(leaving)
        )
        self.store.bury(project, upto, letter, now_ms=NOW_MS)
        self.model.leave(project, upto, "dead")
        if leaving:
            event = leaving[0] if len(leaving) == 1 else None
            self.kept(Letter(0, project, event, len(leaving)))

    def do_bury_one(self, project: str, _: int, __: int) -> None:
        backlog = self.model.backlog(project)
        if backlog:
            chunk, done = backlog[0].position
            self.leave("bury", project, self.normal(Position(chunk, done + 1)))

    def kept(self, letter: Letter) -> None:
        (letter.id,) = self.store._conn.execute(
            "select max(id) from dead_letter"
        ).fetchone()
        self.model.letters.append(letter)

    def do_refuse(self, project: str, _: int, much: int) -> None:
        letter = DeadLetter("intake", project, "no JSON", "socket", LINE)
        for _ in range(much):
            self.store.refuse(letter, now_ms=NOW_MS)
            self.kept(Letter(0, project))
            self.model.refused[project] += 1

    def do_requeue(self, _: str, which: int, much: int) -> None:
        single = [letter for letter in self.model.letters if letter.events == 1]
        first = which % max(len(single), 1)
        returning = single[first : first + much]
        events = [
            letter.event or Event(letter.project, Position(0, 0), b'{"anew":1}')
            for letter in returning
        ]
        chunks = [
            Chunk(event.project, 1, event.text, requeues=event.requeues + 1)
            for event in events
        ]
        times = [NOW_MS - 1 if letter.event else None for letter in returning]
        rows = [
            row_of(chunk, stamped=None, accepted_at_ms=at_ms)
            for chunk, at_ms in zip(chunks, times, strict=True)
        ]
        # One after the other, so that each chunk's id is known.
        for letter, row, event in zip(returning, rows, events, strict=True):
            self.store.requeue([letter.kept()], [row], now_ms=NOW_MS + 2)
            if letter.event:
                self.model.events = [e for e in self.model.events if e is not event]
            self.appended(row.chunk, [event], row.accepted_at_ms or NOW_MS + 2)
            self.model.letters.remove(letter)

    def do_purge_letters(self, _: str, which: int, much: int) -> None:
        first = which % max(len(self.model.letters), 1)
        unwanted = self.model.letters[first : first + much]
        looked_at = [letter.kept() for letter in unwanted]
        gone = self.store.purge_letters([*self.model.gone, *looked_at])

        assert gone == looked_at, "what is gone already is not counted again"
        self.model.letters = [x for x in self.model.letters if x not in unwanted]
        self.model.gone += looked_at

    def do_purge(self, project: str, which: int, much: int) -> None:
        share = Share(
            upto=self.model.highest_chunk - much,
            project=project if which % 2 else None,
            accepted_before_ms=NOW_MS + which if much % 2 else None,
        )
        self.purge(share, most=1 + which)

    def purge(self, share: Share, most: int) -> None:
        there = self.store._conn.execute("select id, bytes from chunk order by id")
        fitting = [
            (chunk, size)
            for chunk, size in there.fetchall()
            if chunk <= share.upto
            and share.project in (None, self.model.chunks[chunk][0])
            and (
                share.accepted_before_ms is None
                or self.model.accepted_at_ms[chunk] < share.accepted_before_ms
            )
        ][:most]
        dropped = self.store.purge(share, max_chunks=most, max_bytes=NO_LIMIT)

        chunks = {chunk for chunk, _ in fitting}
        gone = [
            event
            for event in self.model.events
            if event.door == "backlog" and event.position.chunk in chunks
        ]
        for event in gone:
            event.door = "dropped"
        assert dropped.events == len(gone)
        assert dropped.bytes == sum(size for _, size in fitting)
        assert dropped.last == max(chunks, default=None)

    def do_drop_oldest(self, _: str, __: int, much: int) -> None:
        self.drop_oldest(much * 10)

    def drop_oldest(self, size: int) -> None:
        dropped = self.store.drop_oldest(size)

        left = {c for (c,) in self.store._conn.execute("select id from chunk")}
        gone = [
            event
            for event in self.model.events
            if event.door == "backlog" and event.position.chunk not in left
        ]
        for event in gone:
            event.door = "dropped"
        assert dropped == len(gone)
        assert not left or not gone or max(e.position.chunk for e in gone) < min(left)

    def do_trim(self, _: str, __: int, much: int) -> None:
        most = much * 150
        given_up = self.store.trim_dead_letters(most)

        before = len(self.model.letters)
        while sum(letter.size for letter in self.model.letters) > most:
            first = self.model.letters.pop(0)
            self.model.gone.append(first.kept())
            self.model.given_up[first.project] += 1
        assert given_up == before - len(self.model.letters)

    def do_progress(self, project: str, which: int, much: int) -> None:
        file = FileId(1, which)
        progress = FileProgress(file, project, much, much, b"digest", much or None)
        self.store.set_progress(progress)
        self.model.progress[file] = progress

    def do_forget(self, _: str, which: int, __: int) -> None:
        self.store.forget(FileId(1, which))
        self.model.progress.pop(FileId(1, which), None)

    def known(self, project: str, which: int, much: int) -> Position:
        """A position that a lane may have come to, now or long ago."""
        mine = [chunk for chunk, (owner, _) in self.model.chunks.items()]
        mine = [chunk for chunk in mine if self.model.chunks[chunk][0] == project]
        if not mine:
            return Position(0, 0)
        chunk = mine[-1 - which % len(mine)]
        return self.normal(Position(chunk, min(much, self.model.chunks[chunk][1])))

    def normal(self, position: Position) -> Position:
        """A chunk that is wholly passed is named by the id behind it."""
        whole = position.events == self.model.chunks[position.chunk][1]
        return Position(position.chunk + 1, 0) if whole else position

    # What must be so after each step.

    @invariant()
    def the_totals_are_those_of_the_model(self) -> None:
        assert self.reader.totals() == dict(self.store.totals)
        for project in PROJECTS:
            totals = self.store.totals.get(project, Totals())
            model = self.model
            assert totals.delivered == model.count(project, "delivered")
            assert totals.dead == model.count(project, "dead")
            assert totals.dropped == model.count(project, "dropped")
            assert totals.backlog_events == model.count(project, "backlog")
            assert totals.accepted == sum(e.project == project for e in model.events)
            assert totals.refused == model.refused[project]
            assert totals.dead_letters == len(model.letters_of(project))
            assert totals.dead_letter_bytes == sum(model.letters_of(project))
            assert totals.dead_letters_given_up == model.given_up[project]

    @invariant()
    def the_rows_behind_the_position_are_the_backlog(self) -> None:
        for project in PROJECTS:
            position = self.store.totals.get(project, Totals()).position
            events = list(self.peeked(project, position))
            backlog = self.model.backlog(project)
            assert events == [(e.text, e.requeues) for e in backlog]

    @invariant()
    def the_letters_are_those_of_the_model(self) -> None:
        with closing(LetterReader(self.path)) as reader:
            found = [(k.id, k.letter.project) for k in reader.newest(Selection())]
        assert found[::-1] == [(x.id, x.project) for x in self.model.letters]

    @invariant()
    def what_a_purge_would_give_up_is_the_backlog(self) -> None:
        with closing(BacklogReader(self.path)) as reader:
            waiting = reader.waiting(Share(reader.highest()))
        assert {one.project: (one.events, one.bytes) for one in waiting} == {
            project: (totals.backlog_events, totals.backlog_bytes)
            for project, totals in self.store.totals.items()
            if totals.backlog_events
        }

    @invariant()
    def the_sums_are_those_of_the_rows(self) -> None:
        for project in PROJECTS:
            totals = self.store.totals.get(project, Totals())
            rows = self.store._conn.execute(
                "select id, events, bytes from chunk where project = ?", (project,)
            ).fetchall()
            done = totals.position.events
            assert sum(events for _, events, _ in rows) - done == totals.backlog_events
            assert sum(size for _, _, size in rows) == totals.backlog_bytes
            assert not done or totals.position.chunk in {chunk for chunk, _, _ in rows}
            assert all(chunk >= totals.position.chunk for chunk, _, _ in rows)

    @invariant()
    def progress_of_files_is_what_was_last_noted(self) -> None:
        assert {p.file: p for p in self.reader.spool_progress()} == self.model.progress

    def peeked(self, project: str, position: Position) -> Iterator[tuple[bytes, int]]:
        for chunk in self.reader.peek(
            project, position, max_events=NO_LIMIT, max_bytes=NO_LIMIT
        ):
            done = position.events if chunk.id == position.chunk else 0
            for event in split(unpack(chunk.packed))[done:]:
                yield event, chunk.requeues


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> type[StoreModel]:
    """The model, with a store made once: migrations are tested elsewhere."""
    path = tmp_path_factory.mktemp("store") / "relay.db"
    Store.open(path).close()
    return type("StoreModel", (StoreModel,), {"new_store": path})


def run(model: type[StoreModel], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        model,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def test_the_store_agrees_with_a_list_of_events(model: type[StoreModel]) -> None:
    run(model, examples=60, steps=15)


@pytest.mark.slow
def test_the_store_agrees_with_a_list_of_events_at_length(
    model: type[StoreModel],
) -> None:
    run(model, examples=500, steps=30)
