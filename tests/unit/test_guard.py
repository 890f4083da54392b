"""The guard counts what dies in a row, and says when that is enough."""

from leanbase_relay.forward.guard import MOST_IN_A_ROW, Guard
from leanbase_relay.forward.verdict import Judgement, Verdict

REFUSED = Judgement(Verdict.REFUSED, "answered 400", 400, 7.0)


def test_twenty_in_a_row_are_enough() -> None:
    guard = Guard()

    for _ in range(MOST_IN_A_ROW):
        assert guard.lets_go
        guard.buried()

    assert not guard.lets_go


def test_one_delivery_begins_the_count_anew() -> None:
    guard = Guard(MOST_IN_A_ROW - 1)
    guard.buried()

    guard.taken()

    assert guard.lets_go
    assert guard.in_a_row == 0


def test_what_is_held_instead_says_why_and_keeps_the_rest_of_the_judgement() -> None:
    held = Guard(23).held(REFUSED)

    assert (held.verdict, held.status, held.not_before_seconds) == (
        Verdict.HELD,
        400,
        7.0,
    )
    assert held.reason.startswith("answered 400, and so 23 events before it ")
    assert "leanbase-relay dead-letters list" in held.reason
