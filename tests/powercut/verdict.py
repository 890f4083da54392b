"""What a cut proves: the acknowledged against what is there. Pure."""

from collections.abc import Set
from dataclasses import dataclass

from tests.powercut.disk import Held


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong; nothing, if all is well.

    Attributes:
        lost: acknowledged, and nowhere any more.
        twice: how many events the store counted more than once.
        faults: anything else, a sentence each.
    """

    lost: frozenset[str] = frozenset()
    twice: int = 0
    faults: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.twice or self.faults)


def judged(
    held: Held, *, acknowledged: Set[str], sent: Set[str], delivered: Set[str]
) -> Verdict:
    """Judge what a disk holds, of all cuts so far.

    What was delivered and still waits is allowed: the power went between the
    upstream's yes and the ack, and it goes again with the same identity.

    Args:
        acknowledged: `stored` was heard of it, or it was spooled.
        sent: all that there can be.
        delivered: what the upstream has.
    """
    totals, waiting = held.totals, frozenset(held.backlog)
    there = waiting | delivered | held.spooled
    gone = len(delivered - waiting)
    wrong = {
        f"integrity_check says: {held.integrity}": held.integrity != "ok",
        f"{totals.backlog_events} events are to wait, {len(held.backlog)} do": (
            totals.backlog_events != len(held.backlog)
        ),
        f"{totals.delivered} are counted as delivered, {gone} are": (
            totals.delivered < gone
        ),
        f"none should be dead, dropped or refused: {totals}": (
            totals.dead + totals.dropped + totals.refused > 0
        ),
        f"nobody sent {sorted(there - sent)[:3]}": not there <= sent,
    }
    return Verdict(
        lost=frozenset(acknowledged - there),
        twice=len(held.backlog) - len(waiting) + max(totals.delivered - gone, 0),
        faults=tuple(sentence for sentence, is_so in wrong.items() if is_so),
    )
