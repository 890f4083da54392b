"""When a batch leaves."""

import pytest

from leanbase_relay.forward.pace import is_full, seconds_until_due
from leanbase_relay.store.totals import Totals


@pytest.mark.parametrize(
    ("events", "size", "full"), [(9, 99, False), (10, 0, True), (1, 100, True)]
)
def test_a_batch_is_full_by_its_events_or_its_bytes(
    events: int, size: int, *, full: bool
) -> None:
    totals = Totals(accepted=events + 3, delivered=3, backlog_bytes=size)

    assert is_full(totals, max_events=10, max_bytes=100) is full


@pytest.mark.parametrize(
    ("waited", "seconds"),
    [(0, 5), (2, 3), (5, 0), (99, 0), (-1, 5), (-5, 5), (-6, 0), (-1e9, 0)],
)
def test_the_oldest_event_waits_for_company_but_not_for_a_clock_that_was_set_back(
    waited: float, seconds: float
) -> None:
    assert seconds_until_due(100 - waited, 100, max_wait_seconds=5) == seconds
