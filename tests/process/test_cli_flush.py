"""`flush` sends now, and its exit code tells whether all of it went."""

import signal
from pathlib import Path
from typing import Any

import pytest

from leanbase_relay import control
from leanbase_relay.sink import Fault, Script, Sink
from tests.support.process import RelayProcess
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

PATIENT = {"batch": {"max_wait": "1h"}}
EVENT = b'{"event":"seen","distinct_id":"u1"}\n'


def test_a_flush_does_not_wait_for_a_full_batch(short_dir: Path) -> None:
    with Sink() as sink, RelayProcess(short_dir, sink.url, PATIENT) as relay:
        relay.command("send", stdin=EVENT * 3)
        done = relay.command("flush", "--wait", "5")

        assert sink.counts.events == 3

    assert (done.returncode, done.stdout) == (0, "The backlog is empty.\n")


def test_without_waiting_it_only_says_what_is_sent(short_dir: Path) -> None:
    with Sink() as sink, RelayProcess(short_dir, sink.url, PATIENT) as relay:
        relay.command("send", stdin=EVENT * 3)
        done = relay.command("flush")

        assert sink.wait_for(3, within_seconds=5)

    assert (done.returncode, done.stdout) == (0, "Sending 3 events.\n")


def test_time_that_is_up_is_a_failure(short_dir: Path) -> None:
    script = Script().then_always(Fault.answer(503))
    with Sink(script=script) as sink, RelayProcess(short_dir, sink.url) as relay:
        relay.command("send", stdin=EVENT)
        done = relay.command("flush", "--wait", "0.3")

    assert done.returncode == 1
    assert done.stderr.startswith("1 event left.\n")
    assert "503" in done.stderr


def test_a_hold_ends_the_waiting_after_its_attempt(short_dir: Path) -> None:
    keys = frozenset({"phc_other"})
    with Sink(known_keys=keys) as sink, RelayProcess(short_dir, sink.url) as relay:
        relay.command("send", stdin=EVENT)
        eventually(lambda: relay.status()["state"] == "held")
        attempts = sink.counts.requests
        done = relay.command("flush", "--wait", "15")

        assert sink.counts.requests > attempts

    assert done.returncode == 1
    assert "held" in done.stderr


def test_a_hold_that_a_flush_mends_is_a_success(short_dir: Path) -> None:
    script = Script().then(Fault.answer(401))
    with Sink(script=script) as sink, RelayProcess(short_dir, sink.url) as relay:
        relay.command("send", stdin=EVENT)
        eventually(lambda: relay.status()["state"] == "held")

        done = relay.command("flush", "--wait", "15")

    assert done.returncode == 0


TWO: dict[str, dict[str, Any]] = {
    "batch": {"max_wait": "1h"},
    "projects": {"shop": {"api_key": "phc_shop"}},
}


def test_one_project_can_be_flushed_alone(short_dir: Path) -> None:
    with Sink() as sink, RelayProcess(short_dir, sink.url, TWO) as relay:
        relay.command("send", stdin=EVENT * 3)
        relay.command("send", "--project", "shop", stdin=EVENT * 2)

        done = relay.command("flush", "--project", "shop", "--wait", "5")

        assert (done.returncode, done.stdout) == (0, "The backlog is empty.\n")
        assert sink.counts.events == 2
        projects = relay.status()["projects"]
    assert projects["default"]["backlog"]["events"] == 3


def test_who_waits_for_the_upstream_all_the_same_is_named(short_dir: Path) -> None:
    script = Script().then_always(Fault.answer(429, retry_after=600))
    with Sink(script=script) as sink, RelayProcess(short_dir, sink.url, TWO) as relay:
        relay.command("send", "--project", "shop", stdin=EVENT)
        assert relay.command("flush").stderr == ""
        eventually(lambda: relay.status()["state"] == "backing_off")

        done = relay.command("flush")
        other = relay.command("flush", "--project", "default")

    assert (done.returncode, done.stdout) == (0, "")
    assert other.stdout == "Sending 0 events.\n"
    assert done.stderr == (
        "Project shop waits 10 min more: the upstream asked for it (Retry-After).\n"
    )
    assert other.stderr == ""


def test_a_project_that_is_not_there_is_a_wrong_command_line(short_dir: Path) -> None:
    with RelayProcess(short_dir, settings=TWO) as relay:
        typo = relay.command("flush", "--project", "shpo")
        bytes_ = relay.command("flush", "--project", "\udcff")

    assert typo.returncode == bytes_.returncode == 2
    assert "there is no project shpo; did you mean shop?" in typo.stderr
    assert r"'\udcff' is not UTF-8" in bytes_.stderr


@pytest.mark.parametrize("project", ["gone", "", 7, [], {}])
def test_a_request_for_no_project_ends_nobody(short_dir: Path, project: object) -> None:
    with RelayProcess(short_dir) as relay:
        answer = control.ask(relay.control, "flush", project=project)

        assert answer == {"error": f"project {project} is not configured"}
        assert relay.status()["running"]


def test_a_hanging_daemon_is_named(short_dir: Path) -> None:
    with RelayProcess(short_dir) as relay:
        relay.signal(signal.SIGSTOP)

        done = relay.command("flush")

    assert done.returncode == 1
    assert "does not answer within a second" in done.stderr


def test_without_a_daemon_it_says_so(short_dir: Path) -> None:
    assert RelayProcess(short_dir).command("flush").returncode == 3
