"""`status` tells the truth whether the daemon runs, hangs, is held or is stopped."""

import json
import os
import signal
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from leanbase_relay.sink import Sink
from tests.support.process import COMMAND, RelayProcess, as_nobody, relay_command
from tests.support.root import only_root
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

BACKLOG = {"events", "bytes", "oldest_age_seconds"}
TOTALS = {"accepted", "delivered", "dead", "dropped", "refused"}
UPSTREAM = {
    "url",
    "last_success_at",
    "last_error",
    "last_error_at",
    "attempt",
    "next_attempt_in_seconds",
}
EVENT = b'{"event":"seen","distinct_id":"u1"}\n'


def check_shape(look: dict[str, Any]) -> None:
    """Exactly the members that docs/protocol.md names."""
    assert set(look) == {
        *("version", "running", "pid", "uptime_seconds", "state", "backlog", "totals"),
        *("store", "spool", "projects", "problems"),
    }
    assert set(look["backlog"]) == BACKLOG
    assert set(look["totals"]) == TOTALS
    assert set(look["store"]) == {
        "path",
        "bytes",
        "max_bytes",
        "disk_free_bytes",
        "lost_events",
    }
    assert set(look["spool"]) == {"path", "waiting_files", "ignored_files"}
    for project in look["projects"].values():
        assert set(project) == {"state", "backlog", "totals", "upstream", "profiles"}
        assert set(project["profiles"]) == {"anonymous", "identified"}
        assert set(project["backlog"]) == BACKLOG
        assert set(project["totals"]) == TOTALS
        assert set(project["upstream"]) == UPSTREAM


def state(relay: RelayProcess) -> str:
    return str(relay.status()["state"])


def test_an_idle_relay_is_healthy(short_dir: Path) -> None:
    with RelayProcess(short_dir) as relay:
        code, look = relay.status_command()

    assert code == 0
    check_shape(look)
    assert look["state"] == "idle"
    assert look["running"] is True
    assert look["pid"] == relay.pid
    assert look["problems"] == []


def test_delivered_events_are_counted(short_dir: Path) -> None:
    with Sink() as sink, RelayProcess(short_dir, sink.url) as relay:
        relay.command("send", stdin=EVENT * 3)
        assert sink.wait_for(3, within_seconds=5)
        eventually(lambda: relay.status()["totals"]["delivered"] == 3)

        code, look = relay.status_command()

    assert code == 0
    assert look["totals"]["accepted"] == 3
    assert look["backlog"]["events"] == 0
    assert look["projects"]["default"]["upstream"]["last_success_at"] is not None


def test_before_the_first_start_all_figures_are_zero(short_dir: Path) -> None:
    relay = RelayProcess(short_dir)

    code, look = relay.status_command()

    assert code == 3
    check_shape(look)
    assert look["state"] == "stopped"
    assert look["running"] is False
    assert look["pid"] is None
    assert set(look["totals"].values()) == {0}
    assert not relay.store.exists()


def test_a_stopped_relay_shows_what_its_store_holds(short_dir: Path) -> None:
    with RelayProcess(short_dir) as relay:
        relay.command("send", stdin=EVENT * 3)
        relay.stop()

    code, look = relay.status_command()

    assert code == 3
    check_shape(look)
    assert look["state"] == "stopped"
    assert look["backlog"]["events"] == 3
    assert look["backlog"]["oldest_age_seconds"] is not None
    assert look["projects"]["default"]["upstream"]["url"].startswith("http://")


def test_a_hanging_relay_is_unresponsive_and_the_figures_come_from_the_store(
    short_dir: Path,
) -> None:
    with RelayProcess(short_dir) as relay:
        relay.command("send", stdin=EVENT * 3)
        relay.signal(signal.SIGSTOP)

        code, look = relay.status_command()

    assert code == 1
    check_shape(look)
    assert look["state"] == "unresponsive"
    assert look["running"] is True
    assert look["pid"] == relay.pid
    assert look["totals"]["accepted"] == 3
    assert "does not answer" in look["problems"][0]


def test_a_wrong_key_is_held_and_says_so(short_dir: Path) -> None:
    with (
        Sink(known_keys=frozenset({"phc_other"})) as sink,
        RelayProcess(short_dir, sink.url) as relay,
    ):
        relay.command("send", stdin=EVENT)
        eventually(lambda: state(relay) == "held")

        code, look = relay.status_command()
        shown = relay.command("status")

    assert code == 1
    assert "401" in look["problems"][0]
    assert shown.returncode == 1
    assert shown.stdout.startswith("held: needs you; nothing is lost\n")
    assert "Problems:\n- Project default is held" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert "\x1b" not in shown.stdout


def test_an_unreachable_upstream_is_backing_off(short_dir: Path) -> None:
    with RelayProcess(short_dir) as relay:
        relay.command("send", stdin=EVENT)
        eventually(lambda: state(relay) == "backing_off")

        code, look = relay.status_command()

    assert code == 1
    assert look["projects"]["default"]["upstream"]["attempt"] >= 1


def test_the_keys_are_not_needed_to_look(short_dir: Path) -> None:
    """The daemon has its key as a credential of systemd, which no shell can see."""
    with RelayProcess(short_dir) as relay:
        relay.configure(settings={"projects": {"default": None}})

        code, _ = relay.status_command()

    assert code == 0


def status_as_nobody(
    relay: RelayProcess, *arguments: str, groups: tuple[int, ...] = ()
) -> "subprocess.CompletedProcess[str]":
    return as_nobody("status", "-c", str(relay.config), *arguments, groups=groups)


@only_root
def test_a_store_that_may_not_be_read_does_not_hide_that_the_relay_is_stopped(
    short_dir: Path,
) -> None:
    with RelayProcess(short_dir) as relay:
        relay.stop()
    short_dir.chmod(0o755)

    done = status_as_nobody(relay)

    assert done.returncode == 3
    assert done.stdout.startswith("stopped: ")
    assert "The figures are missing" in done.stdout


@only_root
def test_who_may_not_ask_is_told_whom_to_join(short_dir: Path) -> None:
    with RelayProcess(short_dir) as relay:
        short_dir.chmod(0o755)

        done = status_as_nobody(relay)

    assert done.returncode == 1
    assert "it is for root and the group root" in done.stderr
    assert "usermod" in done.stderr


@only_root
def test_a_member_of_the_group_needs_no_root(short_dir: Path) -> None:
    """1. It runs. 2. It hangs. 3. It is stopped: the group reads the store."""
    group = 54321
    os.chown(short_dir, -1, group)
    short_dir.chmod(0o2750)  # what is made below is the group's
    with RelayProcess(short_dir) as relay:
        relay.control.chmod(0o660)
        relay.command("send", stdin=EVENT * 3)
        eventually(lambda: relay.status()["problems"])
        running = status_as_nobody(relay, groups=(group,))
        relay.signal(signal.SIGSTOP)
        hanging = status_as_nobody(relay, groups=(group,))
        relay.signal(signal.SIGCONT)
        relay.stop()
        stopped = status_as_nobody(relay, groups=(group,))

    assert [done.returncode for done in (running, hanging, stopped)] == [1, 1, 3]
    assert "rates  " in running.stdout
    assert "3 events" in hanging.stdout, hanging.stderr
    assert "3 events" in stopped.stdout


def test_one_line_for_a_monitor(short_dir: Path) -> None:
    with RelayProcess(short_dir) as relay:
        running = relay.command("status", "--brief")
        relay.stop()
        stopped = relay.command("status", "--brief")

    assert running.returncode == 0
    assert running.stdout.startswith("LEANBASE-RELAY OK: idle, backlog empty, ")
    assert stopped.returncode == 3
    assert stopped.stdout.startswith("LEANBASE-RELAY CRITICAL: stopped, ")
    assert len(stopped.stdout.splitlines()) == 1


@only_root
def test_who_may_not_ask_gets_a_line_too(short_dir: Path) -> None:
    with RelayProcess(short_dir) as relay:
        short_dir.chmod(0o755)

        done = status_as_nobody(relay, "--brief")

    assert done.returncode == 1
    assert done.stdout.startswith("LEANBASE-RELAY UNKNOWN: you may not")


def test_two_forms_at_once_are_refused(short_dir: Path) -> None:
    done = RelayProcess(short_dir).command("status", "--json", "--brief")

    assert done.returncode == 2


def test_watching_needs_a_terminal(short_dir: Path) -> None:
    done = RelayProcess(short_dir).command("status", "--watch")

    assert done.returncode == 2
    assert "--json" in done.stderr


def test_a_configuration_that_is_wrong_has_its_own_exit_code(short_dir: Path) -> None:
    done = relay_command("status", "-c", short_dir / "none.yaml")

    assert done.returncode == 78
    assert "there is no such file" in done.stderr


def test_status_imports_nothing_heavy(short_dir: Path) -> None:
    heavy = (
        *("requests", "asyncio", "aiohttp", "rich", "sqlite_utils", "watchdog"),
        *("tenacity", "simdjson", "prometheus_client"),
    )
    with RelayProcess(short_dir) as relay:
        code = (
            "import json, sys\n"
            "from leanbase_relay.cli import main\n"
            f"main(['status', '-c', '{relay.config}'], standalone_mode=False)\n"
            f"print(json.dumps([each for each in {heavy} if each in sys.modules]))\n"
        )

        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )

    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_status_answers_at_once(short_dir: Path) -> None:
    """Processor time, seen from outside: on a busy machine the wall clock tells how
    busy the others are."""
    unwatched = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("COVERAGE_")
    }
    seconds = []
    with RelayProcess(short_dir) as relay:
        for _ in range(5):
            before = os.times()
            subprocess.run(
                [COMMAND, "status", "-c", relay.config],
                check=True,
                capture_output=True,
                env=unwatched,
            )
            after = os.times()
            seconds.append(
                after.children_user
                - before.children_user
                + after.children_system
                - before.children_system
            )

    assert statistics.median(seconds) < 0.2


def test_the_nagios_plugin_speaks_nagios(short_dir: Path) -> None:
    plugin = Path(__file__).parents[2] / "examples/nagios/check_leanbase_relay"
    path = f"{COMMAND.parent}:{os.environ['PATH']}"

    def check(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["/bin/sh", plugin, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": path},
        )

    with RelayProcess(short_dir) as relay:
        well = check("-c", str(relay.config))
        relay.stop()
        ill = check("-c", str(relay.config))
    nothing = check("-c", str(short_dir / "none.yaml"))

    assert (well.returncode, ill.returncode, nothing.returncode) == (0, 2, 3)
    assert well.stdout.startswith("LEANBASE-RELAY OK: ")
    assert nothing.stdout.startswith("LEANBASE-RELAY UNKNOWN: ")
    assert nothing.stderr == ""


def test_what_waits_of_a_project_that_was_removed_is_named(short_dir: Path) -> None:
    """1. Both are configured. 2. One is not any more. 3. It is given up."""
    both = {"projects": {"shop": {"api_key": "phc_shop"}}}
    with RelayProcess(short_dir, settings=both) as relay:
        relay.command("send", "--project", "shop", stdin=EVENT * 7)
        relay.stop()
        relay.configure()
        relay.start()

        code, look = relay.status_command()
        (problem,) = [one for one in look["problems"] if "shop" in one]
        relay.command("purge", "--project", "shop", "--yes")
        after, _ = relay.status_command()

    assert (code, after) == (1, 0)
    assert look["state"] == look["projects"]["shop"]["state"] == "held"
    assert look["backlog"]["events"] == 7
    assert "not configured any more, and 7 of its events wait" in problem
