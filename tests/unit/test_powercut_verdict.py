from dataclasses import replace

import pytest

from leanbase_relay.store.totals import Totals
from tests.powercut.disk import Held
from tests.powercut.verdict import Verdict, judged

# a was delivered, b too but not yet acked; c waits; d is in a spool file.
SENT = frozenset("abcd")
DELIVERED = frozenset("ab")
HELD = Held(
    integrity="ok",
    totals=Totals(accepted=3, delivered=1),
    backlog=("b", "c"),
    spooled=frozenset("d"),
    log_bytes=0,
)


def verdict(held: Held = HELD, delivered: frozenset[str] = DELIVERED) -> Verdict:
    return judged(held, acknowledged=SENT, sent=SENT, delivered=delivered)


def test_what_is_somewhere_is_not_lost() -> None:
    assert verdict().is_good


def test_what_is_acknowledged_and_nowhere_is_lost() -> None:
    held = replace(
        HELD, backlog=("b",), spooled=frozenset(), totals=Totals(2, delivered=1)
    )

    assert verdict(held).lost == {"c", "d"}


def test_what_waits_twice_is_counted_twice() -> None:
    held = replace(HELD, backlog=("b", "c", "c"), totals=Totals(4, delivered=1))

    assert verdict(held) == Verdict(twice=1)


def test_what_was_delivered_twice_over_is_counted_twice() -> None:
    """A slice of a file that was taken again: the upstream keeps one row of it."""
    held = replace(HELD, totals=Totals(accepted=4, delivered=2))

    assert verdict(held) == Verdict(twice=1)


@pytest.mark.parametrize(
    ("held", "delivered", "fault"),
    [
        (replace(HELD, integrity="row 3 missing"), DELIVERED, "row 3 missing"),
        (replace(HELD, totals=Totals(9, 1)), DELIVERED, "8 events are to wait, 2 do"),
        (HELD, DELIVERED | {"x"}, "nobody sent ['x']"),
        (
            replace(HELD, totals=Totals(3, 0, dropped=1)),
            DELIVERED,
            "0 are counted as delivered, 1 are",
        ),
        (replace(HELD, totals=Totals(4, 1, dead=1)), DELIVERED, "none should be dead"),
    ],
)
def test_whatever_else_is_wrong_is_said(
    held: Held, delivered: frozenset[str], fault: str
) -> None:
    assert fault in "; ".join(verdict(held, delivered).faults)
