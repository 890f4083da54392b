"""Protocol v1: what becomes of each event, and the answer that says so. Pure."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from leanbase_relay.sink.fault import Ruling
from leanbase_relay.sink.row import Row
from leanbase_relay.sink.wire import Answer


class Result(NamedTuple):
    """What the answer says of one event."""

    uuid: str
    event: str
    word: str | None = "ok"  # None: the answer does not name this uuid
    details: str | None = None
    row: Row | None = None  # what is stored of it


def answer_of(results: Sequence[Result], headers: Mapping[str, str]) -> Answer:
    """The service's 200, with these headers; to be tried again after a second."""
    told = ",".join([_told(result) for result in results if result.word is not None])
    body = b'{"results":{%s}}' % told.encode()
    if any(result.word == "retry" for result in results):
        headers = {**headers, "Retry-After": "1"}
    return Answer(200, body, "application/json", headers)


def ruled(results: Sequence[Result], rulings: Sequence[Ruling]) -> tuple[Result, ...]:
    """The results as a script would have them; for each event the first that fits."""
    return tuple(
        _ruled(result, position, rulings) for position, result in enumerate(results)
    )


def rows_of(results: Sequence[Result]) -> tuple[Row, ...]:
    """What is stored."""
    return tuple([result.row for result in results if result.row is not None])


def summed(results: Sequence[Result]) -> Mapping[str, int]:
    """How many events got which result, e.g. ``{"ok": 9, "drop event_too_big": 1}``."""
    sums = Counter([(result.word or "missing", result.details) for result in results])
    return {" ".join(filter(None, said)): number for said, number in sums.items()}


def _told(result: Result) -> str:
    if result.details is None:  # by hand, since there are many
        return f'"{result.uuid}":{{"result":{json.dumps(result.word)}}}'
    said = {"result": result.word, "details": result.details}
    return f'"{result.uuid}":{json.dumps(said, separators=(",", ":"))}'


def _ruled(result: Result, position: int, rulings: Sequence[Ruling]) -> Result:
    for ruling in rulings:
        if ruling.is_about(position, result.uuid, result.event):
            row = result.row if ruling.is_stored else None
            return Result(result.uuid, result.event, ruling.word, ruling.details, row)
    return result
