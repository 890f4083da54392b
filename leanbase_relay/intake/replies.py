"""Replies: what a producer on the JSON Lines socket is told. Pure.

Counts are always right; of the reasons for refused lines, a client that does not read
loses those that would take more memory than it may.
"""

import json

MAX_UNSENT_BYTES = 64 << 10
"""Of `error` replies that a client does not read; beyond it they are left out. The
counts are always right, and the dead letters keep every refused line."""

_COUNTS = b'{"stored":%d,"refused":%d}\n'


class Replies:
    """What is still to be said to one producer.

    Attributes:
        are_due: whether there is anything; the counts at least.
    """

    def __init__(self) -> None:
        self.are_due = False
        self._stored = self._refused = 0
        self._errors: list[bytes] = []
        self._unsent_bytes = 0

    def stored(self, events: int) -> None:
        """So many more are committed."""
        self._stored += events
        self.are_due = True

    def refused(self, line: int, reason: str) -> None:
        """This line, counted from the beginning of the connection, is not."""
        self._refused += 1
        self.are_due = True
        text = complaint(reason, line=line)
        if self._unsent_bytes + len(text) <= MAX_UNSENT_BYTES:
            self._errors.append(text)
            self._unsent_bytes += len(text)

    def take(self) -> bytes:
        """All of it, to be sent now."""
        counts = _COUNTS % (self._stored, self._refused)
        text = b"".join([*self._errors, counts])
        self._errors.clear()
        self._unsent_bytes = 0
        self.are_due = False
        return text


def complaint(reason: str, **members: int) -> bytes:
    """Why something was refused."""
    said = {**members, "error": reason}
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"
