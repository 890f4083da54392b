"""The capture API over real sockets: what is stored, what is answered, and when."""

import base64
import gzip
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import requests

from leanbase_relay.store.totals import Totals
from tests.support.http import (
    OK,
    PACKED,
    RunningApi,
    batch,
    event,
    request,
    spelled,
)
from tests.support.intake import FULL, PATIENCE_SECONDS
from tests.support.keys import KEY, SHOP_KEY
from tests.support.lz64 import compressed

PATHS = ["/batch", "/i/v0/e", "/e", "/capture", "/track", "/engage"]
BAD = {"event": "e"}


@pytest.fixture
def relay(short_dir: Path) -> Iterator[RunningApi]:
    with RunningApi(short_dir) as relay:
        yield relay


class TestThePromise:
    def test_200_is_not_said_before_the_commit(self, relay: RunningApi) -> None:
        relay.hold()
        with relay.wire() as client:
            client.send(request(spelled(batch(event(1)))))
            relay.await_held()

            assert client.hears_nothing()
            assert relay.backlog() == []
            relay.let_go()
            assert client.hear()[:2] == OK
            assert relay.backlog() == [spelled(event(1))]

    def test_a_commit_that_fails_is_503_and_nothing_is_kept(
        self, relay: RunningApi
    ) -> None:
        relay.store.error = relay.store.a_full_disk()

        answer = relay.answer("/batch/", batch(event(1), BAD))

        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "5"
        assert "store unavailable" in answer.text
        relay.store.error = None
        assert (relay.backlog(), relay.letters()) == ([], [])
        assert relay.post("/batch/", batch(event(1))) == OK

    def test_a_full_store_is_503_and_the_bad_ones_are_not_kept_either(
        self, short_dir: Path
    ) -> None:
        """The SDK sends all of them again, and again."""
        with RunningApi(short_dir, limits=FULL) as relay:
            for _ in range(2):
                relay.answer("/batch/", batch(event(1), BAD))
            answer = relay.answer("/batch/", batch(event(1), BAD))

            assert answer.status_code == 503
            assert answer.headers["Retry-After"] == "5"
            assert answer.text.startswith("store full; ")
            assert relay.letters() == []
            assert relay.totals() == Totals()

    def test_the_bytes_of_an_event_stay_as_they_came(self, relay: RunningApi) -> None:
        one = (
            b'{ "event":"e" ,"distinct_id":"u","uuid":"01890a5d-ac96-774b-bcce-'
            b'b302099a8057","timestamp":"2026-03-01T12:00:00Z","properties":{"p":1.10,'
            b'"n":1E2,"u":"\\u00e9\xc3\xa9"},"groups":{"a":"b"} }'
        )

        assert (
            relay.post("/batch/", b'{"api_key":"phc_test","batch":[ %b ]}' % one) == OK
        )
        assert relay.backlog() == [one]

    def test_an_event_on_several_lines_is_one_event(self, relay: RunningApi) -> None:
        body = json.dumps(batch(event(1), event(2)), indent=2).replace("\n", "\r\n")

        assert relay.post("/batch/", body.encode()) == OK
        assert [json.loads(one) for one in relay.backlog()] == [event(1), event(2)]


class TestOneBadAmongGood:
    def test_the_good_ones_are_stored_and_the_bad_one_is_kept(
        self, relay: RunningApi
    ) -> None:
        body = batch(event(1), event(2, uuid="no"), event(3))

        assert relay.post("/batch/", body) == OK
        assert relay.backlog() == [spelled(event(1)), spelled(event(3))]
        (letter,) = relay.letters()
        assert letter.reason == "uuid: not a UUID"
        assert letter.origin.startswith("http 127.0.0.1:")
        assert letter.origin.endswith(" event=2")
        assert json.loads(letter.line) == event(2, uuid="no")
        assert relay.totals().refused == 1

    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            (
                b'{"event":"e","distinct_id":"u","properties":{"a":NaN}}',
                "not JSON: NaN",
            ),
            (b'{"event":"e","distinct_id":"u","properties":{"a":"\\ud83d"}}', "a lone"),
            (b'{"event":"e","distinct_id":"u","properties":{"a":1e999}}', "the number"),
            (b'{"event":"e","distinct_id":"\xff"}', "not valid UTF-8"),
            (b'{"event":"e","distinct_id":"u","properties":{"a":"\n"}}', "not JSON"),
            (b'{"event":"e","distinct_id":"u" "x":1}', "not JSON"),
            (b'{"event":"e",,"distinct_id":"u"}', "not JSON"),
            (
                b'{"event":"e","distinct_id":"u","a":%b}' % (b"[" * 3000 + b"]" * 3000),
                "n",
            ),
            (b"17", "not a JSON object but a number"),
            (b'"e"', "not a JSON object but a string"),
        ],
    )
    def test_so_is_one_that_is_no_json(
        self, relay: RunningApi, bad: bytes, reason: str
    ) -> None:
        """What Python's json.dumps writes, and worse."""
        first, last = spelled(event(1)), spelled(event(2))
        body = b'{"api_key":"phc_test","batch":[%b, %b, %b]}' % (first, bad, last)

        assert relay.post("/batch/", body) == OK
        assert relay.backlog() == [first, last]
        assert [letter.reason.startswith(reason) for letter in relay.letters()] == [
            True
        ]

    def test_on_a_unix_socket_the_peer_is_named_by_uid_and_pid(
        self, relay: RunningApi
    ) -> None:
        with relay.wire(unix=True) as client:
            client.send(request(spelled(batch(BAD, event(1))), Host="whatever.example"))
            assert client.hear()[:2] == OK

        (letter,) = relay.letters()
        assert letter.origin.startswith("http uid=")
        assert " pid=" in letter.origin
        assert letter.origin.endswith(" event=1")

    def test_when_all_are_bad_it_is_400_with_the_reason(
        self, relay: RunningApi
    ) -> None:
        status, text = relay.post("/batch/", batch(BAD, BAD))

        assert status == 400
        assert "none of 2 events can be taken" in text
        assert "distinct_id: missing" in text
        assert len(relay.letters()) == 2

    def test_a_single_event_that_is_too_large_is_413(self, relay: RunningApi) -> None:
        large = event(1, properties={"text": "x" * (1 << 20)})

        status, text = relay.post("/capture/", {**large, "api_key": KEY})

        assert status == 413
        assert "event is longer than events.max_bytes (921600 bytes)" in text
        (letter,) = relay.letters()
        assert len(letter.line) == 900 << 10

    def test_its_neighbours_are_stored(self, relay: RunningApi) -> None:
        large = event(1, properties={"text": "x" * (1 << 20)})

        assert relay.post("/batch/", batch(event(2), large)) == OK
        assert relay.backlog() == [spelled(event(2))]
        assert len(relay.letters()) == 1


class TestForms:
    @pytest.mark.parametrize("slash", ["", "/"])
    @pytest.mark.parametrize("path", PATHS)
    def test_every_path_takes_every_form(
        self, relay: RunningApi, path: str, slash: str
    ) -> None:
        forms: list[Any] = [
            batch(event(1)),
            {"token": KEY, "batch": [event(1)]},
            {**event(1), "api_key": KEY},
            {**event(1), "token": KEY},
            {**event(1), "$token": f" {KEY} "},
            [{**event(1), "token": KEY}, {**event(2), "token": KEY}],
            [{**event(1), "properties": {"token": KEY, "n": 1}}, event(2)],
        ]
        for form in forms:
            assert relay.post(path + slash, form) == OK

        stored = [json.loads(one) for one in relay.backlog()]
        assert stored == [event(1)] * 5 + [event(1), event(2)] * 2

    def test_a_nameless_object_is_an_identify_on_engage_alone(
        self, relay: RunningApi
    ) -> None:
        nameless = {"token": KEY, "$distinct_id": "u", "$set": {"a": 1}}

        assert relay.post("/engage/", nameless) == OK
        status, text = relay.post("/capture/", nameless)

        (stored,) = map(json.loads, relay.backlog())
        assert (stored["event"], stored["distinct_id"]) == ("$identify", "u")
        assert stored["$set"] == {"a": 1}
        assert (status, text) == (
            400,
            "failed to hydrate events from request: event: missing",
        )

    @pytest.mark.parametrize("path", ["/batch/", "/e/"])
    def test_every_wrapping_is_undone(self, relay: RunningApi, path: str) -> None:
        plain = spelled(batch(event(1)))
        based = base64.b64encode(plain)
        packed = gzip.compress(plain)
        wrapped: list[tuple[str, bytes, str, str]] = [
            ("", plain, "text/plain", ""),
            ("", packed, "application/json", "gzip"),
            ("", packed, "text/plain", ""),
            ("?compression=gzip-js", packed, "text/plain", ""),
            ("", based, "text/plain", ""),
            ("?compression=base64", based, "text/plain", ""),
            ("", base64.b64encode(packed), "text/plain", "gzip"),
            ("?compression=GZIP", packed, "text/plain", ""),
            ("", urlencode({"data": plain}).encode(), FORM, ""),
            (
                "",
                urlencode(
                    {"data": compressed(plain.decode()), "compression": "lz64"}
                ).encode(),
                FORM,
                "",
            ),
            (f"?ver=1&_=1700000000000&data={quote(based)}", b"", "", ""),
            ("?beacon=0&ip=1", plain, "", ""),
        ]
        if path == "/e/":
            wrapped += [
                ("", urlencode({"data": based}).encode(), FORM, ""),
                ("", b"data=" + based, FORM, ""),  # + is no blank in there
            ]
        for query, body, kind, encoding in wrapped:
            answer = requests.post(
                relay.url + path + query,
                data=body,
                headers={"Content-Type": kind, "Content-Encoding": encoding},
                timeout=PATIENCE_SECONDS,
            )
            assert (answer.status_code, answer.text) == OK, (query, body[:20], kind)

        assert relay.backlog() == [spelled(event(1))] * len(wrapped)

    def test_the_legacy_paths_undo_a_second_layer_of_base64(
        self, relay: RunningApi
    ) -> None:
        twice = gzip.compress(base64.b64encode(spelled(batch(event(1)))))

        assert relay.post("/e/", twice) == OK
        assert relay.post("/batch/", twice)[0] == 400

    def test_get_carries_the_events_in_the_query(self, relay: RunningApi) -> None:
        data = base64.b64encode(spelled({**event(1), "api_key": KEY})).decode()

        answer = requests.get(
            f"{relay.url}/e/", params={"data": data}, timeout=PATIENCE_SECONDS
        )

        assert (answer.status_code, answer.text) == OK
        assert [json.loads(one) for one in relay.backlog()] == [event(1)]

    def test_a_beacon_hears_204(self, relay: RunningApi) -> None:
        assert relay.post("/e/?beacon=1", batch(event(1))) == (204, "")
        assert relay.post("/e/?beacon=1", batch(BAD))[0] == 400

    def test_an_import_stays_one(self, relay: RunningApi) -> None:
        relay.post("/batch/", batch(event(1), historical_migration=True))
        relay.post("/batch/", batch(event(2), historical_migration=False))
        relay.post("/batch/", batch(event(3), historical_migration=None))

        assert sorted(relay.historical()) == [False, False, True]

    def test_the_sending_time_of_the_sdk_moves_nothing(self, relay: RunningApi) -> None:
        """Its clock is this machine's; and Node sends an old one with each retry."""
        body = batch(event(1), sent_at="2020-01-01T00:00:00Z")

        assert relay.post("/batch/?_=1577836800000", body) == OK
        assert relay.backlog() == [spelled(event(1))]

    def test_chunked_bodies_are_taken(self, relay: RunningApi) -> None:
        body = spelled(batch(*[event(number) for number in range(2000)]))
        pieces = (body[at : at + 1000] for at in range(0, len(body), 1000))

        answer = requests.post(f"{relay.url}/batch/", data=pieces, timeout=10)

        assert (answer.status_code, answer.text) == OK
        assert len(relay.backlog()) == 2000


FORM = "application/x-www-form-urlencoded"


class TestKeys:
    def test_they_lead_to_their_projects(self, relay: RunningApi) -> None:
        assert relay.post("/batch/", batch(event(1), key=SHOP_KEY)) == OK
        assert relay.post("/batch/", batch(event(2), key=f" {KEY} ")) == OK

        assert relay.backlog("shop") == [spelled(event(1))]
        assert relay.backlog() == [spelled(event(2))]

    @pytest.mark.parametrize(
        "body",
        [
            batch(event(1), key="phc_somebody_elses"),
            batch(event(1), key=""),
            batch(event(1), key="x" * 1000),
            {**event(1), "token": "phc_somebody_elses"},
        ],
    )
    def test_one_that_no_project_has_is_401_and_told_to_the_operator(
        self, relay: RunningApi, body: object
    ) -> None:
        status, text = relay.post("/batch/", body)

        assert status == 401
        assert "projects.<name>.api_key" in text
        assert "project API key" in text
        assert "somebody" not in text
        assert (relay.backlog(), relay.letters()) == ([], [])
        (problem,) = relay.in_loop(relay.api.problems)
        assert problem.startswith(
            "An SDK came once with an API key that no project has"
        )
        assert "somebody" not in problem

    def test_none_is_401_or_what_upstream_makes_of_it(self, relay: RunningApi) -> None:
        assert relay.post("/capture/", event(1)) == (
            401,
            "event submitted without an api_key",
        )
        assert relay.post("/e/", [event(1)])[0] == 401
        assert relay.post("/batch/", {"batch": [event(1)]}) == (
            400,
            "failed to parse request: api_key: missing",
        )
        assert relay.post("/capture/", {**event(1), "token": 7})[0] == 400

    def test_two_different_ones_are_401(self, relay: RunningApi) -> None:
        events = [{**event(1), "token": KEY}, {**event(2), "token": SHOP_KEY}]

        assert relay.post("/e/", events) == (
            401,
            "batch submitted with inconsistent api_key values",
        )

    def test_none_of_them_reaches_the_store(self, relay: RunningApi) -> None:
        good = {**event(1), "properties": {"token": KEY, "n": 1}, "api_key": SHOP_KEY}
        bad = {**event(2, uuid="no"), "token": KEY, "properties": {"token": KEY}}

        relay.post("/batch/", batch(good, bad))
        relay.post("/capture/", {**event(3, uuid="no"), "token": KEY})
        relay.post("/e/", [{**event(4), "properties": {"token": KEY}}])
        relay.post("/e/", b'[{"properties":{"token":"\\u0070hc_test"},"event":"e"}]')

        stored = relay.database_bytes()
        assert KEY.encode() not in stored
        assert SHOP_KEY.encode() not in stored
        assert len(relay.letters()) == 3
        assert [json.loads(one)["properties"] for one in relay.backlog()] == [
            {"n": 1},
            {},
        ]

    def test_a_token_that_is_the_apps_own_stays(self, relay: RunningApi) -> None:
        mine = event(1, properties={"token": "of the app"})

        assert relay.post("/batch/", batch(mine)) == OK
        assert relay.backlog() == [spelled(mine)]

    def test_a_new_key_counts_at_once(self, relay: RunningApi) -> None:
        relay.keys.renew(())
        assert relay.post("/batch/", batch(event(1)))[0] == 401


class TestRefusedWhole:
    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (b"", "request missing data payload"),
            (b"{", "failed to parse request: not JSON: it ends too soon"),
            (b"hello", "failed to parse request: it is neither an object nor a list"),
            (b'"text"', "neither an object nor a list"),
            (b"\xef\xbb\xbf{}", "neither an object nor a list"),
            (b"{}", "failed to hydrate events from request: event: missing"),
            (b"[]", "request holds no event"),
            (b'{"api_key":"phc_test","batch":[]}', "request holds no event"),
            (b'{"api_key":"phc_test","batch":7}', "batch: must be a list"),
            (b'{"api_key":7,"batch":[{}]}', "api_key: must be a string"),
            (b'{"api_key":"a","token":"b","batch":[{}]}', "token: beside api_key"),
            (b'{"api_key":"a","batch":[{}],"sent_at":7}', "sent_at: must be a string"),
            (
                b'{"api_key":"a","batch":[{}],"historical_migration":"yes"}',
                "historical_migration: must be a boolean",
            ),
            (b'{"api_key":"a","batch":[{},,{}]}', "nothing stands beside a comma"),
            (b'{"api_key":"a","batch":[{}]} {}', "it goes on after its end"),
            (b"\x1f\x8b\x08 no gzip", "failed to decode request: invalid gzip data"),
            (gzip.compress(b"[]")[:-4], "failed to decode request: invalid gzip data"),
        ],
    )
    def test_it_is_400_with_a_reason(
        self, relay: RunningApi, body: bytes, said: str
    ) -> None:
        status, text = relay.post("/batch/", body)

        assert status == 400
        assert said in text
        assert (relay.backlog(), relay.letters()) == ([], [])

    def test_a_form_that_is_none_says_what_to_send(self, relay: RunningApi) -> None:
        """What `curl -d` sends."""
        answer = relay.answer("/batch/", batch(event(1)), {"Content-Type": FORM})

        assert answer.status_code == 400
        assert "expected form data" in answer.text
        assert "application/json" in answer.text

    def test_lz64_that_is_none_is_400(self, relay: RunningApi) -> None:
        assert relay.post("/e/?compression=lz64", b"IZ") == (
            400,
            "failed to decode request: invalid lz64 data",
        )

    @pytest.mark.parametrize(
        "path", ["/flags/?v=2", "/decide", "/i/v0/ai", "/i/v0/ai/batch/", "/s/", "/x"]
    )
    def test_what_carries_no_events_is_404_with_a_sentence(
        self, relay: RunningApi, path: str
    ) -> None:
        status, text = relay.post(path, batch(event(1)))

        assert status == 404
        assert text.startswith("the relay carries events only")

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
    def test_other_methods_are_405(self, relay: RunningApi, method: str) -> None:
        answer = requests.request(method, f"{relay.url}/batch/", timeout=10)

        assert answer.status_code == 405
        assert answer.headers["Allow"] == "GET, POST, OPTIONS"


class TestHealth:
    @pytest.mark.parametrize("path", ["/", "/_readiness", "/_liveness"])
    def test_it_is_well(self, relay: RunningApi, path: str) -> None:
        answer = requests.get(relay.url + path, timeout=10)

        assert (answer.status_code, answer.text) == (200, "ok")

    def test_it_is_not_ready_while_nothing_can_be_stored(
        self, relay: RunningApi
    ) -> None:
        relay.store.error = relay.store.a_full_disk()
        relay.post("/batch/", batch(event(1)))

        answer = requests.get(f"{relay.url}/_readiness", timeout=10)
        alive = requests.get(f"{relay.url}/_liveness", timeout=10)

        assert answer.status_code == 503
        assert "cannot be stored: disk" in answer.text
        assert alive.status_code == 200


class TestManyAtOnce:
    def test_32_clients_lose_nothing_and_get_nothing_twice(
        self, relay: RunningApi
    ) -> None:
        def work(first: int) -> None:
            with requests.Session() as session:
                for number in range(first, first + 20):
                    body = spelled(batch(event(number)))
                    answer = session.post(
                        f"{relay.url}/batch/", data=gzip.compress(body), timeout=20
                    )
                    assert answer.status_code == 200

        clients = [
            threading.Thread(target=work, args=(20 * client,)) for client in range(32)
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join()

        assert sorted(relay.backlog()) == sorted(spelled(event(n)) for n in range(640))

    def test_10_000_events_in_a_request_are_stored_in_order(
        self, relay: RunningApi
    ) -> None:
        events = [event(number) for number in range(10_000)]

        assert (
            relay.post("/batch/", gzip.compress(spelled(batch(*events))), PACKED) == OK
        )
        assert relay.backlog() == [spelled(one) for one in events]
