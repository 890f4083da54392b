"""`purge` gives up a backlog, and what it gives up is counted."""

import json
from contextlib import closing
from pathlib import Path

import pytest

from leanbase_relay import control
from leanbase_relay.sink import Fault, Script, Sink
from leanbase_relay.store.backlog import BacklogReader
from tests.support.process import RelayProcess
from tests.support.terminal import Terminal
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

RUNNING = pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
PROJECTS = {"projects": {"shop": {"api_key": "phc_shop"}}}
EVENT = b'{"event":"seen","distinct_id":"u1"}\n'


def backlog(relay: RelayProcess) -> dict[str, int]:
    _, look = relay.status_command()
    return {
        name: project["backlog"]["events"] for name, project in look["projects"].items()
    }


def dropped(relay: RelayProcess) -> int:
    _, look = relay.status_command()
    totals = look["totals"]
    parts = sum(totals[name] for name in ("delivered", "dead", "dropped"))
    assert totals["accepted"] == parts + look["backlog"]["events"]
    return int(totals["dropped"])


@RUNNING
def test_a_projects_backlog_is_given_up(short_dir: Path, *, running: bool) -> None:
    with RelayProcess(short_dir, settings=PROJECTS) as relay:
        relay.command("send", stdin=EVENT * 30)
        relay.command("send", "--project", "shop", stdin=EVENT * 12)
        if not running:
            relay.stop()

        done = relay.command("purge", "--project", "shop", "--yes")

        assert (done.returncode, backlog(relay)) == (0, {"default": 30, "shop": 0})
        assert done.stdout.startswith("Gave up 12 events, ")
        assert done.stderr.startswith("shop: 12 events, ")
        assert dropped(relay) == 12
        rest = relay.command("purge", "--yes", "--json")
        assert json.loads(rest.stdout)["dropped"] == 30
        assert backlog(relay) == {"default": 0, "shop": 0}


def test_what_is_young_is_kept(short_dir: Path) -> None:
    with RelayProcess(short_dir) as relay:
        relay.command("send", stdin=EVENT)

        done = relay.command("purge", "--older-than", "1h", "--yes")

        assert (done.returncode, done.stdout) == (0, "Nothing of that is waiting.\n")
        assert backlog(relay) == {"default": 1}


def test_without_a_terminal_it_wants_to_be_told(short_dir: Path) -> None:
    with RelayProcess(short_dir) as relay:
        relay.command("send", stdin=EVENT)

        done = relay.command("purge")

        assert done.returncode == 2
        assert done.stderr.startswith("default: 1 event, ")
        assert "--yes" in done.stderr
        assert dropped(relay) == 0


@pytest.mark.parametrize(("answer", "code", "gone"), [("y\n", 0, 1), ("n\n", 1, 0)])
def test_a_person_is_asked(short_dir: Path, answer: str, code: int, gone: int) -> None:
    with RelayProcess(short_dir) as relay:
        relay.command("send", stdin=EVENT)
        with Terminal("purge", "-c", relay.config) as terminal:
            terminal.await_text("Give them up? [y/N]")
            terminal.type(answer)
            assert terminal.wait() == code

        assert dropped(relay) == gone


@RUNNING
def test_a_project_that_cannot_be_meant_is_a_wrong_command_line(
    short_dir: Path, *, running: bool
) -> None:
    with RelayProcess(short_dir, settings=PROJECTS) as relay:
        relay.command("send", stdin=EVENT)
        if not running:
            relay.stop()

        typo = relay.command("purge", "--project", "defualt", "--yes")
        other = relay.command("purge", "--project", "\udcff", "--yes")

        assert typo.returncode == other.returncode == 2
        assert "there is no project defualt; did you mean default?" in typo.stderr
        assert r"'\udcff' is not UTF-8" in other.stderr
        assert backlog(relay)["default"] == 1


def test_a_project_that_is_not_configured_any_more_can_be_purged(
    short_dir: Path,
) -> None:
    with RelayProcess(short_dir, settings=PROJECTS) as relay:
        relay.command("send", "--project", "shop", stdin=EVENT)
        relay.stop()
        relay.configure()
        relay.start()

        done = relay.command("purge", "--project", "shop", "--yes")
        none = relay.command("purge", "--project", "shop", "--yes")

    assert (done.returncode, none.returncode) == (0, 0)
    assert done.stdout.startswith("Gave up 1 event, ")
    assert none.stdout == "Nothing of that is waiting.\n"


def test_a_purge_lets_a_held_project_go_on(short_dir: Path) -> None:
    """What is held is given up; what came later need not wait for its next attempt."""
    patient = {"retry": {"max_delay": "1h"}}
    wrong_key = Script().then(Fault.answer(401))
    with (
        Sink(script=wrong_key) as sink,
        RelayProcess(short_dir, sink.url, patient) as relay,
    ):
        relay.command("send", stdin=EVENT)
        eventually(lambda: relay.status()["state"] == "held")
        with closing(BacklogReader(relay.store)) as reader:
            upto = reader.highest()
        relay.command("send", "--historical-migration", stdin=EVENT)

        after: int | None = 0
        while after is not None:
            asked = control.ask(relay.control, "purge_backlog", upto=upto, after=after)
            after = asked["after"]

        assert sink.wait_for(1, within_seconds=5)
        assert dropped(relay) == 1


@pytest.mark.slow
def test_the_relay_goes_on_behind_a_purge(short_dir: Path) -> None:
    with RelayProcess(short_dir) as relay:
        relay.command("send", stdin=EVENT * 5)
        eventually(lambda: relay.status()["state"] == "backing_off")
        relay.command("purge", "--yes")
        with Sink() as sink:
            relay.stop()
            relay.configure(sink.url)
            relay.start()
            relay.command("send", stdin=EVENT)

            assert sink.wait_for(1, within_seconds=5)
            eventually(lambda: relay.status()["totals"]["delivered"] == 1)
        assert dropped(relay) == 5
