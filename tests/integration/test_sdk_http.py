"""The public `posthog` package, unmodified, pointed at the relay by its host alone."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import posthog
import pytest

from leanbase_relay.clock import SystemClock
from tests.integration.test_sdk import use
from tests.support.differ import differing, told
from tests.support.http import RunningApi
from tests.support.keys import KEY

EVENTS = 208
NAMES = {
    *("order placed", "anonymous page view", "elsewhere", "$set", "$set_once"),
    *("$create_alias", "$groupidentify", "$exception", "again"),
}
SETTINGS: list[dict[str, Any]] = [
    {"capture_mode": "v0"},
    {"capture_mode": "v0", "gzip": True},
    {"capture_mode": "v1"},
    {"capture_mode": "v1", "capture_compression": "gzip"},
    {"capture_mode": "v1", "capture_compression": "deflate"},
]


class Recorded(NamedTuple):
    """A request as the SDK sent it."""

    path: str
    headers: dict[str, str]
    body: bytes


class Recorder:
    """A server that keeps every request, and says yes in either protocol."""

    def __init__(self) -> None:
        self.requests: list[Recorded] = []
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                recorder.requests.append(
                    Recorded(self.path, dict(self.headers.items()), body)
                )
                answer = b'{"status":"Ok","results":{}}'
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> "Recorder":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def named(settings: dict[str, Any]) -> str:
    return " ".join(map(str, settings.values()))


def client(url: str, **settings: Any) -> posthog.Posthog:
    return posthog.Posthog(KEY, host=url, flush_interval=0.1, **settings)


@pytest.fixture
def relay(short_dir: Path) -> Iterator[RunningApi]:
    with RunningApi(short_dir) as relay:
        yield relay


@pytest.mark.parametrize("settings", SETTINGS, ids=named)
def test_everything_that_an_app_does_is_stored_when_it_shuts_down(
    relay: RunningApi, settings: dict[str, Any]
) -> None:
    failed: list[Exception] = []
    sdk = client(relay.url, on_error=lambda error, _: failed.append(error), **settings)
    use(sdk)
    sdk.shutdown()

    stored = [json.loads(event) for event in relay.backlog()]
    assert failed == []
    assert relay.letters() == []
    assert len(stored) == EVENTS
    assert {event["event"] for event in stored} == NAMES
    assert {event["properties"]["$lib"] for event in stored} == {"posthog-python"}


@pytest.mark.parametrize("settings", SETTINGS, ids=named)
def test_upstream_comes_to_have_what_it_would_have_without_the_relay(
    settings: dict[str, Any],
) -> None:
    with Recorder() as recorder:
        sdk = client(recorder.url, **settings)
        use(sdk)
        sdk.shutdown()
    sent = [
        one for one in recorder.requests if "events" in one.path or "batch" in one.path
    ]

    with differing(wall=SystemClock().wall()) as differ:
        rows = 0
        for one in sent:
            headers = {
                name: value
                for name, value in one.headers.items()
                if name not in ("Host", "Content-Length", "Connection")
            }
            direct = differ.direct(one.path, one.body, headers)
            relayed = differ.relayed(one.path, one.body, headers)

            assert (relayed.status, direct.status) == (200, 200)
            assert [told(row) for row in relayed.rows] == [
                told(row) for row in direct.rows
            ]
            rows += len(relayed.rows)

    assert rows == EVENTS


def test_a_lone_surrogate_as_the_sdk_writes_it_harms_no_neighbour(
    relay: RunningApi,
) -> None:
    """Upstream answers 400, and the SDK drops the batch."""
    failed: list[Exception] = []
    sdk = client(relay.url, on_error=lambda error, _: failed.append(error))
    for value in (1.5, "\ud83d", 2.5):
        sdk.capture("e", distinct_id="u", properties={"value": value})
    sdk.shutdown()

    values = [json.loads(event)["properties"]["value"] for event in relay.backlog()]
    assert failed == []
    assert values == [1.5, 2.5]
    assert [letter.reason for letter in relay.letters()] == [
        r"a lone surrogate (\ud800 to \udfff) is not text",
    ]


def test_a_wrong_key_is_told_to_the_app(relay: RunningApi) -> None:
    failed: list[Exception] = []
    sdk = posthog.Posthog(
        "phc_wrong",
        host=relay.url,
        flush_interval=0.1,
        on_error=lambda error, _: failed.append(error),
    )
    sdk.capture("e", distinct_id="u")
    sdk.shutdown()

    (error,) = failed
    assert "401" in str(error)


def test_an_import_stays_one(relay: RunningApi) -> None:
    for mode in ("v0", "v1"):
        sdk = client(relay.url, historical_migration=True, capture_mode=mode)
        sdk.capture("e", distinct_id="u")
        sdk.shutdown()

    assert relay.historical() == [True, True]
