"""Pace: a batch leaves when it is full, or has waited long enough. Pure."""

from leanbase_relay.store.totals import Totals


def is_full(totals: Totals, *, max_events: int, max_bytes: int) -> bool:
    """Whether what waits fills a batch."""
    return totals.backlog_events >= max_events or totals.backlog_bytes >= max_bytes


def seconds_until_due(since: float, now: float, *, max_wait_seconds: float) -> float:
    """How long the oldest event may still wait for company.

    Args:
        since: when it was accepted, and
        now: both by the wall clock, which may have been set in between.
        max_wait_seconds: `batch.max_wait`.
    """
    waited = now - since
    if waited < -max_wait_seconds:
        return 0.0  # the clock was set back: nobody knows how long it waited
    return max_wait_seconds - min(max(waited, 0.0), max_wait_seconds)
