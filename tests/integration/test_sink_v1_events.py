"""Protocol v1: what becomes of each event, honestly and as scripted."""

import json
from collections.abc import Iterator

import pytest

from leanbase_relay.sink import Fault, Limits, Row, Ruling, Script, Sink
from tests.integration.test_sink_v1 import (
    NOW,
    REQUEST_ID,
    STAMP,
    batch,
    event,
    only_row,
    send,
    uuid,
)
from tests.support.clock import FakeClock


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink(clock=FakeClock(wall=NOW)) as sink:
        yield sink


class TestEvents:
    @pytest.mark.parametrize(
        ("members", "details"),
        [
            ({"event": ""}, "missing_event_name"),
            ({"event": "é" * 101}, "event_name_too_long"),
            ({"event": "$performance_event"}, "dropped_performance_event"),
            ({"distinct_id": "  "}, "missing_distinct_id"),
            ({"distinct_id": "é" * 101}, "distinct_id_too_large"),
            ({"timestamp": "2026-03-01"}, "invalid_event_timestamp"),
            ({"timestamp": "2026-03-01T12:00:00+03"}, "invalid_event_timestamp"),
            ({"properties": None}, "malformed_event_properties"),
            ({"properties": []}, "malformed_event_properties"),
        ],
    )
    def test_a_bad_value_drops_its_event_alone(
        self, sink: Sink, members: dict[str, object], details: str
    ) -> None:
        reply = send(sink, batch(event(1), event(2, **members), event(3)))

        assert reply.words == ["ok", "drop", "ok"]
        assert reply.results[uuid(2)]["details"] == details
        assert len(sink.events) == 2
        assert "Retry-After" not in reply.headers

    def test_an_event_that_is_too_big_is_dropped(self) -> None:
        with Sink(limits=Limits(event_bytes=600)) as sink:
            big = event(2, properties={"x": "y" * 600})
            reply = send(sink, batch(event(1), big, event(3)))

            assert reply.results[uuid(2)] == {
                "result": "drop",
                "details": "event_too_big",
            }
            assert len(sink.events) == 2

    @pytest.mark.parametrize("given", ["guest", " NULL ", "[object Object]"])
    def test_a_placeholder_id_is_taken_with_a_remark(
        self, sink: Sink, given: str
    ) -> None:
        reply = send(sink, batch(event(distinct_id=given)))

        assert reply.results[uuid(1)] == {
            "result": "ok",
            "details": "person_processing_disabled",
        }
        assert only_row(sink).distinct_id == given.strip()

    def test_results_stand_under_the_canonical_uuid(self, sink: Sink) -> None:
        given = uuid(10).upper().replace("-", "")

        assert list(send(sink, batch(event(uuid=given))).results) == [uuid(10)]

    def test_the_senders_clock_is_corrected_for(self, sink: Sink) -> None:
        sent_at = "2026-03-01T13:00:00Z"  # an hour ahead, of which 150 s are left alone
        plain = event(1, timestamp=sent_at)
        untouched = event(2, timestamp=sent_at)
        untouched["options"] = {"disable_skew_correction": True}
        send(sink, batch(plain, untouched), request_timestamp=sent_at)

        stored = {row.uuid: row.timestamp.isoformat() for row in sink.rows.values()}
        assert stored == {
            uuid(1): "2026-03-01T12:02:30+00:00",
            uuid(2): "2026-03-01T13:00:00+00:00",
        }

    def test_historical_migration_holds_for_the_request(self, sink: Sink) -> None:
        send(sink, batch(event(), historical_migration=True))

        assert only_row(sink).historical


class TestBothProtocols:
    """One event through either; what the docs promise to be equal is."""

    def stored(self, v0: dict[str, object], v1: dict[str, object]) -> tuple[Row, Row]:
        with Sink(clock=FakeClock(wall=NOW)) as sink:
            body = {"api_key": "phc_test", "batch": [v0], "sent_at": STAMP}
            assert send(sink, json.dumps(body).encode(), path="/batch/").status == 200
            first = only_row(sink)
        with Sink(clock=FakeClock(wall=NOW)) as sink:
            assert send(sink, batch(v1), sdk_info="no version").words == ["ok"]
            return first, only_row(sink)

    def test_a_plain_event_is_the_same_row(self) -> None:
        first, second = self.stored(event(), event())

        assert first.key == second.key
        assert first.properties == second.properties
        assert first[:6] == second[:6]

    def test_set_counts_only_inside_properties_on_v1(self) -> None:
        inside = {"$set": {"a": 1, "b": 1}}
        top = {**event(properties=inside), "$set": {"b": 2}}

        first, second = self.stored(top, top)
        assert first.properties == {"$set": {"a": 1, "b": 2}}
        assert second.properties == inside

        moved = event(properties={"$set": {"a": 1, "b": 2}})
        first, second = self.stored(top, moved)
        assert first.properties == second.properties

    def test_options_become_the_properties_that_they_stand_for(self) -> None:
        v0 = event(
            properties={
                "$cookieless_mode": True,
                "$ignore_sent_at": True,
                "$product_tour_id": "tour",
                "$process_person_profile": False,
                "$session_id": "s",
                "$window_id": "w",
            }
        )
        v1 = event(
            session_id="s",
            window_id="w",
            options={
                "cookieless_mode": True,
                "disable_skew_correction": True,
                "product_tour_id": "tour",
                "process_person_profile": False,
                "unknown": {},
            },
        )
        first, second = self.stored(v0, v1)

        assert first.properties == second.properties
        assert first.key == second.key

    @pytest.mark.parametrize(
        ("said", "added"),
        [
            ("a/b/1.2", {"$lib": "a/b", "$lib_version": "1.2"}),
            ("nothing", {}),
            ("/1", {}),
            ("a/", {}),
            ("a/" + "1" * 200, {}),
        ],
    )
    def test_the_sdks_header_becomes_its_library(
        self, sink: Sink, said: str, added: dict[str, str]
    ) -> None:
        send(sink, batch(event()), sdk_info=said)

        assert only_row(sink).properties == added


class TestSwitchedOff:
    def test_a_server_without_v1_answers_404(self) -> None:
        with Sink(v1=False) as sink:
            reply = send(sink, batch(event()))

            assert reply.status == 404
            assert sink.requests[0].results == {}


class TestScript:
    def test_results_can_be_scripted_and_then_all_is_well(self, sink: Sink) -> None:
        sink.follow(
            Script().then(
                Fault.results(
                    Ruling("drop", "rejected", event="bad"),
                    Ruling("retry", "not_persisted", every=3),
                    Ruling(None, uuids=frozenset({uuid(2)})),
                    Ruling("limited", uuids=frozenset({uuid(4)})),
                    Ruling("postponed", uuids=frozenset({uuid(5)})),
                )
            )
        )
        events = [event(n, event="bad" if n == 7 else "good") for n in range(1, 8)]

        first = send(sink, batch(*events))
        assert first.results == {
            uuid(1): {"result": "ok"},
            uuid(3): {"result": "retry", "details": "not_persisted"},
            uuid(4): {"result": "limited"},
            uuid(5): {"result": "postponed"},
            uuid(6): {"result": "retry", "details": "not_persisted"},
            uuid(7): {"result": "drop", "details": "rejected"},
        }
        assert first.headers["Retry-After"] == "1"
        assert first.headers["PostHog-Request-Id"] == REQUEST_ID
        assert sorted(row.uuid for row in sink.rows.values()) == [
            *(uuid(1), uuid(4), uuid(5))
        ]
        assert sink.requests[0].results["retry not_persisted"] == 2
        assert sink.requests[0].results["missing"] == 1

        again = [events[n - 1] for n in (2, 3, 6)]
        second = send(sink, batch(*again), attempt="2")
        assert second.words == ["ok"] * 3
        assert "Retry-After" not in second.headers

    def test_a_left_out_uuid_may_have_been_stored(self, sink: Sink) -> None:
        sink.follow(Script().then(Fault.results(Ruling(None, stores=True))))

        assert send(sink, batch(event())).results == {}
        assert len(sink.events) == 1

    def test_what_was_dropped_honestly_is_not_stored_by_a_lie(self, sink: Sink) -> None:
        sink.follow(Script().then(Fault.results(Ruling("ok"))))

        assert send(sink, batch(event(event=""))).words == ["ok"]
        assert sink.events == []

    def test_statuses_and_partial_storage_work_as_on_v0(self, sink: Sink) -> None:
        sink.follow(Script().then(Fault.partial(1), Fault.answer(402, "pay")))

        assert send(sink, batch(event(1), event(2))).status == 503
        assert len(sink.events) == 1
        assert send(sink, batch(event(1))).status == 402

    def test_results_say_nothing_to_protocol_v0(self, sink: Sink) -> None:
        sink.follow(Script().then(Fault.results(Ruling("retry"))))
        body = {"api_key": "phc_test", "batch": [event()]}

        reply = send(sink, json.dumps(body).encode(), path="/batch/")
        assert (reply.status, reply.body) == (200, b'{"status":"Ok"}')
