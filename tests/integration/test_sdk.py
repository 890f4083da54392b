"""The main job on real input: events as the public `posthog` package writes them."""

import gzip
import json
import re
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from uuid import UUID

import msgspec
import posthog
import pytest
import requests

from leanbase_relay.sink import Sink
from tests.support.intake import RunningIntake, counts, errors

WITHIN_SECONDS = 10.0


class Listener:
    """A server that keeps the very bytes of every body, and says yes."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.path.rstrip("/") == "/batch":
                    listener.bodies.append(body)
                answer = b'{"status":"Ok"}'
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

    def __enter__(self) -> "Listener":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def events(self) -> list[bytes]:
        """The events of every batch, as they are spelled."""
        return [event for body in self.bodies for event in spelled_events(body)]


def spelled_events(body: bytes) -> Iterator[bytes]:
    text = body.decode()
    start = re.compile(r'"batch"\s*:\s*\[\s*')
    between = re.compile(r"\s*,?\s*")
    found = start.search(text)
    assert found
    at = found.end()
    while text[at] != "]":
        _, end = json.JSONDecoder().raw_decode(text, at)
        yield text[at:end].encode()
        comma = between.match(text, end)
        assert comma
        at = comma.end()


def use(client: posthog.Posthog) -> None:
    """What an app does with it, and some things that it had better not do."""
    client.capture(
        "order placed",
        distinct_id="user-1",
        properties={
            "amount": 12.50,
            "big": 2**60,
            "huge": 2**80,
            "small": 1e-12,
            "text": 'a "quoted" \\ line\nwith a tab\t, é, ☃, 😀 and \x00',
            "none": None,
            "flags": [True, False, None],
            "nested": {"a": {"b": [1, {"c": {}}]}, "": ""},
            "when": datetime(2026, 3, 1, 12, tzinfo=UTC),
            "day": date(2026, 3, 1),
            "price": Decimal("1.10"),
            "id": UUID(int=7),
            "$current_url": "https://example.org/a?b=c&d=/e",
        },
        groups={"company": "acme"},
    )
    client.capture("anonymous page view", properties={"$current_url": "https://x.org"})
    client.capture(
        "elsewhere",
        distinct_id="user-2",
        timestamp=datetime(
            2026, 3, 1, 14, 0, 0, 500_000, tzinfo=timezone(timedelta(hours=5.5))
        ),
        uuid="5b6f2e2e-8d9b-4b0e-9f4c-6a3c6b7d8e9f",
    )
    client.set(distinct_id="user-1", properties={"email": "a@example.org"})
    client.set_once(distinct_id="user-1", properties={"first_seen": "2026-03-01"})
    client.alias("anonymous-9", "user-1")
    client.group_identify("company", "acme", {"name": "Acme", "seats": 12})
    try:
        int("something went wrong")
    except ValueError as error:
        client.capture_exception(error, distinct_id="user-1")
    for number in range(200):
        client.capture("again", distinct_id=f"user-{number}", properties={"n": number})


@pytest.fixture(scope="module")
def written() -> list[bytes]:
    """The events as the SDK wrote them."""
    with Listener() as listener:
        client = posthog.Posthog(
            "phc_test", host=listener.url, gzip=True, flush_interval=0.1
        )
        use(client)
        client.shutdown()
        return listener.events()


@pytest.fixture
def relay(short_dir: Path) -> Iterator[RunningIntake]:
    with RunningIntake(short_dir) as relay:
        yield relay


def test_the_sdk_wrote_every_kind(written: list[bytes]) -> None:
    names = [json.loads(event)["event"] for event in written]

    assert len(written) == 208
    assert {
        *("order placed", "$set", "$set_once", "$create_alias", "$groupidentify"),
        *("$exception", "anonymous page view", "again"),
    } <= set(names)


def test_its_events_come_out_of_the_store_as_it_wrote_them(
    relay: RunningIntake, written: list[bytes]
) -> None:
    replies = relay.send(b"\n".join(written))

    assert (errors(replies), counts(replies)) == ({}, (208, 0))
    assert relay.backlog() == written


def test_without_what_old_versions_left_out_the_rest_stays_as_it_was(
    relay: RunningIntake, written: list[bytes]
) -> None:
    raw = dict[str, msgspec.Raw]
    lines = []
    for event in written:
        members = msgspec.json.decode(event, type=raw)
        del members["uuid"], members["timestamp"]
        lines.append(msgspec.json.encode(members))

    relay.send(b"\n".join(lines))

    for event, line in zip(relay.backlog(), lines, strict=True):
        assert event.startswith(line[:-1] + b',"uuid":"')


def test_upstream_stores_the_same_of_both(
    relay: RunningIntake, written: list[bytes]
) -> None:
    """As the SDK sent them itself, and as they come out of the relay."""
    relay.send(b"\n".join(written))

    with Sink() as direct, Sink() as relayed:
        for sink, events in ((direct, written), (relayed, relay.backlog())):
            body = b'{"api_key":"phc_test","batch":[%b]}' % b",".join(events)
            answer = requests.post(f"{sink.url}/batch/", data=body, timeout=10)
            assert answer.text == '{"status":"Ok"}'

        assert relayed.rows.keys() == direct.rows.keys()
        times = {key: row.timestamp for key, row in relayed.rows.items()}
        assert times == {key: row.timestamp for key, row in direct.rows.items()}


def test_a_lone_surrogate_as_the_sdk_writes_it_harms_no_other_event(
    relay: RunningIntake,
) -> None:
    """Upstream would answer 400 to the whole batch."""
    with Listener() as listener:
        client = posthog.Posthog("phc_test", host=listener.url, flush_interval=0.1)
        for text in ("good", "\ud83d", "also good"):
            client.capture("e", distinct_id="u", properties={"text": text})
        client.shutdown()
        events = listener.events()

    replies = relay.send(b"\n".join(events))

    assert errors(replies) == {
        2: r"a lone surrogate (\ud800 to \udfff) is not text",
    }
    assert relay.backlog() == [events[0], events[2]]
