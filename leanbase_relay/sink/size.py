"""How big an event is inside the service: its JSON, encoded once more as a string."""

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from leanbase_relay.sink.envelope import KNOWN_MEMBERS

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_MARK = b'"event"'


def produced_bytes(event: Mapping[str, Any]) -> int:
    """The size of one event; what is not stored does not count."""
    kept = {name: event[name] for name in event if name in KNOWN_MEMBERS}
    text = _ENCODER.encode(kept)
    return len(text.encode()) + text.count('"') + text.count("\\") + len('""')


def all_surely_fit(body: bytes, n_events: int, max_bytes: int) -> bool:
    """True if no event of this body needs measuring, seen without looking at any.

    Encoding once more doubles at worst. So a small body holds no big event; and in a
    big one with exactly one ``"event"`` an event, no event reaches further than from
    one of them to the next but one. (An escaped spelling would not be counted, and
    backslashes that become something longer again: such a body is measured.)
    """
    if 2 * len(body) < max_bytes:
        return True
    if b"\\" in body and b"\\u" in body:
        return False
    gaps = [len(gap) + len(_MARK) for gap in body.split(_MARK)]
    if len(gaps) != n_events + 1:
        return False
    return 2 * max(a + b for a, b in pairwise(gaps)) < max_bytes
