"""One turn of the loop: what its connections wrote meanwhile, judged as one run.

Sixty producers that wait for their `stored` write one event each. An event alone costs
eight times as much to judge as one among others, and a deposit of its own as much
again; so what came in the same turn goes together. Who writes much goes alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from leanbase_relay.intake.event import Judged, Refusal

TOGETHER_BYTES = 64 << 10
"""A turn that has so much is judged at once; so little is held back, at most."""

Owner = TypeVar("Owner")


@dataclass(frozen=True, slots=True)
class Share:
    """What one run of lines came to, which may have been judged with others.

    Attributes:
        events: accepted.
        refusals: with the numbers of lines within the run, from 1.
        lines: how many there were, blank ones too.
        blanks: the numbers of the blank ones.
        size: bytes of the run.
    """

    events: int
    refusals: tuple[Refusal, ...]
    lines: int
    blanks: tuple[int, ...]
    size: int


class Turn(Generic[Owner]):
    """Runs that wait for the end of the turn, in the order in which they came.

    Args:
        judge: a run of lines.
        taken: told what was judged, and whose share of it is which.
        soon: calls something when the turn is over.
    """

    def __init__(
        self,
        judge: Callable[[bytes], Judged],
        taken: Callable[[Judged, Sequence[tuple[Owner, Share]]], None],
        soon: Callable[[Callable[[], None]], None],
    ) -> None:
        self._judge = judge
        self._taken = taken
        self._soon = soon
        self._runs: list[tuple[Owner, bytes]] = []
        self._size = 0

    def add(self, owner: Owner, run: bytes) -> None:
        """Have a run of whole lines judged; the last may lack its newline."""
        if len(run) >= TOGETHER_BYTES:
            self.end()
        self._runs.append((owner, run))
        self._size += len(run)
        if self._size >= TOGETHER_BYTES:
            self.end()
        elif len(self._runs) == 1:
            self._soon(self.end)

    def end(self) -> None:
        """Judge what there is."""
        runs, self._runs, self._size = self._runs, [], 0
        if not runs:
            return
        judged = self._judge(b"".join(_ended(run) for _, run in runs))
        shares = _shares(judged, [run for _, run in runs])
        owners = (owner for owner, _ in runs)
        self._taken(judged, list(zip(owners, shares, strict=True)))


def _ended(run: bytes) -> bytes:
    return run if run.endswith(b"\n") else run + b"\n"


def _shares(judged: Judged, runs: Sequence[bytes]) -> Iterator[Share]:
    """Which lines of what was judged are whose."""
    before = 0
    for run in runs:
        lines = judged.lines if len(runs) == 1 else _ended(run).count(b"\n")
        refusals = tuple(
            replace(one, line=one.line - before)
            for one in judged.refusals
            if before < one.line <= before + lines
        )
        blanks = tuple(
            one - before for one in judged.blanks if before < one <= before + lines
        )
        events = lines - len(refusals) - len(blanks)
        yield Share(events, refusals, lines, blanks, len(run))
        before += lines
