"""A lane with a real store and an upstream that is a list of answers: no network.

For property tests: thousands of sequences in a minute. The upstream keeps what was
asked and what it said, so that the end can be held against it.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leanbase_relay.errors import Stopping
from leanbase_relay.forward.batch import Batch
from leanbase_relay.forward.lane import Lane, Settings
from leanbase_relay.forward.sending import BatchSending, Request, Sending
from leanbase_relay.forward.upstream import Identity
from leanbase_relay.forward.v1 import V1Sending
from leanbase_relay.forward.verdict import Answer, Silence
from leanbase_relay.keys import Secret
from leanbase_relay.store.chunk import Chunk, join, split, unpack
from leanbase_relay.store.deposit import Deposit
from leanbase_relay.store.letters import LetterReader, Selection
from leanbase_relay.store.reader import Reader
from leanbase_relay.store.store import Store
from leanbase_relay.store.totals import Totals
from leanbase_relay.store.writer import Change, Receipt, Writer
from tests.support.clock import FakeClock
from tests.support.lane import ROOMY, uuid

OK = b'{"status":"Ok"}'
MOST_REQUESTS = 400
NO_LIMIT = 1 << 40
YES = {"ok", "warning", "limited", "novelty"}


class Crash(Exception):
    """The process ends here."""


class InlineWriter(Writer):
    """Commits at once, in the thread of who asks: one thread is easier to follow."""

    def apply(self, change: Change) -> Receipt:
        receipt = super().apply(change)
        self.step()
        return receipt


@dataclass(frozen=True)
class Step:
    """What the upstream does with the next request.

    Attributes:
        kind: see `Script.send`.
        words: by protocol v1, of the events in turn; None leaves an event out.
    """

    kind: str
    words: tuple[str | None, ...] = ("ok",)


@dataclass
class Asked:
    """A request.

    Attributes:
        known: what the lane had been told was taken, before it.
        again: whether it is to come again as it is.
        decided: of which of its events it is decided now.
    """

    sending: Sending
    request_id: str | None
    attempt: int
    numbers: list[int]
    known: set[int]
    again: bool = False
    decided: set[int] = field(default_factory=set)


@dataclass
class Script:
    """An upstream: so many steps, then it does what is right."""

    clock: FakeClock
    steps: list[Step]
    poison: frozenset[int]
    most_events: int
    protocol: str
    asked: list[Asked] = field(default_factory=list)
    said_yes: set[int] = field(default_factory=set)
    """Of these the lane heard it."""
    said_no: set[int] = field(default_factory=set)
    bytes_of: dict[int, set[bytes]] = field(default_factory=dict)

    url = "https://upstream.example"
    terms: tuple[Any, ...] = ()

    @property
    def identity(self) -> Identity:
        return Identity((self.url, self.protocol), Secret("phc"))

    def begin(self, batch: Batch) -> Sending:
        if self.protocol == "v1":
            return V1Sending(batch, created_at=self.clock.wall())
        return BatchSending(batch)

    def abort(self) -> None:
        """There is nothing to cut."""

    def send(self, sending: Sending) -> Answer:
        """Answer by the next step; what the lane hears is noted as it hears it."""
        request = sending.request(key="phc", now=self.clock.wall())
        numbers = self._noted(sending, request)
        step = self.steps.pop(0) if self.steps else Step("well")
        if len(self.asked) >= MOST_REQUESTS or step.kind == "stop":
            self.clock.stop()
        answer = self._answer(step, numbers)
        if answer is None:
            raise Crash
        refused = answer.status == 400 or answer == Answer(status=413)
        self.asked[-1].again = not (refused or answer.status == 200)
        self.asked[-1].decided = (self.said_yes | self.said_no) & set(numbers)
        return answer

    def _answer(self, step: Step, numbers: list[int]) -> Answer | None:
        """None is the end of the process."""
        right = self._right(numbers, step.words if step.kind == "words" else ("ok",))
        answers = {
            "busy": Answer(status=503),
            "stop": Answer(status=503),
            "patience": Answer(status=429, retry_after="30"),
            "too big for now": Answer(status=413, retry_after="9"),
            "unreachable": Answer(silence=Silence.UNREACHABLE, reached=False),
            "lost": Answer(silence=Silence.TIMEOUT),
            "wrong key": Answer(status=401),
            "portal": Answer(status=200, body=b"<html>"),
            "breaks off": Answer(status=200, body=b'{"res'),
        }
        if step.kind == "crash":
            return None
        if step.kind in answers:
            return answers[step.kind]
        if step.kind in ("refuses", "too big"):
            self._refused(numbers)
            return Answer(status=400 if step.kind == "refuses" else 413)
        self._heard(right, numbers)
        return right

    def _right(self, numbers: list[int], words: Sequence[str | None]) -> Answer:
        """What a strict service says."""
        if len(numbers) > self.most_events:
            return Answer(status=413)
        if self.poison & set(numbers):
            return Answer(status=400, body=b"failed to hydrate")
        if self.protocol == "batch":
            return Answer(status=200, body=OK)
        results: dict[str, Any] = {"odd": 7}
        for place, number in enumerate(numbers):
            word = words[place % len(words)]
            if word is not None:
                results[uuid(number)] = 7 if word == "odd" else {"result": word}
        return Answer(status=200, body=json.dumps({"results": results}).encode())

    def _heard(self, answer: Answer, numbers: list[int]) -> None:
        if answer.status != 200:
            self._refused(numbers)
        elif self.protocol == "batch":
            self.said_yes |= set(numbers)
        else:
            results = json.loads(answer.body)["results"]
            for number in numbers:
                said = results.get(uuid(number))
                word = said["result"] if isinstance(said, dict) else None
                self.said_yes |= {number} if word in YES else set()
                self.said_no |= {number} if word == "drop" else set()

    def _refused(self, numbers: list[int]) -> None:
        if len(numbers) == 1:
            self.said_no |= set(numbers)

    def _noted(self, sending: Sending, request: Request) -> list[int]:
        events = json.loads(request.body)["batch"]
        numbers = [int(event["uuid"][-12:], 16) for event in events]
        body = request.body[request.body.index(b'"batch":[') + 9 : -2]
        for number, event in zip(numbers, split(body), strict=True):
            self.bytes_of.setdefault(number, set()).add(event)
        headers = request.headers
        self.asked.append(
            Asked(
                sending,
                headers.get("PostHog-Request-Id"),
                int(headers.get("PostHog-Attempt", "0")),
                numbers,
                self.said_yes.copy(),
            )
        )
        return numbers


@dataclass
class End:
    """How it came out: numbers of events."""

    dead: list[int]
    waiting: list[int]
    totals: Totals
    reasons: list[str]


class Stage:
    """A store with so many events; any number of lanes upon it, one after the other."""

    def __init__(self, path: Path, script: Script, settings: Settings) -> None:
        self.path = path
        self.script = script
        self.settings = settings
        self.store = Store.open(path)
        self.writer = InlineWriter(self.store, script.clock, limits=ROOMY)
        self.reader = Reader(path)

    def close(self) -> None:
        self.reader.close()
        self.store.close()

    def add(self, *sizes: int) -> None:
        """Chunks of so many events."""
        number = 0
        for size in sizes:
            events = [event(n) for n in range(number, number + size)]
            number += size
            chunk = Chunk("default", size, join(events))
            self.writer.submit(Deposit(chunks=(chunk,)))
        self.writer.step()

    def play(self) -> None:
        """Lanes, until all is sent or the clock is stopped; a crash begins the next."""
        while not self.script.clock.stopping:
            lane = Lane(
                "default",
                reader=self.reader,
                writer=self.writer,
                upstream=self.script,  # type: ignore[arg-type]
                clock=self.script.clock,
                settings=self.settings,
            )
            try:
                while lane.step():
                    pass
                lane._backlog.settle_ack()
            except Crash:
                continue
            except Stopping:
                return
            if not self.store.totals["default"].backlog_events:
                return

    def end(self) -> End:
        totals = self.store.totals["default"]
        chunks = self.reader.peek(
            "default", totals.position, max_events=NO_LIMIT, max_bytes=NO_LIMIT
        )
        waiting = [
            number_of(line)
            for chunk in chunks
            for place, line in enumerate(split(unpack(chunk.packed)))
            if chunk.id > totals.position.chunk or place >= totals.position.events
        ]
        with closing(LetterReader(self.path)) as letters:
            kept = letters.page(
                Selection(), after=0, upto=NO_LIMIT, letters=9999, max_bytes=NO_LIMIT
            )
        return End(
            [number_of(one.letter.line) for one in kept],
            waiting,
            totals,
            [one.letter.reason for one in kept],
        )


def event(number: int) -> bytes:
    return b'{"event":"e","distinct_id":"u","uuid":"%b"}' % uuid(number).encode()


def number_of(line: bytes) -> int:
    return int(json.loads(line)["uuid"][-12:], 16)


@contextmanager
def stage(
    template: Path, path: Path, script: Script, settings: Settings
) -> Iterator[Stage]:
    """A stage on a copy of an empty store."""
    shutil.copy(template, path)
    with closing(Stage(path, script, settings)) as made:
        yield made
