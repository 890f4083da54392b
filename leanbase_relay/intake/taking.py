"""Taking a request: its events judged, and what is to be stored of them. Pure.

Run by run: neither the events of a large request nor the lines that its bad ones
become are held twice.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from leanbase_relay.intake.answer import Answer
from leanbase_relay.intake.event import Judge, Judged, Refusal
from leanbase_relay.store.deposit import Deposit

RUN_BYTES = 512 << 10
LETTER_BYTES = 1 << 10
"""What a dead letter takes in memory beside its line, roughly."""

_BLANKS = bytes.maketrans(b"\r\n", b"  ")


@dataclass(frozen=True, slots=True)
class Taken:
    """What a request came to.

    Attributes:
        deposit: what is to be stored.
        answer: what may be said once it is.
    """

    deposit: Deposit
    answer: Answer

    @property
    def size(self) -> int:
        """What it holds in memory until it is stored, roughly."""
        return self.deposit.size + LETTER_BYTES * len(self.deposit.refused)


@dataclass(frozen=True, slots=True)
class Taker:
    """What events are judged with.

    Attributes:
        judge: of events `from_sdk`.
        now_ms: the time of acceptance, milliseconds since 1970 UTC.
        max_events: how many a request may have.
        peer: whose it is, for its dead letters.
    """

    judge: Judge
    now_ms: int
    max_events: int
    peer: str

    def judged(
        self, events: Iterable[bytes], *, project: str, historical: bool
    ) -> Judged:
        """Judge events, each as it is spelled."""
        parts = [
            self.judge.judge(run, project=project, now_ms=self.now_ms)
            for run in _runs(events)
        ]
        judged = parts[0] if len(parts) == 1 else _together(parts)
        return judged.as_import() if historical else judged

    def taken(self, judged: Judged, answer: Answer) -> Taken:
        """What is to be stored, and then to be said."""
        letters = tuple(
            [no.dead_letter(f"{self.peer} event={no.line}") for no in judged.refusals]
        )
        return Taken(Deposit(judged.chunks, letters), answer)


def _together(parts: Sequence[Judged]) -> Judged:
    lines = 0
    refusals: list[Refusal] = []
    for part in parts:
        refusals += [replace(no, line=lines + no.line) for no in part.refusals]
        lines += part.lines
    chunks = tuple([chunk for part in parts for chunk in part.chunks])
    return Judged(chunks, tuple(refusals), lines)


def _runs(events: Iterable[bytes]) -> Iterator[bytes]:
    """Events as runs of lines, none much longer than it need be."""
    run: list[bytes] = []
    size = 0
    for event in events:
        run.append(event)
        size += len(event)
        if size >= RUN_BYTES:
            yield _run(run)
            run, size = [], 0
    if run:
        yield _run(run)


def _run(events: Sequence[bytes]) -> bytes:
    """Events on a line each; between their members JSON has only blanks."""
    run = b"\n".join(events)
    if run.count(b"\n") == len(events) - 1 and b"\r" not in run:
        return run
    return b"\n".join([bytes(event).translate(_BLANKS) for event in events])
