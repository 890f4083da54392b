"""A hundred projects: a lane each, and hardly more to carry than with one."""

import json
from pathlib import Path

import pytest

from benchmarks.process import look
from leanbase_relay.sink import Sink
from tests.support.intake import Client, event
from tests.support.process import RelayProcess, Settings
from tests.support.waiting import eventually, paced

pytestmark = pytest.mark.process

NAMES = [f"shop-{number}" for number in range(100)]
SETTINGS: Settings = {"projects": {name: {"api_key": f"phc_{name}"} for name in NAMES}}
EACH = 10
MOST_RSS_MB = 100
MOST_THREADS = len(NAMES) + 20
MOST_IDLE_SHARE = 0.01


def threads(relay: RelayProcess) -> int:
    return len(list(Path(f"/proc/{relay.pid}/task").iterdir()))


def send_to_all(relay: RelayProcess) -> None:
    """Events of all projects, mixed."""
    lines = [
        event(number * EACH + each, project=name)
        for each in range(EACH)
        for number, name in enumerate(NAMES)
    ]
    with Client(relay.socket) as client:
        client.send(b"".join(lines))
        client.replies_until(len(lines))


def test_a_hundred_projects_each_get_their_events_with_their_key(
    short_dir: Path,
) -> None:
    with Sink() as sink, RelayProcess(short_dir, sink.url, SETTINGS) as relay:
        send_to_all(relay)
        assert sink.wait_for(len(NAMES) * EACH, within_seconds=20)
        eventually(lambda: relay.status()["backlog"]["events"] == 0)

        delivered = {
            name: project["totals"]["delivered"]
            for name, project in relay.status()["projects"].items()
        }
        assert delivered == dict.fromkeys(NAMES, EACH) | {"default": 0}
        assert look(relay.pid).rss_max_mb < MOST_RSS_MB
        assert threads(relay) < MOST_THREADS
        assert relay.stop(within=10) == 0
    for request in sink.requests:
        number = NAMES.index(json.loads(request.body)["api_key"].removeprefix("phc_"))
        whose = {event["properties"]["n"] // EACH for event in request.events}
        assert whose == {number}


@pytest.mark.slow
def test_a_hundred_projects_that_have_nothing_to_send_cost_nothing(
    short_dir: Path,
) -> None:
    seconds = 10
    with Sink() as sink, RelayProcess(short_dir, sink.url, SETTINGS) as relay:
        send_to_all(relay)
        eventually(lambda: relay.status()["backlog"]["events"] == 0, within=20)
        (*_,) = paced(every=1, during=3)  # until what follows a delivery is done
        before = look(relay.pid)
        (*_,) = paced(every=1, during=seconds)
        after = look(relay.pid)

        spent = after.fine_cpu_seconds - before.fine_cpu_seconds
        assert spent / seconds < MOST_IDLE_SHARE
        assert relay.stop() == 0
