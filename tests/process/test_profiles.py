"""Anonymous and identified events, through a whole relay and over a restart."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from leanbase_relay.sink import Sink
from tests.support.process import RelayProcess
from tests.support.waiting import eventually

pytestmark = pytest.mark.process


def send(relay: RelayProcess, *events: dict[str, Any]) -> None:
    with socket.socket(socket.AF_UNIX) as producer:
        producer.connect(str(relay.socket))
        lines = [json.dumps({"event": "e", **event}) for event in events]
        producer.sendall("\n".join([*lines, ""]).encode())
        producer.shutdown(socket.SHUT_WR)
        with producer.makefile("rb") as replies:
            *_, last = replies
    assert json.loads(last)["stored"] == len(events)


def marks(sink: Sink) -> list[object]:
    return [
        event.get("properties", {}).get("$process_person_profile")
        for event in sink.events
    ]


def test_who_was_identified_is_known_after_a_kill(short_dir: Path) -> None:
    settings = {"events": {"person_profiles": "identified_only"}}
    with Sink() as sink, RelayProcess(short_dir, sink.url, settings) as relay:
        send(relay, {"distinct_id": "u1"})
        send(relay, {"event": "$identify", "distinct_id": "u1"})
        relay.kill()
        relay.start()
        send(relay, {"distinct_id": "u1"}, {"distinct_id": "u2"})

        eventually(lambda: len({event["uuid"] for event in sink.events}) == 4)
        profiles = relay.status()["projects"]["default"]["profiles"]
    assert {mark: marks(sink).count(mark) for mark in (None, False)} == {
        None: 2,
        False: 2,
    }
    assert marks(sink)[-2:] == [None, False]
    assert profiles == {"anonymous": 2, "identified": 2}


def test_never_keeps_events_about_persons_and_says_why(short_dir: Path) -> None:
    settings = {"events": {"person_profiles": "never"}}
    with Sink() as sink, RelayProcess(short_dir, sink.url, settings) as relay:
        done = relay.command("identify", "--distinct-id", "u1", "-p", "plan=pro")
        send(relay, {"distinct_id": "u1"})

        assert sink.wait_for(1, within_seconds=10)
        assert relay.status()["totals"]["refused"] == 1
    assert done.returncode == 4
    assert "events.person_profiles is never" in done.stderr
    assert marks(sink) == [False]
