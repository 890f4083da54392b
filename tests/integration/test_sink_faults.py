"""Faults over a real connection: what the client sees, and what was stored."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest

from leanbase_relay.sink import Fault, Script, Sink, Step
from tests.integration.test_sink import batch, connection, post
from tests.support.clock import FakeClock


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


class TestScript:
    def test_faults_come_one_by_one_and_then_all_is_well(self) -> None:
        faults = Fault.answer(503, "later", retry_after=3), Fault.html(), Fault(204)
        with Sink(script=Script().then(*faults)) as sink:
            first, second, third, fourth = (
                post(sink, "/batch/", batch("e")) for _ in range(4)
            )

            assert (first[0], first[1]["Retry-After"], first[2]) == (503, "3", b"later")
            assert second[0] == 200
            assert second[1]["Content-Type"] == "text/html"
            assert third[0] == 204
            assert fourth[2] == b'{"status":"Ok"}'
            assert len(sink.events) == 2

    def test_a_fault_can_stay_until_another_script_is_followed(
        self, sink: Sink
    ) -> None:
        sink.follow(Script().then_always(Fault.answer(503)))
        assert [post(sink, "/batch/", batch("e"))[0] for _ in range(3)] == [503] * 3

        sink.follow(Script())
        assert post(sink, "/batch/", batch("e"))[0] == 200

    def test_some_events_are_stored_and_then_it_failed(self, sink: Sink) -> None:
        sink.follow(Script().then(Fault.partial(2)))

        assert post(sink, "/batch/", batch("a", "b", "c"))[0] == 503
        assert [event["event"] for event in sink.events] == ["a", "b"]

    def test_a_redirect_says_where(self, sink: Sink) -> None:
        sink.follow(Script().then(Fault.redirect("http://127.0.0.1:1/")))

        status, headers, _ = post(sink, "/batch/", batch("e"))
        assert (status, headers["Location"]) == (301, "http://127.0.0.1:1/")

    def test_a_skewed_date_comes_with_an_honest_answer(self, sink: Sink) -> None:
        date = "Thu, 01 Jan 2026 00:00:00 GMT"
        sink.follow(Script().then(Fault(headers={"Date": date})))

        status, headers, _ = post(sink, "/batch/", batch("e"))
        assert (status, headers["Date"]) == (200, date)

    def test_the_body_of_the_answer_is_cut_off(self, sink: Sink) -> None:
        sink.follow(Script().then(Fault.cut_off()))

        with pytest.raises(http.client.IncompleteRead):
            post(sink, "/batch/", batch("e"))
        assert len(sink.events) == 1

    @pytest.mark.parametrize(("after_body", "stored"), [(False, 0), (True, 1)])
    def test_the_connection_is_reset(
        self, sink: Sink, *, after_body: bool, stored: int
    ) -> None:
        sink.follow(Script().then(Fault.reset(after_body=after_body)))

        with pytest.raises(ConnectionResetError):
            post(sink, "/batch/", batch("e"))
        assert len(sink.events) == stored
        assert sink.requests[0].status is None

    def test_a_late_answer_is_late(self, sink: Sink) -> None:
        sink.follow(Script().then(Fault(delay_seconds=0.3)))

        with closing(connection(sink)) as client:
            client.request("POST", "/batch/", batch("e"))
            client.sock.settimeout(0.1)
            with pytest.raises(TimeoutError):
                client.getresponse()

    def test_a_hang_ends_without_an_answer(self, sink: Sink) -> None:
        sink.follow(Script().then(Fault.hang(0.05)))

        with pytest.raises(http.client.RemoteDisconnected):
            post(sink, "/batch/", batch("e"))

    def test_an_answer_that_drips_arrives_whole(self, sink: Sink) -> None:
        sink.follow(Script().then(Fault.drip(0.0005)))

        assert post(sink, "/batch/", batch("e"))[2] == b'{"status":"Ok"}'

    @pytest.mark.parametrize("status", [204, 304])
    def test_a_status_without_body_leaves_the_connection_usable(
        self, sink: Sink, status: int
    ) -> None:
        sink.follow(Script().then(Fault.answer(status, "never to be seen")))

        with closing(connection(sink)) as client:
            for expected in (status, 200):
                client.request("POST", "/batch/", batch("e"))
                reply = client.getresponse()
                assert reply.status == expected
                reply.read()

    @pytest.mark.parametrize("status", range(200, 600, 7))
    def test_every_status_can_be_answered(self, sink: Sink, status: int) -> None:
        sink.follow(Script().then(Fault.answer(status)))

        assert post(sink, "/batch/", batch("e"))[0] == status

    def test_a_status_below_200_is_the_last_that_is_heard(self, sink: Sink) -> None:
        sink.follow(Script().then(Fault.answer(100)))

        with pytest.raises(http.client.RemoteDisconnected):
            post(sink, "/batch/", batch("e"))

    def test_a_huge_answer_is_as_long_as_it_says(self, sink: Sink) -> None:
        sink.follow(Script().then(Fault.huge(3_000_000)))

        status, headers, body = post(sink, "/batch/", batch("e"))
        assert int(headers["Content-Length"]) == len(body) == 3_000_015
        assert (status, json.loads(body)) == (200, {"status": "Ok"})
        assert sink.requests[0].reason == "a huge answer"

    @pytest.mark.parametrize("skew_seconds", [-600, 600])
    def test_the_date_is_as_far_off_as_the_fault_says(self, skew_seconds: int) -> None:
        clock = FakeClock()
        with Sink(
            clock=clock, script=Script().then(Fault.skewed(skew_seconds))
        ) as sink:
            _, headers, _ = post(sink, "/batch/", batch("e"))

        date = parsedate_to_datetime(headers["Date"])
        assert (date - datetime.fromtimestamp(clock.wall(), UTC)).seconds % 86400 == (
            skew_seconds % 86400
        )
        assert len(sink.events) == 1

    def test_it_flaps_by_its_own_clock(self) -> None:
        clock = FakeClock()
        step = Step(Fault.answer(503), every_seconds=1.0, seconds=4.0)
        with Sink(clock=clock, script=Script((step,))) as sink:
            seen = []
            for _ in range(6):
                seen.append(post(sink, "/batch/", batch("e"))[0])
                clock.now += 1.0

        assert seen == [503, 200, 503, 200, 200, 200]

    def test_refused_events_spoil_their_whole_request(self) -> None:
        """So that a relay halves until the guilty one stands alone."""
        with Sink(refuses=lambda event: event["event"] == "bad") as sink:
            together = post(sink, "/batch/", batch("good", "bad", "good"))
            assert (together[0], together[2]) == (
                400,
                b"invalid event could not be processed",
            )
            assert sink.requests[0].hint == "event [1]: refused at your wish"
            assert sink.events == []

            assert post(sink, "/batch/", batch("good"))[0] == 200
            assert post(sink, "/e/", batch("bad"))[0] == 400
