"""Known ids: whose `distinct_id` an event about a person has named, for good.

For `events.person_profiles: identified_only`. An id becomes known in the transaction of
the event that named it; the store keeps eight bytes of each. Intake asks for every
event, so that the latest answers stay in memory. To forget one, or to mistake one for
another, is harmless: it changes which kind of event is sent, not whether.
"""

import hashlib
import json
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable
from enum import Enum
from pathlib import Path

from leanbase_relay.store import schema

MAX_REMEMBERED = 1 << 16
"""Answers kept in memory, of all projects together: some 6 MB."""

_AMONG = "select digest from known_id where digest in (select value from json_each(?))"


class _Answer(Enum):
    UNKNOWN = "unknown"
    HEARD = "heard"  # in a chunk that may not be committed yet, or never will be
    STORED = "stored"


class Known:
    """What intake asks; safe in any thread."""

    def __init__(self, path: Path) -> None:
        self._conn = schema.connect_to_read(path)
        self._lock = threading.Lock()
        self._answers: OrderedDict[int, _Answer] = OrderedDict()

    def close(self) -> None:
        self._conn.close()

    def among(self, project: str, ids: Iterable[str]) -> set[str]:
        """Which of these ids are known."""
        digests = {_digest(project, one): one for one in ids}
        with self._lock:
            answers = {
                one: self._answers[one] for one in digests if one in self._answers
            }
            if new := [one for one in digests if one not in answers]:
                found = self._stored(new)
                answered = {
                    one: _Answer.STORED if one in found else _Answer.UNKNOWN
                    for one in new
                }
                self._remember(answered)
                answers |= answered
        return {digests[one] for one in answers if answers[one] is not _Answer.UNKNOWN}

    def learn(self, project: str, ids: Iterable[str]) -> tuple[int, ...]:
        """Know these from now on; the store does once the chunk is committed.

        Returns:
            What the store is to keep of those that it may not have yet.
        """
        digests = dict.fromkeys(_digest(project, one) for one in ids)
        with self._lock:
            stored = _Answer.STORED
            new = [one for one in digests if self._answers.get(one) is not stored]
            self._remember(dict.fromkeys(new, _Answer.HEARD))
        return tuple(new)

    def _stored(self, digests: list[int]) -> set[int]:
        try:
            rows = self._conn.execute(_AMONG, (json.dumps(digests),)).fetchall()
        except sqlite3.Error:  # a store in trouble says so where it is written
            return set()
        return {digest for (digest,) in rows}

    def _remember(self, answers: "dict[int, _Answer]") -> None:
        self._answers.update(answers)
        # One question may be larger than the memory; it is answered all the same.
        while len(self._answers) > max(MAX_REMEMBERED, len(answers)):
            self._answers.popitem(last=False)


def _digest(project: str, distinct_id: str) -> int:
    text = f"{project}\0{distinct_id}".encode()
    digest = hashlib.blake2b(text, digest_size=8).digest()
    return int.from_bytes(digest, signed=True)
