"""A store with dead letters in it, and the operator's wishes upon it."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from leanbase_relay.intake.event import Judge
from leanbase_relay.store.chunk import Chunk, join, split, unpack
from leanbase_relay.store.deposit import DeadLetter
from leanbase_relay.store.letters import KeptLetter, LetterReader, Selection
from leanbase_relay.store.reader import Reader, StoredChunk
from leanbase_relay.store.row import row_of
from leanbase_relay.store.store import Store
from leanbase_relay.store.totals import Position, Totals
from leanbase_relay.wishes import Wishes
from tests.support.clock import FakeClock

ACCEPTED_AT_MS = 1_700_000_000_000
DIED_AT_MS = 1_700_000_060_000
PROJECTS = frozenset({"default", "shop"})
NO_LIMIT = 1 << 40


def event(number: int, name: str = "order placed") -> bytes:
    """An event that needs nothing."""
    return (
        b'{"event":"%b","distinct_id":"user-1",'
        b'"uuid":"01890a5d-ac96-774b-bcce-%012x",'
        b'"timestamp":"2026-03-01T12:00:00.123Z"}'
    ) % (name.encode(), number)


class LetterHouse:
    """Buries and refuses; closes everything with the `with`."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "relay.db"
        self.clock = FakeClock()
        self.store = Store.open(self.path)
        self.letters = LetterReader(self.path)
        self.reader = Reader(self.path)
        self.before_change: Callable[[Store], object] = lambda _: None
        self.wishes = Wishes(
            self.path,
            apply=self._apply,
            judge=lambda: Judge(max_bytes=1000, projects=PROJECTS),
            projects=PROJECTS,
            clock=self.clock,
            max_chunk_events=5000,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.letters.close()
        self.reader.close()
        self.store.close()

    def append(self, *events: bytes, at_ms: int = ACCEPTED_AT_MS, **kind: Any) -> int:
        """Accept events as one chunk; its id."""
        chunk = Chunk(kind.pop("project", "default"), len(events), join(events), **kind)
        with self.store.transaction():
            self.store.append(row_of(chunk, stamped=None), now_ms=at_ms)
            found = self.store._conn.execute("select max(id) from chunk").fetchone()
        return int(found[0])

    def bury(self, *events: bytes, died_at_ms: int = DIED_AT_MS, **facts: Any) -> None:
        """Accept events, and have the upstream refuse each of them."""
        project = facts.get("project", "default")
        chunk = self.append(*events, project=project)
        with self.store.transaction():
            for number, line in enumerate(events, 1):
                upto = Position(chunk, number)
                if number == len(events):
                    upto = Position(chunk + 1, 0)
                letter = self._letter("upstream", line, status=400, **facts)
                self.store.bury(project, upto, letter, now_ms=died_at_ms)

    def refuse(self, *lines: bytes, died_at_ms: int = DIED_AT_MS, **facts: Any) -> None:
        """Have intake turn lines down."""
        with self.store.transaction():
            for line in lines:
                letter = self._letter("intake", line, **facts)
                self.store.refuse(letter, now_ms=died_at_ms)

    def _letter(self, door: str, line: bytes, **facts: Any) -> DeadLetter:
        given: dict[str, Any] = {
            "project": "default",
            "reason": "answered 400",
            "origin": "store chunk=1",
            "accepted_at_ms": None if door == "intake" else ACCEPTED_AT_MS,
        } | facts
        return DeadLetter(door=door, line=line, **given)

    def wish(self, name: str, **members: Any) -> list[dict[str, Any]]:
        """Have a wish granted in slices, as a command does; all answers."""
        members = {"upto": self.letters.highest(), **members}
        answers: list[dict[str, Any]] = []
        after: int | None = 0
        while after is not None:
            answers.append(self.wishes.by_name()[name]({**members, "after": after}))
            after = answers[-1]["after"]
        return answers

    def requeue(self, **members: Any) -> dict[str, Any]:
        """All answers of a requeue in one."""
        answers = self.wish("requeue_letters", **members)
        return {
            "requeued": sum(answer["requeued"] for answer in answers),
            "left_out": sum(answer["left_out"] for answer in answers),
            "staying": {
                one["id"]: one["reason"]
                for answer in answers
                for one in answer["staying"]
            },
        }

    def kept(self) -> list[KeptLetter]:
        """All letters, oldest first."""
        return self.letters.page(
            Selection(), after=0, upto=NO_LIMIT, letters=NO_LIMIT, max_bytes=NO_LIMIT
        )

    def chunks(self, project: str = "default") -> list[StoredChunk]:
        """The backlog, chunk by chunk."""
        return self.reader.peek(
            project,
            self.totals(project).position,
            max_events=NO_LIMIT,
            max_bytes=NO_LIMIT,
        )

    def backlog(self, project: str = "default") -> list[bytes]:
        """Its events."""
        return [
            e for chunk in self.chunks(project) for e in split(unpack(chunk.packed))
        ]

    def totals(self, project: str = "default") -> Totals:
        return self.store.totals.get(project, Totals())

    def _apply(self, change: Callable[[Store], None]) -> None:
        with self.store.transaction():
            self.before_change(self.store)
            change(self.store)
