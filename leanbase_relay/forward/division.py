"""Division: a request that is refused as a whole is delivered by halves. Pure.

The upstream names no culprit, so that halving has to find it; and what was too big may
fit by halves. What is divided is only what the upstream has not decided on.
"""

from collections.abc import Callable
from typing import NamedTuple

from leanbase_relay.forward.sending import Sending
from leanbase_relay.forward.verdict import Verdict


class Outcome(NamedTuple):
    """What came of a sending.

    Attributes:
        whole: the upstream took the request, the first that was made of it.
        fat: it had an event that is too big for itself.
        largest: bytes of the largest request in it that was taken.
    """

    whole: bool = False
    fat: bool = False
    largest: int = 0


def divide(
    sending: Sending, verdict: Verdict, deliver: Callable[[Sending], Outcome]
) -> Outcome:
    """Deliver a sending of several undecided events by halves.

    Order is kept: the first half is finished before the second is tried. If it was
    taken whole, what was refused is in the second: that is halved without asking, or
    an event in the worst place would cost more than 2 log2(n) requests. (What was too
    big may well fit by halves.)

    Args:
        sending: of several undecided events.
        verdict: why it is divided.
        deliver: has the upstream decide on all of a sending.
    """
    first, second = sending.halves()
    one = deliver(first)
    if one.whole and verdict is Verdict.REFUSED and second.undecided > 1:
        two = divide(second, verdict, deliver)
    else:
        two = deliver(second)
    return Outcome(fat=one.fat or two.fat, largest=max(one.largest, two.largest))
