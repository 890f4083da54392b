"""Protocol v1 over a real connection, each rule by the answer that it earns."""

import gzip
import http.client
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest

from leanbase_relay.sink import Limits, Row, Sink
from tests.support.clock import FakeClock
from tests.support.vectors import VECTORS, Vector, line_of, name_of

PATH = "/i/v1/analytics/events"
NOW = 1_772_366_400.0  # 2026-03-01T12:00:00Z
STAMP = "2026-03-01T12:00:00Z"
REQUEST_ID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
HEADERS = {
    "Authorization": "Bearer phc_test",
    "Content-Type": "application/json",
    "User-Agent": "tests/1.0",
    "PostHog-Sdk-Info": "tests/1.0",
    "PostHog-Attempt": "1",
    "PostHog-Request-Id": REQUEST_ID,
    "PostHog-Request-Timestamp": STAMP,
}
MEMBERS_COPIED = [
    vector
    for vector in VECTORS
    if "v1_if_members_copied_unchanged" in vector and vector["envelope"] == "batch"
]


class Reply:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = dict(response.getheaders())
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def results(self) -> dict[str, dict[str, str]]:
        assert self.status == 200, self.body
        results: dict[str, dict[str, str]] = self.json["results"]
        return results

    @property
    def words(self) -> list[str]:
        return [result["result"] for result in self.results.values()]


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink(clock=FakeClock(wall=NOW)) as sink:
        yield sink


def send(sink: Sink, body: bytes, *, path: str = PATH, **changed: str | None) -> Reply:
    """Post with all headers; those named are changed, or left out when None."""
    return send_with(sink, body, changed, path=path)


def send_with(
    sink: Sink, body: bytes, changed: Mapping[str, str | None], *, path: str = PATH
) -> Reply:
    headers = {**HEADERS}
    for name, value in changed.items():
        (known,) = (h for h in [*HEADERS, "Content-Encoding"] if _is(h, name))
        headers.pop(known, None)
        if value is not None:
            headers[known] = value
    with closing(
        http.client.HTTPConnection(urlsplit(sink.url).netloc, timeout=5)
    ) as client:
        client.putrequest("POST", path)
        for name, value in headers.items():
            client.putheader(name, value)
        client.putheader("Content-Length", str(len(body)))
        client.endheaders(body)
        return Reply(client.getresponse())


def _is(header: str, name: str) -> bool:
    return header.lower().replace("posthog-", "").replace("-", "_") == name


def event(number: int = 1, **members: object) -> dict[str, object]:
    usual = {
        "event": "order placed",
        "uuid": uuid(number),
        "distinct_id": "user-1",
        "timestamp": STAMP,
        "properties": {},
    }
    return {**usual, **members}


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


def batch(*events: object, **members: object) -> bytes:
    return json.dumps({"created_at": STAMP, "batch": events, **members}).encode()


def only_row(sink: Sink) -> Row:
    (row,) = sink.rows.values()
    return row


class TestVectors:
    @pytest.mark.parametrize("vector", MEMBERS_COPIED, ids=name_of)
    def test_members_copied_unchanged_get_what_the_vector_says(
        self, sink: Sink, vector: Vector
    ) -> None:
        expected = vector["v1_if_members_copied_unchanged"]
        body = b'{"created_at":"%s","batch":[%s]}' % (STAMP.encode(), line_of(vector))

        reply = send(sink, body)

        assert reply.status == expected["request_status"], reply.body
        if reply.status == 200:
            (result,) = reply.results.values()
            assert result["result"] == expected["result"]
            assert result.get("details") == expected.get("details")
            assert len(sink.events) == (expected["result"] == "ok")
        else:
            assert reply.json.keys() == {"error", "error_description", "error_uri"}
            assert sink.events == []

    def test_most_vectors_say_something_about_v1(self) -> None:
        assert len(MEMBERS_COPIED) > 80


class TestHeaders:
    @pytest.mark.parametrize(
        ("changed", "status", "tag"),
        [
            ({"authorization": None}, 401, "missing_authorization"),
            ({"authorization": "Bearer phx_mine"}, 401, "invalid_api_token"),
            ({"authorization": "Bearer  "}, 401, "invalid_api_token"),
            ({"authorization": "Basic phc_test"}, 400, "invalid_header_value"),
            ({"user_agent": None}, 400, "missing_required_headers"),
            ({"content_type": None}, 400, "missing_required_headers"),
            ({"sdk_info": None}, 400, "missing_required_headers"),
            ({"attempt": None}, 400, "missing_required_headers"),
            ({"request_id": None}, 400, "missing_required_headers"),
            ({"request_timestamp": None}, 400, "missing_required_headers"),
            ({"content_type": "text/plain"}, 415, "unsupported_content_type"),
            ({"content_encoding": "lz4"}, 415, "unsupported_encoding"),
            ({"content_encoding": "br"}, 415, "unsupported_encoding"),
            ({"content_encoding": "zstd"}, 415, "unsupported_encoding"),
            ({"attempt": "0"}, 400, "invalid_header_value"),
            ({"attempt": "-1"}, 400, "invalid_header_value"),
            ({"attempt": "4294967296"}, 400, "invalid_header_value"),
            ({"attempt": "one"}, 400, "invalid_header_value"),
            ({"request_id": "42"}, 400, "invalid_header_value"),
            ({"request_timestamp": "now"}, 400, "invalid_header_value"),
            ({"request_timestamp": "2026-03-01T12:00:00"}, 400, "invalid_header_value"),
            ({"authorization": None, "attempt": None}, 401, "missing_authorization"),
        ],
    )
    def test_what_is_missing_or_wrong_is_named(
        self, sink: Sink, changed: Mapping[str, str | None], status: int, tag: str
    ) -> None:
        reply = send_with(sink, batch(event()), changed)

        assert (reply.status, reply.json["error"]) == (status, tag)
        assert reply.headers["Content-Type"] == "application/json"
        assert sink.events == []

    def test_all_missing_headers_are_named_at_once(self, sink: Sink) -> None:
        reply = send(sink, b"", attempt=None, sdk_info=None)

        said = reply.json["error_description"]
        assert said == (
            "request is missing required headers: "
            '["PostHog-Sdk-Info", "PostHog-Attempt"]'
        )

    @pytest.mark.parametrize(
        "changed",
        [
            {"authorization": "bEaReR   phc_test "},
            {"content_type": "Application/JSON; charset=utf-8"},
            {"attempt": "17"},
            {"request_timestamp": "2026-03-01T14:00:00.5+02:00"},
        ],
    )
    def test_what_is_merely_unusual_is_taken(
        self, sink: Sink, changed: Mapping[str, str | None]
    ) -> None:
        assert send_with(sink, batch(event()), changed).words == ["ok"]
        assert only_row(sink).api_key == "phc_test"

    def test_a_key_that_no_project_has_is_401_where_keys_are_known(self) -> None:
        with Sink(known_keys=frozenset({"phc_other"})) as sink:
            reply = send(sink, batch(event()))

            assert (reply.status, reply.json["error"]) == (401, "invalid_api_token")

    @pytest.mark.parametrize("body", [batch(event()), b"", b"x"])
    def test_the_request_id_is_echoed_whatever_becomes_of_the_request(
        self, sink: Sink, body: bytes
    ) -> None:
        reply = send(sink, body)

        assert reply.headers["PostHog-Request-Id"] == REQUEST_ID


class TestBody:
    @pytest.mark.parametrize(
        ("encoding", "packed"),
        [
            ("gzip", gzip.compress(batch(event()))),
            ("GZIP", gzip.compress(batch(event()))),
            ("deflate", zlib.compress(batch(event()))),
            ("deflate", zlib.compress(batch(event()), wbits=-15)),
        ],
    )
    def test_packed_bodies_are_opened(
        self, sink: Sink, encoding: str, packed: bytes
    ) -> None:
        assert send(sink, packed, content_encoding=encoding).words == ["ok"]

    def test_what_is_not_packed_as_announced_is_400(self, sink: Sink) -> None:
        for packed in (batch(event()), gzip.compress(batch(event()))[:-9]):
            reply = send(sink, packed, content_encoding="gzip")

            assert reply.status == 400
            assert reply.json["error"] == "request_decoding_error"

    def test_gzip_without_its_header_is_not_guessed(self, sink: Sink) -> None:
        assert send(sink, gzip.compress(batch(event()))).status == 400

    def test_too_much_is_413_before_and_after_unpacking(self) -> None:
        limits = Limits(v1_wire_bytes=1000, v1_decompressed_bytes=2000)
        with Sink(limits=limits) as sink:
            on_the_wire = send(sink, bytes(1001))
            unpacked = send(sink, gzip.compress(bytes(2001)), content_encoding="gzip")
            elsewhere = send(sink, bytes(1001), path="/batch/")

        for reply in (on_the_wire, unpacked):
            assert reply.status == 413
            assert reply.json["error"] == "payload_too_large"
            assert reply.json["error_description"].startswith("payload too large: ")
        assert elsewhere.status == 400

    def test_a_wrong_key_comes_before_a_big_body(self) -> None:
        with Sink(limits=Limits(v1_wire_bytes=10)) as sink:
            assert send(sink, bytes(11), authorization=None).status == 401

    @pytest.mark.parametrize(
        ("body", "tag", "hint"),
        [
            (b"", "empty_body", ""),
            (b"{", "request_parsing_error", ""),
            (b'{"\xff', "request_parsing_error", ""),
            (b"[]", "request_parsing_error", "not an object"),
            (b'{"batch":[]}', "request_parsing_error", "created_at: missing"),
            (batch(), "empty_batch", ""),
            (batch(event(), created_at="now"), "invalid_batch", ""),
            (batch(event(), created_at=1), "request_parsing_error", "created_at: not"),
            (
                batch(event(), historical_migration=None),
                "request_parsing_error",
                "historical_migration: not a boolean",
            ),
            (batch(event(uuid="")), "missing_event_uuid", "batch[0]"),
            (batch(event(), event(uuid="x")), "invalid_event_uuid", "batch[1]"),
            (batch(event(), event()), "duplicate_event_uuid", "batch[1]"),
            (
                batch(event(uuid=uuid(10)), event(uuid=uuid(10).upper())),
                "duplicate_event_uuid",
                "batch[1]",
            ),
            (batch([]), "request_parsing_error", "batch[0]: not an object"),
            (
                batch(event(distinct_id=5)),
                "request_parsing_error",
                "batch[0]: distinct_id: not a string",
            ),
            (
                batch({"event": "e"}),
                "request_parsing_error",
                "batch[0]: distinct_id: missing",
            ),
            (
                batch(event(session_id=1)),
                "request_parsing_error",
                "batch[0]: session_id: not a string",
            ),
            (
                batch(event(options=[])),
                "request_parsing_error",
                "batch[0]: options: not an object",
            ),
            (
                batch(event(options={"process_person_profile": "false"})),
                "request_parsing_error",
                "batch[0]: options.process_person_profile: not a boolean",
            ),
            (
                batch(event()).replace(b'"uuid"', b'"event": "e", "uuid"'),
                "request_parsing_error",
                "batch[0]: event: given twice",
            ),
        ],
    )
    def test_these_fail_the_whole_request(
        self, sink: Sink, body: bytes, tag: str, hint: str
    ) -> None:
        reply = send(sink, body)

        assert reply.status == 400
        assert reply.json["error"] == tag
        assert sink.requests[0].hint.startswith(hint)
        assert hint not in reply.json["error_description"] or not hint
        assert sink.events == []

    def test_events_that_the_sink_is_to_refuse_fail_the_whole_request(self) -> None:
        with Sink(refuses=lambda event: event["event"] == "bad") as sink:
            reply = send(sink, batch(event(1), event(2, event="bad")))
            assert reply.status == 400
            assert send(sink, batch(event(1))).words == ["ok"]
