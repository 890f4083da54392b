"""SDKs of Python and Node, unmodified, through the installed daemon to the sink."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import posthog
import pytest

from leanbase_relay.sink import Sink
from tests.support import node
from tests.support.ports import free_port
from tests.support.process import WITHIN_SECONDS, RelayProcess, Settings
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

KEY = "phc_test"
NODE_EVENTS = 107
NODE_NAMES = {
    *("order placed", "$pageview", "elsewhere", "$identify", "$create_alias"),
    *("$groupidentify", "$exception", "again"),
}


class Http:
    """The settings of a relay with a port, and its URL."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings: Settings = {
            "http": {"listen": [f"127.0.0.1:{self.port}"]},
            "retry": {"max_delay": "500ms"},
        }


@pytest.fixture
def http() -> Http:
    return Http()


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture(scope="module")
def sdk() -> Path:
    return node.installed()


def python_sdk(url: str, **settings: Any) -> posthog.Posthog:
    return posthog.Posthog(KEY, host=url, flush_interval=0.1, **settings)


class TestPython:
    def test_events_go_all_the_way(
        self, short_dir: Path, sink: Sink, http: Http
    ) -> None:
        with RelayProcess(short_dir, sink.url, http.settings) as relay:
            sdk = python_sdk(http.url, gzip=True)
            for number in range(250):
                sdk.capture("e", distinct_id="u", properties={"n": number})
            sdk.shutdown()

            assert relay.status()["totals"]["accepted"] == 250
            assert sink.wait_for(250, WITHIN_SECONDS)
            assert [row["properties"]["n"] for row in sink.events] == [*range(250)]
            assert relay.stop() == 0

    def test_the_app_is_served_while_upstream_is_away(
        self, short_dir: Path, sink: Sink, http: Http
    ) -> None:
        sink.stop()
        failed: list[Exception] = []
        with RelayProcess(short_dir, sink.url, http.settings) as relay:
            sdk = python_sdk(http.url, on_error=lambda error, _: failed.append(error))
            for number in range(100):
                sdk.capture("e", distinct_id="u", properties={"n": number})
            sdk.shutdown()
            assert relay.status()["backlog"]["events"] == 100
            sink.start()

            assert sink.wait_for(100, WITHIN_SECONDS)
        assert failed == []
        assert len(sink.rows) == 100

    @pytest.mark.slow
    def test_nothing_is_lost_when_the_relay_is_killed_and_started_again(
        self, short_dir: Path, sink: Sink, http: Http
    ) -> None:
        """The SDK tries again for a few seconds; what was answered is on disk."""
        failed: list[Exception] = []
        with RelayProcess(short_dir, sink.url, http.settings) as relay:
            sdk = python_sdk(
                http.url,
                flush_at=10,
                max_retries=10,
                on_error=lambda error, _: failed.append(error),
            )
            for number in range(100):
                sdk.capture("e", distinct_id="u", properties={"n": number})
                if number == 50:
                    eventually(lambda: relay.status()["totals"]["accepted"] > 0)
                    relay.kill()
            relay.start()
            sdk.shutdown()

            eventually(lambda: len(sink.rows) == 100, WITHIN_SECONDS)
        assert failed == []
        assert {event["properties"]["n"] for event in sink.events} == {*range(100)}


class TestNode:
    @pytest.mark.parametrize(
        "how", [{}, {"options": '{"disableCompression":true}'}, {"mode": "v1"}]
    )
    def test_everything_that_an_app_does_goes_all_the_way(
        self,
        short_dir: Path,
        sink: Sink,
        http: Http,
        sdk: Path,
        how: dict[str, str],
    ) -> None:
        with RelayProcess(short_dir, sink.url, http.settings) as relay:
            said = node.use(sdk, http.url, KEY, **how)

            assert said == "done\n"
            totals = relay.status()["totals"]
            assert (totals["accepted"], totals["refused"]) == (NODE_EVENTS, 0)
            assert sink.wait_for(NODE_EVENTS, WITHIN_SECONDS)
        assert {event["event"] for event in sink.events} == NODE_NAMES
        libraries = {event["properties"]["$lib"] for event in sink.events}
        assert libraries == {"posthog-node"}
        assert len(sink.rows) == NODE_EVENTS

    def test_upstream_stores_what_it_stores_without_the_relay(
        self, short_dir: Path, sink: Sink, http: Http, sdk: Path
    ) -> None:
        """But for what differs from run to run: uuids, and times."""
        with Sink() as direct:
            assert node.use(sdk, direct.url, KEY) == "done\n"
            assert direct.wait_for(NODE_EVENTS, WITHIN_SECONDS)
            wanted = sorted(map(steady, direct.events))
        with RelayProcess(short_dir, sink.url, http.settings):
            assert node.use(sdk, http.url, KEY) == "done\n"
            assert sink.wait_for(NODE_EVENTS, WITHIN_SECONDS)

        assert sorted(map(steady, sink.events)) == wanted

    @pytest.mark.slow
    def test_it_waits_for_a_relay_that_is_started_again(
        self, short_dir: Path, sink: Sink, http: Http, sdk: Path
    ) -> None:
        with RelayProcess(short_dir, sink.url, http.settings) as relay:
            relay.kill()
            app = node.start(sdk, http.url, KEY, options='{"fetchRetryCount":100}')
            relay.start()
            said = app.communicate(timeout=node.WITHIN_SECONDS)[0]

            assert said.endswith("done\n")
            eventually(lambda: len(sink.rows) == NODE_EVENTS, WITHIN_SECONDS)

    def test_a_wrong_key_is_told_to_the_app_and_to_the_operator(
        self, short_dir: Path, sink: Sink, http: Http, sdk: Path
    ) -> None:
        with RelayProcess(short_dir, sink.url, http.settings) as relay:
            said = node.use(sdk, http.url, "phc_wrong")

            assert "401" in said
            (problem,) = relay.status()["problems"]
            assert "with an API key that no project has" in problem
            assert "phc_wrong" not in problem + relay.log


def steady(event: dict[str, Any]) -> str:
    """An event without what no two runs have alike."""
    kept = {name: event[name] for name in event if name not in ("uuid", "timestamp")}
    kept["properties"] = {
        name: value
        for name, value in event["properties"].items()
        if name not in ("$exception_list", "$exception_fingerprint", "$time")
    }
    return json.dumps(kept, sort_keys=True)
