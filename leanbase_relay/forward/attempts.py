"""Attempts, measured: how long the upstream took, what it answered, what it was sent.

Of one lane, since the start of the daemon.
"""

from leanbase_relay.forward.verdict import Answer
from leanbase_relay.measures import BYTES, EVENTS, SECONDS, Histogram, Tally

_STATUSES = range(100, 600)  # what HTTP has; who makes up others is counted as one


class Attempts:
    """What is measured of them."""

    def __init__(self) -> None:
        self.seconds = Histogram(SECONDS)
        self.events = Histogram(EVENTS)
        self.bytes = Histogram(BYTES)
        self.by_status = Tally()

    def note(self, answer: Answer, *, events: int, size: int, seconds: float) -> None:
        """One attempt, and what came of it.

        Args:
            answer: it had.
            events: in the request, and
            size: their bytes.
            seconds: it took.
        """
        self.seconds.note(seconds)
        self.events.note(events)
        self.bytes.note(size)
        self.by_status.note(_kind(answer))


def _kind(answer: Answer) -> str:
    """The status, or why there was none: ``200``, ``timeout``."""
    if answer.silence is not None:
        return answer.silence.name.lower()
    return str(answer.status) if answer.status in _STATUSES else "other"
