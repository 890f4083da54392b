"""The sink and a real HTTP client; the vectors say what the service would answer."""

import gzip
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

from leanbase_relay.sink import Fault, Limits, Request, Script, Sink
from tests.support.clock import FakeClock
from tests.support.vectors import VECTORS, line_of, name_of

PATHS = {"batch": "/batch/", "single": "/i/v0/e/", "array": "/e/", "engage": "/engage/"}
FRAMES = {
    "batch": b'{"api_key":"phc_test","batch":[%s]}',
    "single": b"%s",
    "array": b"[%s]",
    "engage": b"%s",
}
TIMEOUT_SECONDS = 5.0

Reply = tuple[int, dict[str, str], bytes]


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


def connection(sink: Sink) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(
        urlsplit(sink.url).netloc, timeout=TIMEOUT_SECONDS
    )


def post(sink: Sink, path: str, body: bytes, *, encoding: str = "") -> Reply:
    headers = {"Content-Type": "application/json"}
    if encoding:
        headers["Content-Encoding"] = encoding
    with closing(connection(sink)) as client:
        client.request("POST", path, body, headers)
        reply = client.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()


def batch(*names: str, **members: object) -> bytes:
    events = [
        {"event": name, "distinct_id": "u", "uuid": f"{number:032x}"}
        for number, name in enumerate(names)
    ]
    return json.dumps({"api_key": "phc_test", "batch": events, **members}).encode()


class TestVectors:
    @pytest.mark.parametrize("vector", VECTORS, ids=name_of)
    def test_each_event_sent_alone_gets_what_the_service_would_answer(
        self, sink: Sink, vector: dict[str, Any]
    ) -> None:
        frame = FRAMES[vector["envelope"]]
        status, _, body = post(sink, PATHS[vector["envelope"]], frame % line_of(vector))

        assert status == vector["expected_upstream_status_if_sent_alone"]
        assert vector.get("expected_body_contains", "") in body.decode()
        assert len(sink.events) == (status == 200)
        for member, value in vector.get("expected_stored", {}).items():
            (row,) = sink.rows.values()
            expected = datetime.fromisoformat(value) if member == "timestamp" else value
            assert getattr(row, member) == expected

    def test_there_are_as_many_as_the_page_says(self) -> None:
        statuses = [v["expected_upstream_status_if_sent_alone"] for v in VECTORS]

        assert [statuses.count(status) for status in (200, 400, 401, 413)] == [
            *(68, 32, 4, 2)
        ]


class TestCapture:
    def test_success_is_json_and_refusal_is_text(self, sink: Sink) -> None:
        status, headers, body = post(sink, "/batch", batch("e"))
        assert (status, body) == (200, b'{"status":"Ok"}')
        assert headers["Content-Type"] == "application/json"

        status, headers, body = post(sink, "/batch", batch())
        assert (status, body) == (400, b"request holds no event")
        assert headers["Content-Type"] == "text/plain; charset=utf-8"

    def test_one_bad_event_stores_none_of_its_request(self, sink: Sink) -> None:
        status, _, _ = post(sink, "/batch/", batch("good", "", "good"))

        assert status == 400
        assert sink.events == []
        assert sink.requests[0].event_count == 3
        assert sink.requests[0].hint == "event [1]"

    def test_a_big_event_leaves_its_neighbours_alone(self) -> None:
        with Sink(limits=Limits(event_bytes=300)) as sink:
            body = batch("small", "b" * 300, "small too")
            status, _, text = post(sink, "/batch/", body)

            assert status == 413
            assert text.startswith(b"maximum event size exceeded")
            assert [e["event"] for e in sink.events] == ["small", "small too"]

    def test_a_duplicate_is_stored_over_the_first(self, sink: Sink) -> None:
        post(sink, "/batch/", batch("e"))
        post(sink, "/batch/", batch("e"))

        assert len(sink.events) == 2
        assert len(sink.rows) == 1
        assert sink.counts.duplicates == 1

    def test_the_log_has_the_bytes_that_came_and_their_sizes(self, sink: Sink) -> None:
        body = batch("e")
        packed = gzip.compress(body)
        post(sink, "/batch/?_=1772366400000", packed, encoding="gzip")

        (request,) = sink.requests
        assert request.body == body
        assert request.wire_bytes == len(packed)
        assert request.decoded_bytes == len(body)
        assert request.headers["content-encoding"] == "gzip"
        assert (request.path, request.query) == ("/batch/", {"_": "1772366400000"})
        assert (request.status, request.reason) == (200, "")

    def test_skew_is_measured_by_the_servers_clock(self) -> None:
        clock = FakeClock(wall=1_772_366_400.0)  # 2026-03-01T12:00:00Z
        event = {"event": "e", "distinct_id": "u", "timestamp": "2026-03-01T11:50:00Z"}
        body = {
            "api_key": "phc_test",
            "batch": [event],
            "sent_at": "2026-03-01T11:55:00Z",
        }
        with Sink(clock=clock, deadband_seconds=0) as sink:
            _, headers, _ = post(sink, "/batch/", json.dumps(body).encode())

            (row,) = sink.rows.values()
            assert row.timestamp.isoformat() == "2026-03-01T11:55:00+00:00"
            assert headers["Date"] == "Sun, 01 Mar 2026 12:00:00 GMT"

    def test_unknown_keys_are_401_where_keys_are_known(self) -> None:
        with Sink(known_keys=frozenset({"phc_other"})) as sink:
            status, _, text = post(sink, "/batch/", batch("e"))

            assert status == 401
            assert b"project API key" in text

    def test_performance_events_alone_are_taken_and_forgotten(self, sink: Sink) -> None:
        status, _, _ = post(sink, "/batch/", batch("$performance_event"))

        assert status == 200
        assert sink.events == []

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/batch/?data=%7B%22event%22%3A%22e%22%7D", 401),
            ("OPTIONS", "/e/", 200),
            ("PUT", "/batch/", 405),
            ("GET", "/i/v1/analytics/events", 405),
            ("OPTIONS", "/i/v1/analytics/events/", 200),
            ("POST", "/i/v1/analytics/events", 401),
            ("GET", "/flags", 404),
            ("GET", "/_readiness", 200),
            ("GET", "/", 200),
            ("POST", "/batch/", 400),
        ],
    )
    def test_routes(self, sink: Sink, method: str, path: str, status: int) -> None:
        with closing(connection(sink)) as client:
            client.request(method, path)

            assert client.getresponse().status == status

    def test_a_beacon_gets_no_content(self, sink: Sink) -> None:
        status, _, body = post(sink, "/e/?beacon=1", batch("e"))

        assert (status, body) == (204, b"")

    def test_one_connection_serves_request_after_request(self, sink: Sink) -> None:
        with closing(connection(sink)) as client:
            for _ in range(3):
                client.request("POST", "/batch/", batch("e"))
                assert client.getresponse().read() == b'{"status":"Ok"}'

        assert len(sink.requests) == 3

    def test_a_chunked_body_is_taken(self, sink: Sink) -> None:
        with closing(connection(sink)) as client:
            body = iter([batch("e")[:20], batch("e")[20:]])
            client.request("POST", "/batch/", body, encode_chunked=True)

            assert client.getresponse().status == 200

    def test_a_client_that_hangs_up_half_way_stores_nothing(self, sink: Sink) -> None:
        with closing(connection(sink)) as client:
            client.putrequest("POST", "/batch/")
            client.putheader("Content-Length", "1000")
            client.endheaders(b"{")

        assert sink.wait_for_requests(1, within_seconds=TIMEOUT_SECONDS)
        assert sink.requests[0].status is None
        assert sink.events == []


class TestLife:
    @pytest.mark.parametrize("fault", [Fault.hang(600), Fault.drip(600), Fault()])
    def test_stop_ends_every_wait_and_leaves_no_thread(self, fault: Fault) -> None:
        before = threading.active_count()
        sink = Sink(script=Script().then(fault))
        sink.start()
        with closing(connection(sink)) as client:
            client.request("POST", "/batch/", batch("e"))
            assert sink.wait_for_requests(1, within_seconds=TIMEOUT_SECONDS)

            sink.stop()

        assert threading.active_count() == before

    def test_it_comes_back_on_the_same_port_with_its_log(self) -> None:
        sink = Sink()
        sink.start()
        url = sink.url
        post(sink, "/batch/", batch("e"))
        sink.stop()
        with pytest.raises(ConnectionRefusedError):
            post(sink, "/batch/", batch("e"))

        with sink:
            assert sink.url == url
            assert post(sink, "/batch/", batch("e"))[0] == 200
            assert len(sink.events) == 2

    def test_waiting_for_events_ends_with_the_last_of_them(self, sink: Sink) -> None:
        assert not sink.wait_for(1, within_seconds=0)
        sender = threading.Thread(target=post, args=(sink, "/e/", batch("a", "b")))
        sender.start()

        assert sink.wait_for(2, within_seconds=TIMEOUT_SECONDS)
        sender.join()

    def test_each_request_is_told_in_order_before_its_answer(self) -> None:
        told: list[Request] = []
        with Sink(on_request=told.append) as sink:
            post(sink, "/batch/", batch("a"))
            assert [request.status for request in told] == [200]
            post(sink, "/batch/", b"x")

            assert told == sink.requests

    def test_counting_keeps_nothing_else(self) -> None:
        with Sink(keep="counts") as sink:
            post(sink, "/batch/", batch("a", "b"))
            post(sink, "/batch/", batch("a", "b"))
            post(sink, "/batch/", b"x")

            assert (sink.requests, sink.events, sink.rows) == ([], [], {})
            counts = sink.counts
            assert (counts.requests, counts.refused_requests) == (3, 1)
            assert (counts.events, counts.rows, counts.duplicates) == (4, 2, 2)
