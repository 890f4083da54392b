"""What a connection may not do to the relay: bad input, and how it is bounded."""

import gzip
import json
import re
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from leanbase_relay.intake.body import MAX_SLOW_BYTES
from leanbase_relay.intake.capture_api import MAX_WAITING_BYTES, WHOLE
from leanbase_relay.intake.request import Bounds
from leanbase_relay.intake.web import MAX_READING_BYTES
from tests.support.http import (
    OK,
    PACKED,
    RunningApi,
    batch,
    event,
    request,
    spelled,
)
from tests.support.intake import PATIENCE_SECONDS
from tests.support.waiting import eventually

MIB = 1 << 20
BAD = {"event": "e"}
GOOD = request(spelled(batch(event(1))))
LARGEST_REQUEST = 20 * MIB
V1 = {
    "Authorization": "Bearer phc_test",
    "PostHog-Sdk-Info": "test/1",
    "PostHog-Attempt": "1",
    "PostHog-Request-Id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "PostHog-Request-Timestamp": "2026-03-01T12:00:00Z",
}


@pytest.fixture
def relay(short_dir: Path) -> Iterator[RunningApi]:
    with RunningApi(short_dir) as relay:
        yield relay


def resident_bytes(which: str) -> int:
    """The memory of this process, in which the relay lives too: VmRSS or VmHWM."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"{which}:\s+(\d+) kB", status)
    assert found
    return int(found[1]) << 10


def forget_the_most() -> None:
    """Let VmHWM begin anew, proc(5)."""
    Path("/proc/self/clear_refs").write_text("5")


def zeros(n_bytes: int) -> bytes:
    """So many of them, as gzip."""
    stream = zlib.compressobj(1, wbits=31)
    pieces = [stream.compress(bytes(MIB)) for _ in range(n_bytes // MIB)]
    return b"".join([*pieces, stream.flush()])


class TestSize:
    def test_a_body_of_30_mb_is_413_before_it_is_sent(self, relay: RunningApi) -> None:
        with relay.wire() as client:
            client.send(request(Content_Length=str(30 * MIB)))
            heard = client.hear()

        assert heard.status == 413
        assert heard.text.startswith("maximum event size exceeded: a request may have")

    def test_so_does_a_client_hear_that_sends_it_all_the_same(
        self, relay: RunningApi
    ) -> None:
        answer = requests.post(
            f"{relay.url}/batch/", data=bytes(30 * MIB), timeout=PATIENCE_SECONDS
        )

        assert answer.status_code == 413

    def test_and_one_that_does_not_say_how_much_it_sends(
        self, relay: RunningApi
    ) -> None:
        with relay.wire() as client:
            client.send(request(Content_Length="", Transfer_Encoding="chunked"))
            piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
            for _ in range(21 * 16):
                client.send(piece)

            assert client.hear().status == 413

    def test_a_bomb_takes_no_more_memory_than_it_may(self, relay: RunningApi) -> None:
        bomb = zeros(400 * MIB)
        forget_the_most()
        before = resident_bytes("VmRSS")

        status, text = relay.post("/batch/", bomb, PACKED)

        assert status == 413
        assert f"more than {WHOLE.bytes} bytes come out" in text
        assert resident_bytes("VmHWM") - before < 3 * WHOLE.bytes

    def test_as_much_as_is_allowed_is_taken(self, relay: RunningApi) -> None:
        events = [event(n, properties={"text": "x" * 880_000}) for n in range(22)]
        body = spelled(batch(*events))
        assert 0.9 * WHOLE.bytes < len(body) < WHOLE.bytes

        assert relay.post("/batch/", gzip.compress(body), PACKED) == OK
        assert relay.post("/batch/", body) == OK
        assert relay.totals().accepted == 44

    @pytest.mark.parametrize("path", ["/batch/", "/e/", "/i/v1/analytics/events"])
    def test_more_events_than_anybody_sends_are_413_and_take_no_memory(
        self, relay: RunningApi, path: str
    ) -> None:
        """Two million, of a digit each: their list alone would have 180 MB."""
        ones = b"1" + b",1" * (2 * MIB)
        body = b'{"api_key":"phc_test","created_at":"","batch":[%b]}' % ones
        forget_the_most()
        before = resident_bytes("VmRSS")

        answer = relay.answer(path, b"[%b]" % ones if path == "/e/" else body, V1)

        assert answer.status_code == 413
        assert "more than 50000 events" in answer.text
        assert resident_bytes("VmHWM") - before < 4 * WHOLE.bytes

    def test_nor_do_many_members(self, relay: RunningApi) -> None:
        members = b",".join(b'"%d":1' % number for number in range(300_000))

        assert relay.post("/e/", b"{%b}" % members)[0] == 413

    def test_what_only_browsers_send_has_a_bound_of_its_own(
        self, relay: RunningApi
    ) -> None:
        """A form of a million fields, say, which is slow to take apart."""
        form = "application/x-www-form-urlencoded"
        large = b"data=" + b"%20" * (MAX_SLOW_BYTES // 3 + 1)

        status, text = relay.post("/e/", large, {"Content-Type": form})

        assert (status, "form bodies may have" in text) == (413, True)
        assert relay.post("/e/", b"data=&" * 1000, {"Content-Type": form})[0] == 400

    @pytest.mark.parametrize(
        "head",
        [
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 10_000,
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: y\r\n" * 100,
            b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        ],
    )
    def test_headers_have_bounds(self, relay: RunningApi, head: bytes) -> None:
        with relay.wire() as client:
            client.send(head + b"\r\n\r\n")

            assert client.hear("GET").status == 400
            assert client.is_closed()


class TestGarbage:
    @pytest.mark.parametrize(
        "sent",
        [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"hello\r\n\r\n",
            b"POST /batch/ HTTP/1.1\r\n\r\n",
            request(Content_Length="-5"),
            request(Content_Length="1\r\nContent-Length: 2"),
            request(b"0\r\n\r\n", Transfer_Encoding="chunked"),
        ],
    )
    def test_what_is_no_http_is_400_and_the_end(
        self, relay: RunningApi, sent: bytes
    ) -> None:
        with relay.wire() as client:
            client.send(sent)
            heard = client.hear()

            assert heard.status == 400
            assert heard.text == "not a request that the relay can read"
            assert client.is_closed()
        assert relay.post("/batch/", batch(event(1))) == OK

    def test_a_chunk_that_is_none_ends_its_own_request_alone(
        self, relay: RunningApi
    ) -> None:
        with relay.wire() as client:
            client.send(request(Content_Length="", Transfer_Encoding="chunked"))
            relay.settle_loop()
            client.send(b"zz\r\n")

            assert client.hear().status == 400
        assert relay.post("/batch/", batch(event(1))) == OK

    @pytest.mark.parametrize(
        "kind", ["", "text/html", "application/xml", "x", "multipart/form-data"]
    )
    def test_the_content_type_does_not_matter(
        self, relay: RunningApi, kind: str
    ) -> None:
        with relay.wire() as client:
            client.send(request(spelled(batch(event(1))), Content_Type=kind))

            assert client.hear()[:2] == OK

    def test_a_fault_of_the_relays_is_500_and_the_next_request_is_served(
        self, relay: RunningApi, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is logged; a request that brings it about again does not end the relay."""

        def broken(*_: object, **__: object) -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as patched:
            patched.setattr(relay.api._judge, "judge", broken)
            status, text = relay.post("/batch/", batch(event(1)))

        assert (status, text) == (500, "a fault of the relay's")
        assert relay.post("/batch/", batch(event(1))) == OK


class TestConnections:
    def test_requests_that_come_at_once_are_answered_in_order(
        self, relay: RunningApi
    ) -> None:
        with relay.wire() as client:
            client.send(GOOD + request(path="/x") + GOOD + request(b"{}") + GOOD)
            statuses = [client.hear().status for _ in range(5)]

        assert statuses == [200, 404, 200, 400, 200]
        assert relay.backlog() == [spelled(event(1))] * 3

    def test_more_of_them_than_are_held_at_once_lose_nothing(
        self, relay: RunningApi
    ) -> None:
        with relay.wire() as client:
            client.send(GOOD * 200)
            statuses = {client.hear().status for _ in range(200)}

        assert statuses == {200}
        assert relay.totals().accepted == 200

    def test_one_that_sends_far_ahead_hears_one_answer_and_the_end(
        self, relay: RunningApi
    ) -> None:
        large = request(spelled(batch(event(1, properties={"t": "x" * 60_000}))))
        relay.hold()
        with relay.wire() as client:
            client.send(large)
            relay.await_held()
            for _ in range(8):
                client.send(large)
                relay.settle_loop()
            relay.let_go()

            assert client.hear()[:2] == OK
            assert client.is_closed()
        assert relay.totals().accepted == 1

    def test_a_client_that_half_closes_hears_its_answer_and_then_the_end(
        self, relay: RunningApi
    ) -> None:
        relay.hold()
        with relay.wire() as client:
            client.send(GOOD + GOOD)
            relay.await_held()
            client.half_close()
            relay.settle_loop()
            relay.let_go()
            first, second = client.hear(), client.hear()

            assert (first[:2], second[:2]) == (OK, OK)
            assert second.headers["connection"] == "close"
            assert client.is_closed()

    def test_so_does_one_that_half_closes_at_once(self, relay: RunningApi) -> None:
        for _ in range(20):
            with relay.wire() as client:
                client.send(GOOD)
                client.half_close()

                assert client.hear()[:2] == OK
                assert client.is_closed()

    def test_one_that_half_closes_within_a_body_is_forgotten(
        self, relay: RunningApi
    ) -> None:
        with relay.wire() as client:
            client.send(GOOD[:-5])
            relay.settle_loop()
            client.half_close()
            assert client.is_closed()
        with relay.wire() as client:
            client.send(GOOD[:-5])
            client.half_close()
            relay.settle_loop()

        eventually(lambda: relay.connections() == 0)
        assert relay.backlog() == []

    def test_one_that_goes_before_the_answer_is_stored_all_the_same(
        self, relay: RunningApi
    ) -> None:
        relay.hold()
        with relay.wire() as client:
            client.send(GOOD)
            relay.await_held()
        relay.let_go()

        eventually(lambda: relay.backlog() == [spelled(event(1))])
        eventually(lambda: relay.connections() == 0)

    def test_a_large_body_is_asked_for(self, relay: RunningApi) -> None:
        """As PHP's curl does it, which else waits for a second."""
        body = spelled(batch(*[event(number) for number in range(1000)]))
        whole = request(body, Expect="100-continue")
        with relay.wire() as client:
            client.send(whole[: -len(body)])
            assert client.socket.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.send(body)

            assert client.hear()[:2] == OK

    def test_one_that_is_not_wanted_is_not_asked_for(self, relay: RunningApi) -> None:
        with relay.wire() as client:
            client.send(request(Expect="100-continue", Content_Length=str(30 * MIB)))

            assert client.hear().status == 413

    def test_connection_close_is_heeded(self, relay: RunningApi) -> None:
        with relay.wire() as client:
            client.send(request(spelled(batch(event(1))), Connection="close"))

            assert client.hear().headers["connection"] == "close"
            assert client.is_closed()

    def test_http_1_0_is_served_and_closed(self, relay: RunningApi) -> None:
        with relay.wire() as client:
            client.send(GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"))

            assert client.hear()[:2] == OK
            assert client.is_closed()

    def test_uids_that_may_not_send_are_told_so(self, short_dir: Path) -> None:
        with RunningApi(short_dir, allow_uids=(4_000_000,)) as relay:
            with relay.wire(unix=True) as client:
                heard = client.hear()
                assert client.is_closed()
            port = relay.post("/batch/", batch(event(1)))

        assert heard.status == 403
        assert heard.text.endswith("is not in socket.allow_uids")
        assert port == OK


class TestSlowness:
    def test_a_body_that_does_not_come_is_408(self, short_dir: Path) -> None:
        with (
            RunningApi(short_dir, bounds=Bounds(body_seconds=0.05)) as relay,
            relay.wire() as client,
        ):
            client.send(GOOD[:-5])

            assert client.hear()[:2] == (408, "client stopped sending data")

    def test_a_connection_that_says_nothing_is_closed(self, short_dir: Path) -> None:
        with (
            RunningApi(short_dir, bounds=Bounds(idle_seconds=0.05)) as relay,
            relay.wire() as silent,
            relay.wire() as halting,
            relay.wire() as used,
        ):
            halting.send(b"POST /batch/ HTTP/1.1\r\nHost: 127")
            used.send(GOOD)
            assert used.hear()[:2] == OK

            assert silent.is_closed()
            assert halting.is_closed()
            assert used.is_closed()

    def test_slow_bodies_delay_no_other(self, relay: RunningApi) -> None:
        """Of the largest, too, which wait for each other's room."""
        large = request(Content_Length=str(LARGEST_REQUEST))
        slow = [relay.wire() for _ in range(8)]
        for client in slow:
            client.send(large + b"{" * 1000)
        with relay.wire() as other:
            for byte in GOOD:
                other.send(bytes([byte]))
            assert other.hear()[:2] == OK
        assert relay.post("/batch/", batch(event(2))) == OK
        used = relay.in_loop(lambda: relay.api._web.reading.used)
        assert used <= MAX_READING_BYTES
        for client in slow:
            client.socket.close()

        eventually(lambda: relay.in_loop(lambda: relay.api._web.reading.used) == 0)

    def test_a_large_body_delays_no_small_one(self, relay: RunningApi) -> None:
        events = [event(number) for number in range(1000)]
        go_on = threading.Event()
        relay.api._far.submit(go_on.wait, PATIENCE_SECONDS)
        with relay.wire() as large:
            large.send(request(spelled(batch(*events))))
            assert relay.post("/batch/", batch(event(2))) == OK
            assert large.hears_nothing()
            go_on.set()

            assert large.hear()[:2] == OK
        assert relay.totals().accepted == 1001

    @pytest.mark.parametrize("events", [1, 100, 250, 251, 2000])
    def test_where_it_is_judged_makes_no_difference(
        self, relay: RunningApi, events: int
    ) -> None:
        body = batch(BAD, *[event(number) for number in range(events)])

        assert relay.post("/batch/", body) == OK
        assert relay.post("/batch/", gzip.compress(spelled(body)), PACKED) == OK
        assert relay.backlog() == [spelled(event(n)) for n in range(events)] * 2
        assert [letter.reason for letter in relay.letters()] == [
            "distinct_id: missing"
        ] * 2

    def test_large_bodies_take_turns_and_all_are_stored(
        self, relay: RunningApi
    ) -> None:
        events = [event(n, properties={"text": "x" * 500_000}) for n in range(16)]
        answers: list[tuple[int, str]] = []
        clients = [
            threading.Thread(
                target=lambda: answers.append(relay.post("/batch/", batch(*events)))
            )
            for _ in range(6)
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join()

        assert answers == [OK] * 6
        assert relay.totals().accepted == 96

    def test_when_the_disk_hangs_what_waits_is_bounded_and_told_to_come_again(
        self, short_dir: Path
    ) -> None:
        large = request(spelled(batch(event(1, properties={"t": "x" * 800_000}))))
        with RunningApi(short_dir, bounds=Bounds(disk_seconds=0.05)) as relay:
            relay.hold()
            clients = [relay.wire() for _ in range(20)]
            for client in clients:
                client.send(large)
            fitting = MAX_WAITING_BYTES // 800_000
            eventually(
                lambda: (
                    sum(client.hears_nothing() for client in clients) <= fitting
                    and relay.in_loop(lambda: relay.api._turn.used) == 0
                ),
                PATIENCE_SECONDS,
            )
            waiting = relay.in_loop(lambda: relay.api._waiting.used)
            relay.let_go()
            heard = [client.hear() for client in clients]
            for client in clients:
                client.socket.close()

            stored = [one for one in heard if one.status == 200]
            later = [one for one in heard if one.status == 503]
            assert len(stored) + len(later) == 20
            assert 0 < len(stored) <= fitting
            assert {one.headers["retry-after"] for one in later} == {"5"}
            assert 0 < waiting <= MAX_WAITING_BYTES
            assert relay.totals().accepted == len(stored)


class TestHowManyConnections:
    BOUNDS = Bounds(connections=3)

    def test_the_longest_idle_one_makes_room(self, short_dir: Path) -> None:
        with RunningApi(short_dir, bounds=self.BOUNDS) as relay:
            clients = [relay.wire() for _ in range(3)]
            for client in (clients[0], clients[2], clients[1], clients[0]):
                client.send(GOOD)
                assert client.hear()[:2] == OK
            with relay.wire() as another:
                another.send(GOOD)
                assert another.hear()[:2] == OK

            assert clients[2].is_closed()
            for client in clients[:2]:
                client.send(GOOD)
                assert client.hear()[:2] == OK
            for client in clients:
                client.socket.close()

    def test_if_none_is_idle_the_new_one_is_told_to_come_again(
        self, short_dir: Path
    ) -> None:
        with RunningApi(short_dir, bounds=self.BOUNDS) as relay:
            relay.hold()
            clients = [relay.wire() for _ in range(3)]
            for client in clients:
                client.send(GOOD)
            relay.await_held()
            with relay.wire() as another:
                heard = another.hear()
                assert another.is_closed()
            relay.let_go()

            assert (heard.status, heard.text) == (
                503,
                "no room for a connection; come again",
            )
            assert [client.hear()[:2] for client in clients] == [OK] * 3
            for client in clients:
                client.socket.close()


class TestTheStop:
    def test_what_was_received_is_finished_and_the_connection_closed(
        self, relay: RunningApi
    ) -> None:
        relay.hold()
        with relay.wire() as client, relay.wire() as idle:
            client.send(GOOD + GOOD)
            relay.await_held()
            stopping = threading.Thread(target=relay.stop)
            stopping.start()
            assert idle.is_closed()
            assert client.hears_nothing()
            relay.let_go()
            heard = client.hear()
            assert client.is_closed()
            stopping.join()

        assert heard[:2] == OK
        assert heard.headers["connection"] == "close"

    def test_a_body_on_its_way_may_still_arrive(self, relay: RunningApi) -> None:
        with relay.wire() as client:
            client.send(GOOD[:-5])
            relay.settle_loop()
            stopping = threading.Thread(target=relay.stop)
            stopping.start()
            eventually(lambda: relay.api._web.stopping)
            client.send(GOOD[-5:])
            heard = client.hear()
            stopping.join()

        assert heard[:2] == OK
        assert heard.headers["connection"] == "close"
        assert relay.backlog() == [spelled(event(1))]

    def test_nobody_connects_any_more(self, relay: RunningApi) -> None:
        relay.stop()

        with pytest.raises(ConnectionRefusedError):
            relay.wire()

    def test_it_waits_no_longer_than_it_may(self, relay: RunningApi) -> None:
        """For a disk that hangs, and for a body that does not come."""
        relay.hold()
        with relay.wire() as client, relay.wire() as slow:
            client.send(GOOD)
            slow.send(GOOD[:-5])
            relay.await_held()
            relay.stop(within_seconds=0.05)

            assert client.is_closed()
            assert slow.is_closed()
        relay.let_go()

    def test_bodies_are_judged_in_the_other_thread_no_more(
        self, relay: RunningApi
    ) -> None:
        large = spelled(batch(*[event(number) for number in range(2000)]))
        assert relay.post("/batch/", large) == OK
        relay.stop()

        assert json.loads(relay.backlog()[-1]) == event(1999)
