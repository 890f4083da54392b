"""A sending: one batch over its attempts, by protocol `batch`. Pure.

It says what each attempt's request is, judges the answers, and knows which of its
events are settled. Protocol `v1` has a sending of its own (`forward.v1`), with a word
of the upstream's for each event; here all of a request is taken, or nothing is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import msgspec

from leanbase_relay import deflate
from leanbase_relay.clock import rfc_3339
from leanbase_relay.forward.batch import Batch
from leanbase_relay.forward.verdict import Answer, Judgement, Verdict, judge
from leanbase_relay.store.chunk import Packed, unpack
from leanbase_relay.store.totals import Position

MAX_ANSWER_BYTES = 64 << 10
"""Read of an answer; the capture service's of protocol `batch` fit into a hundred."""


@dataclass(frozen=True, slots=True)
class Request:
    """One attempt's request.

    Attributes:
        parts: of the body, in order; some packed already.
        max_answer_bytes: what is read of the answer, at most.
    """

    path: str
    headers: Mapping[str, str]
    parts: tuple[bytes | Packed, ...]
    max_answer_bytes: int = MAX_ANSWER_BYTES

    @property
    def body(self) -> bytes:
        """The body as JSON."""
        return b"".join(
            unpack(part) if isinstance(part, Packed) else part for part in self.parts
        )

    @property
    def gzip(self) -> bytes:
        """The body, packed; what was packed already is taken as it is."""
        packed: list[bytes] = []
        texts: list[bytes] = []
        for part in self.parts:
            if isinstance(part, Packed):
                packed += (deflate.compress(*texts), part.data)
                texts = []
            else:
                texts.append(part)
        return deflate.joined([*packed, deflate.compress(*texts)])


class Settled(NamedTuple):
    """Neighbours that the upstream has decided on.

    Attributes:
        end: where a lane stands behind them.
        refused: the one event that will never be taken, and
        judgement: why; None if all were taken.
    """

    end: Position
    refused: Batch | None = None
    judgement: Judgement | None = None


class Sending(Protocol):
    """One batch on its way."""

    @property
    def batch(self) -> Batch:
        """What was given to be sent."""

    @property
    def undecided(self) -> int:
        """How many of its events wait for the upstream."""

    @property
    def size(self) -> int:
        """Bytes of the events of the last request; before the first one, of all."""

    @property
    def took_some(self) -> bool:
        """Whether the last answer took an event, be it among refusals."""

    def request(self, *, key: str, now: float) -> Request:
        """The request of the next attempt, made at this wall-clock time."""

    def judge(self, answer: Answer, *, now: float) -> Judgement:
        """What the answer to it means, for what was still to be sent."""

    def settled(self) -> Iterator[Settled]:
        """What is decided and was not given before, in order, up to what is not."""

    def reopen(self) -> None:
        """Have what is refused, and was not taken from `settled`, sent again."""

    def give_up(self, judgement: Judgement) -> None:
        """Settle what is left as refused, each event for itself."""

    def halves(self) -> tuple[Self, Self]:
        """Two sendings that come to what is not settled.

        Each has half of what is undecided, which is more than one event.
        """


class BatchSending:
    """By protocol `batch`: ``POST /batch/``."""

    path = "/batch/"

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._settled: Iterator[Settled] = iter(())
        self._decided = self._took = False

    @property
    def batch(self) -> Batch:
        return self._batch

    @property
    def undecided(self) -> int:
        return 0 if self._decided else self._batch.events

    @property
    def size(self) -> int:
        return self._batch.size

    @property
    def took_some(self) -> bool:
        return self._took

    def request(self, *, key: str, now: float) -> Request:
        # `sent_at` is the time of this very attempt. A stored one would make the
        # upstream move every event to its arrival time.
        head = b'{"api_key":%b,"sent_at":"%b",%b"batch":[' % (
            msgspec.json.encode(key),
            rfc_3339(now).encode(),
            b'"historical_migration":true,' if self._batch.historical else b"",
        )
        return Request(self.path, {}, (head, *self._batch.parts(), b"]}"))

    def judge(self, answer: Answer, *, now: float) -> Judgement:
        judgement = judge(answer, now=now)
        if judgement.verdict is Verdict.DELIVERED:
            self._settled = iter((Settled(self._batch.end),))
            self._decided = self._took = True
        elif judgement.is_refusal and self._batch.events == 1:
            self.give_up(judgement)
        return judgement

    def settled(self) -> Iterator[Settled]:
        yield from self._settled

    def reopen(self) -> None:
        self._settled = iter(())
        self._decided = False

    def give_up(self, judgement: Judgement) -> None:
        self._decided = True
        self._settled = (
            Settled(single.end, single, judgement) for single in self._batch.singles()
        )

    def halves(self) -> tuple[Self, Self]:
        first, second = self._batch.halves()
        return type(self)(first), type(self)(second)
