"""`top`: what waits by name, and what came lately though it was delivered by now."""

import json
from pathlib import Path
from typing import Any

import pytest

from leanbase_relay.sink import Sink
from tests.support.process import RelayProcess
from tests.support.terminal import Terminal

pytestmark = pytest.mark.process


def lines(name: str, number: int, **members: object) -> bytes:
    event = {"event": name, "distinct_id": "u", **members}
    return (json.dumps(event).encode() + b"\n") * number


def found(relay: RelayProcess) -> dict[tuple[str, str], dict[str, Any]]:
    done = relay.command("top", "--json")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    return {(one["project"], one["event"]): one for one in value["events"]}


def test_what_waits_is_counted_with_the_relay_running_or_stopped(
    short_dir: Path,
) -> None:
    projects = {"projects": {"shop": {"api_key": "phc_shop"}}}
    with RelayProcess(short_dir, settings=projects) as relay:
        relay.command("send", stdin=lines("seen", 700) + lines("bought", 30))
        relay.command("send", stdin=lines("seen", 5, project="shop"))

        running = found(relay)
        assert relay.stop() == 0
        stopped = found(relay)

    assert {key: one["waiting"] for key, one in running.items()} == {
        ("default", "seen"): 700,
        ("default", "bought"): 30,
        ("shop", "seen"): 5,
    }
    assert {key: one["waiting"] for key, one in stopped.items()} == {
        key: one["waiting"] for key, one in running.items()
    }
    assert all(one["came"] is None for one in stopped.values())
    assert running["shop", "seen"]["oldest_age_seconds"] < 60


def test_what_came_is_told_though_it_was_delivered(short_dir: Path) -> None:
    with Sink() as sink, RelayProcess(short_dir, sink.url) as relay:
        relay.command("send", stdin=lines("seen", 7) + lines("bought", 3))
        assert sink.wait_for(2, within_seconds=10)
        relay.command("flush", "--wait", "10")

        told = found(relay)
        screen = relay.command("top").stdout

    assert told["default", "seen"]["waiting"] == 0
    assert told["default", "seen"]["came"] == 7
    assert told["default", "bought"]["came"] == 3
    assert screen.splitlines()[-1].split() == ["all", "-", "10"]


def test_what_was_dropped_or_refused_did_not_come(short_dir: Path) -> None:
    with RelayProcess(short_dir) as relay:
        relay.command("send", stdin=lines("seen", 2) + b"no event\n")

        assert {key: one["came"] for key, one in found(relay).items()} == {
            ("default", "seen"): 2
        }


def test_without_a_store_there_is_nothing(short_dir: Path) -> None:
    done = RelayProcess(short_dir).command("top")

    assert (done.returncode, done.stdout) == (0, "nothing waits\n")


def test_it_is_watched_on_a_terminal_only(short_dir: Path) -> None:
    with RelayProcess(short_dir) as relay:
        relay.command("send", stdin=lines("seen", 12))
        with Terminal("top", "-c", relay.config, "--watch") as terminal:
            terminal.await_text("seen", times=2)
            relay.command("send", stdin=lines("bought", 1))
            text = terminal.await_text("bought")
            assert terminal.interrupt() == 0

        piped = relay.command("top", "--watch")

    assert "waiting  share  oldest" in text
    assert piped.returncode == 2
