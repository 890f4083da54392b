"""The guard: that an upstream which is wrong itself does not bury a backlog. Pure.

A refusal names an event, but another product's URL, or a proxy that eats headers,
refuses everything. So many dead letters without one delivery in between say that it is
the upstream; then a lane is held, and what it tries is not buried any more.
"""

from leanbase_relay.forward.verdict import Judgement, Verdict

MOST_IN_A_ROW = 20
"""Dead letters without one delivery in between. An upstream that refuses everything is
more likely than twenty bad events, and the operator is to look before more are buried;
each `flush` lets as many more go."""


class Guard:
    """One lane's count.

    Args:
        in_a_row: from an earlier life.
    """

    def __init__(self, in_a_row: int = 0) -> None:
        self.in_a_row = in_a_row
        """Dead letters since the last delivery, or since the operator said `flush`."""

    @property
    def lets_go(self) -> bool:
        """Whether one more may be buried."""
        return self.in_a_row < MOST_IN_A_ROW

    def buried(self) -> None:
        """Note a dead letter."""
        self.in_a_row += 1

    def taken(self) -> None:
        """Note a delivery; or begin anew, for whatever other reason."""
        self.in_a_row = 0

    def held(self, judgement: Judgement) -> Judgement:
        """What a lane is told instead of a refusal that would be one too many."""
        return judgement.but(Verdict.HELD).because(
            f"{judgement.reason}, and so {self.in_a_row} events before it without one "
            "that was taken; see `leanbase-relay dead-letters list`, and check "
            "upstream.url and what lies in between"
        )
