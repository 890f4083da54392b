"""Protocol v1 over real sockets: results for each event, and refusals in JSON."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.http import RunningApi, event, spelled
from tests.support.intake import FULL
from tests.support.keys import KEY, SHOP_KEY

PATH = "/i/v1/analytics/events"
REQUEST_ID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
HEADERS = {
    "Authorization": f"Bearer {KEY}",
    "Content-Type": "application/json",
    "User-Agent": "posthog-python/7.0.0",
    "PostHog-Sdk-Info": "posthog-python/7.0.0",
    "PostHog-Attempt": "1",
    "PostHog-Request-Id": REQUEST_ID,
    "PostHog-Request-Timestamp": "2026-03-01T12:00:00.5+00:00",
}
LIBRARY = {"$lib": "posthog-python", "$lib_version": "7.0.0"}


def batch(*events: Any, **members: Any) -> dict[str, Any]:
    return {"created_at": "2026-03-01T12:00:00Z", "batch": list(events)} | members


@pytest.fixture
def relay(short_dir: Path) -> Iterator[RunningApi]:
    with RunningApi(short_dir) as relay:
        yield relay


def send(
    relay: RunningApi, body: Any, headers: dict[str, str] = HEADERS
) -> requests.Response:
    data = body if isinstance(body, bytes) else spelled(body)
    return requests.post(relay.url + PATH, data=data, headers=headers, timeout=10)


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in HEADERS.items() if key != name}


def results(answer: requests.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["PostHog-Request-Id"] == REQUEST_ID
    found: dict[str, Any] = answer.json()["results"]
    return found


def stored(relay: RunningApi, project: str = "default") -> list[dict[str, Any]]:
    return [json.loads(one) for one in relay.backlog(project)]


class TestResults:
    def test_each_event_has_one_by_its_uuid(self, relay: RunningApi) -> None:
        uuids = [str(event(number)["uuid"]) for number in (1, 2)]

        answer = send(relay, batch(event(1), event(2)))

        assert results(answer) == {uuid: {"result": "ok"} for uuid in uuids}
        assert len(stored(relay)) == 2

    def test_uuids_are_told_as_upstream_tells_them(self, relay: RunningApi) -> None:
        uuid = str(event(1)["uuid"])
        spelling = uuid.replace("-", "").upper()

        assert results(send(relay, batch(event(1, uuid=spelling)))) == {
            uuid: {"result": "ok"}
        }

    @pytest.mark.parametrize(
        ("bad", "word"),
        [
            ({"event": ""}, "missing_event_name"),
            ({"distinct_id": " "}, "missing_distinct_id"),
            ({"properties": 7}, "malformed_event_properties"),
            ({"properties": {"text": "x" * (1 << 20)}}, "event_too_big"),
            ({"event": 7}, "rejected"),
            ({"distinct_id": None}, "rejected"),
        ],
    )
    def test_a_bad_one_is_dropped_and_kept_and_the_others_are_stored(
        self, relay: RunningApi, bad: dict[str, Any], word: str
    ) -> None:
        good, other = event(1), event(2, **bad)

        found = results(send(relay, batch(good, other)))

        assert found == {
            good["uuid"]: {"result": "ok"},
            other["uuid"]: {"result": "drop", "details": word},
        }
        assert [one["uuid"] for one in stored(relay)] == [good["uuid"]]
        (letter,) = relay.letters()
        assert letter.origin.endswith(" event=2")

    def test_one_that_is_no_json_harms_no_other(self, relay: RunningApi) -> None:
        good = spelled(event(1))
        body = b'{"created_at":"2026-03-01T12:00:00Z","batch":[%b,{"a":NaN},7]}' % good

        assert results(send(relay, body)) == {event(1)["uuid"]: {"result": "ok"}}
        assert [letter.line for letter in relay.letters()][1:] == [b"7"]

    def test_where_upstream_drops_them_alone_it_is_200_even_if_all_are_bad(
        self, relay: RunningApi
    ) -> None:
        found = results(send(relay, batch(event(1, event=""))))

        assert [one["result"] for one in found.values()] == ["drop"]

    def test_where_upstream_refuses_the_batch_it_is_400_if_all_are_bad(
        self, relay: RunningApi
    ) -> None:
        answer = send(relay, batch(event(1, uuid="no"), event(2, event=5)))

        assert answer.status_code == 400
        assert answer.json()["error_description"].endswith("uuid: not a UUID")
        assert answer.headers["PostHog-Request-Id"] == REQUEST_ID
        assert len(relay.letters()) == 2

    def test_a_uuid_that_comes_twice_is_stored_twice(self, relay: RunningApi) -> None:
        """The same identity: upstream keeps one."""
        assert len(results(send(relay, batch(event(1), event(1))))) == 1
        assert len(stored(relay)) == 2


class TestTranscribing:
    def test_the_library_of_the_headers_is_put_into_the_properties(
        self, relay: RunningApi
    ) -> None:
        """SDKs leave it out there, since upstream takes it from the header."""
        bare = event(3, properties=None)

        send(relay, batch(event(1), event(2, properties={}), bare))

        assert [one["properties"] for one in stored(relay)] == [
            {"n": 1, **LIBRARY},
            LIBRARY,
            LIBRARY,
        ]

    def test_the_header_wins_over_the_apps_own(self, relay: RunningApi) -> None:
        own = event(1, properties={"$lib": "mine", "n": 1.5, "$lib_version": "0"})

        send(relay, batch(own))

        assert stored(relay)[0]["properties"] == {"n": 1.5, **LIBRARY}

    @pytest.mark.parametrize("info", ["x", "/1", "x/", "x" * 200 + "/1"])
    def test_a_header_that_says_no_version_adds_nothing(
        self, relay: RunningApi, info: str
    ) -> None:
        assert results(
            send(relay, batch(event(1)), {**HEADERS, "PostHog-Sdk-Info": info})
        )
        assert stored(relay) == [event(1)]

    def test_what_stands_beside_the_properties_goes_into_them(
        self, relay: RunningApi
    ) -> None:
        options = {
            "process_person_profile": False,
            "cookieless_mode": None,
            "disable_skew_correction": True,
            "product_tour_id": "t",
        }

        send(relay, batch(event(1, session_id="s", window_id="w", options=options)))

        assert stored(relay) == [
            event(
                1,
                properties={
                    "n": 1,
                    **LIBRARY,
                    "$session_id": "s",
                    "$window_id": "w",
                    "$process_person_profile": False,
                    "$ignore_sent_at": True,
                    "$product_tour_id": "t",
                },
            )
        ]

    def test_an_option_given_as_text_is_what_was_meant(self, relay: RunningApi) -> None:
        send(relay, batch(event(1, options={"process_person_profile": "false"})))

        assert stored(relay)[0]["properties"]["$process_person_profile"] is False

    def test_what_v1_does_not_know_is_left_out(self, relay: RunningApi) -> None:
        """Protocol v0, by which the event may travel on, would know it."""
        unknown = {"$set": {"a": 1}, "project": "shop", "offset": 5, "options": 7}

        assert results(send(relay, batch(event(1, **unknown))))
        assert stored(relay) == [event(1, properties={"n": 1, **LIBRARY})]

    def test_numbers_keep_their_spelling(self, relay: RunningApi) -> None:
        body = spelled(batch(event(1))).replace(b'{"n": 1}', b'{ "n" : 1.10 }')

        send(relay, body)

        assert b'{"n" : 1.10,"$lib":"posthog-python"' in relay.backlog()[0]


class TestRequests:
    @pytest.mark.parametrize(
        ("encoding", "pack"),
        [
            ("gzip", gzip.compress),
            ("GZIP", gzip.compress),
            ("deflate", zlib.compress),
            ("deflate", lambda plain: zlib.compress(plain)[2:-4]),
        ],
    )
    def test_bodies_may_be_packed(
        self, relay: RunningApi, encoding: str, pack: Any
    ) -> None:
        headers = {**HEADERS, "Content-Encoding": encoding}

        assert results(send(relay, pack(spelled(batch(event(1)))), headers))

    def test_the_key_leads_to_its_project(self, relay: RunningApi) -> None:
        headers = {**HEADERS, "Authorization": f"bearer  {SHOP_KEY}"}

        assert results(send(relay, batch(event(1)), headers))
        assert len(stored(relay, "shop")) == 1

    def test_an_import_stays_one(self, relay: RunningApi) -> None:
        send(relay, batch(event(1), historical_migration=True))

        assert relay.historical() == [True]

    @pytest.mark.parametrize(
        ("headers", "status", "tag"),
        [
            (without("Authorization"), 401, "missing_authorization"),
            ({**HEADERS, "Authorization": "Bearer phc_x"}, 401, "invalid_api_token"),
            ({**HEADERS, "Authorization": KEY}, 400, "invalid_header_value"),
            ({**HEADERS, "Authorization": "Bearer "}, 400, "invalid_header_value"),
            (without("PostHog-Attempt"), 400, "missing_required_headers"),
            (without("Content-Type"), 400, "missing_required_headers"),
            (
                {**HEADERS, "Content-Type": "text/plain"},
                415,
                "unsupported_content_type",
            ),
            ({**HEADERS, "Content-Encoding": "br"}, 415, "unsupported_encoding"),
            ({**HEADERS, "PostHog-Attempt": "0"}, 400, "invalid_header_value"),
            ({**HEADERS, "PostHog-Attempt": "x"}, 400, "invalid_header_value"),
            ({**HEADERS, "PostHog-Request-Id": "x"}, 400, "invalid_header_value"),
            (
                {**HEADERS, "PostHog-Request-Timestamp": "now"},
                400,
                "invalid_header_value",
            ),
        ],
    )
    def test_headers_must_be_right(
        self, relay: RunningApi, headers: dict[str, str], status: int, tag: str
    ) -> None:
        answer = send(relay, batch(event(1)), headers)

        assert (answer.status_code, answer.json()["error"]) == (status, tag)
        assert answer.json().keys() == {"error", "error_description", "error_uri"}
        assert "phc_x" not in answer.text
        assert relay.backlog() == []

    @pytest.mark.parametrize(
        ("body", "tag"),
        [
            (b"", "empty_body"),
            (b"{", "request_parsing_error"),
            (b"[]", "request_parsing_error"),
            (b"{}", "request_parsing_error"),
            (batch(event(1), created_at=7), "request_parsing_error"),
            (batch(event(1), created_at="yesterday"), "invalid_batch"),
            (batch(event(1), created_at="2026-02-30T00:00:00Z"), "invalid_batch"),
            (batch(event(1), historical_migration=None), "request_parsing_error"),
            (batch(), "empty_batch"),
            ({"batch": [event(1)]}, "request_parsing_error"),
        ],
    )
    def test_the_body_must_be_a_batch(
        self, relay: RunningApi, body: Any, tag: str
    ) -> None:
        answer = send(relay, body)

        assert (answer.status_code, answer.json()["error"]) == (400, tag)
        assert (relay.backlog(), relay.letters()) == ([], [])

    def test_what_is_not_packed_as_it_says_is_400(self, relay: RunningApi) -> None:
        answer = send(relay, b"hello", {**HEADERS, "Content-Encoding": "deflate"})

        assert answer.status_code == 400
        assert answer.json()["error"] == "request_decoding_error"

    def test_a_body_above_10_mib_is_413(self, relay: RunningApi) -> None:
        answer = send(relay, bytes((10 << 20) + 1))

        assert (answer.status_code, answer.json()["error"]) == (
            413,
            "payload_too_large",
        )

    def test_get_is_405(self, relay: RunningApi) -> None:
        answer = requests.get(relay.url + PATH, timeout=10)

        assert answer.status_code == 405
        assert answer.headers["Allow"] == "POST, OPTIONS"

    def test_a_full_store_is_503(self, short_dir: Path) -> None:
        with RunningApi(short_dir, limits=FULL) as relay:
            answer = send(relay, batch(event(1)))

        assert answer.status_code == 503
        assert answer.json()["error"] == "service_unavailable"
        assert answer.headers["Retry-After"] == "5"
        assert answer.headers["PostHog-Request-Id"] == REQUEST_ID
