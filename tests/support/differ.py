"""The same request to the sink itself, and to the relay and from there to the sink."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import requests

from leanbase_relay.sink import Row, Sink
from tests.support.clock import FakeClock
from tests.support.http import NOTHING, RunningApi
from tests.support.intake import PATIENCE_SECONDS
from tests.support.keys import KEY


class Ends(NamedTuple):
    """What a client heard, and what came to be stored upstream in the end."""

    status: int
    rows: tuple[Row, ...]


class Differ:
    """Sends requests both ways; sink and relay have one clock."""

    def __init__(self, sink: Sink, relay: RunningApi) -> None:
        self._sink = sink
        self._relay = relay
        self._forwarded = 0

    def direct(
        self, path: str, body: bytes, headers: Mapping[str, str] = NOTHING
    ) -> Ends:
        answer = _posted(self._sink.url + path, body, headers)
        return Ends(answer.status_code, self._sink.requests[-1].rows)

    def relayed(
        self, path: str, body: bytes, headers: Mapping[str, str] = NOTHING
    ) -> Ends:
        answer = _posted(self._relay.url + path, body, headers)
        return Ends(answer.status_code, self.forwarded())

    def forwarded(self) -> tuple[Row, ...]:
        """What the sink stores of the events that are new, sent as lanes send them."""
        backlog = self._relay.backlog()
        new, self._forwarded = backlog[self._forwarded :], len(backlog)
        if not new:
            return ()
        now = datetime.fromtimestamp(self._relay.clock.wall(), UTC).isoformat()
        body = b'{"api_key":"%b","sent_at":"%b","batch":[%b]}' % (
            KEY.encode(),
            now.encode(),
            b",".join(new),
        )
        answer = _posted(f"{self._sink.url}/batch/", body, NOTHING)
        assert answer.status_code == 200, (answer.text, new)
        return self._sink.requests[-1].rows


@contextmanager
def differing(*, wall: float) -> Iterator[Differ]:
    """Both of them, at a time that stands still."""
    with (
        TemporaryDirectory(prefix="lb-") as directory,
        Sink(clock=FakeClock(wall=wall), known_keys=frozenset({KEY})) as sink,
        RunningApi(Path(directory), clock=FakeClock(wall=wall)) as relay,
    ):
        # A large body, so that the thread for such lives as long as the relay does.
        relay.post("/batch/", b" " * (1 << 17))
        yield Differ(sink, relay)


def told(row: Row, *, with_uuid: bool = True) -> dict[str, Any]:
    """What is to be the same, whichever way an event took."""
    return {
        "event": row.event,
        "distinct_id": row.distinct_id,
        "uuid": row.uuid if with_uuid else None,
        "timestamp": row.timestamp,
        "properties": row.properties,
    }


def _posted(url: str, body: bytes, headers: Mapping[str, str]) -> requests.Response:
    return requests.post(
        url,
        data=body,
        headers={"Content-Type": "application/json", **headers},
        timeout=PATIENCE_SECONDS,
    )
