"""The service under a real systemd, on a Debian 12 that has just been installed.

Under load and through every kind of end, no app is refused and nothing is lost that was
said to be stored.
"""

import os
import signal
from pathlib import Path

import pytest

from tests.acceptance.machine import Machine
from tests.acceptance.service import (
    CONFIG,
    DROP_IN,
    KEY,
    SOCKET,
    UNIT,
    Service,
    repacked,
)
from tests.support import old_store
from tests.support.freezer import frozen
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.process]

SPOOL = "/var/spool/leanbase-relay"
WATCHDOG_SECONDS = 3


def is_active(service: Service) -> bool:
    return service.show("ActiveState") == "active"


# Installed.


def test_without_a_key_the_service_says_what_it_wants(installed: Service) -> None:
    enabled = installed.machine.run("systemctl", "enable", "--now", UNIT, check=False)

    assert enabled.returncode != 0
    assert "write the project's API key" in installed.log("-p", "err")
    assert installed.show("ExecMainStatus") == "78"

    # And that is all it wants.
    installed.machine.write(KEY, "phc_first\n")
    installed.systemctl("restart", UNIT)
    assert is_active(installed)
    assert installed.show("UnitFileState") == "enabled"
    assert installed.show("UnitFileState", SOCKET) == "enabled"
    assert installed.show("StatusText") == "idle, 0 events waiting"


def test_apps_in_the_group_send_by_socket_and_spool(service: Service) -> None:
    said = service.capture("by-socket")
    service.machine.run(
        "sh",
        "-c",
        'umask 027; cd /var/spool/leanbase-relay; echo "$1" > x.tmp; mv x.tmp x.jsonl',
        "sh",
        '{"event":"by-spool","distinct_id":"u"}',
        user="app",
    )

    assert said.returncode == 0, said.stderr
    assert service.delivers("by-socket")
    assert service.delivers("by-spool")
    assert not service.machine.file(f"{SPOOL}/x.jsonl").exists()
    assert service.status()["problems"] == []


def test_a_file_written_in_place_is_watched_by_lease(service: Service) -> None:
    """CAP_LEASE lets the relay ask who has another user's file open."""
    writing = service.machine.start(
        "sh",
        "-c",
        'exec > /var/spool/leanbase-relay/w.jsonl; echo "$1"; read _; echo "$2"',
        "sh",
        '{"event":"written-first","distinct_id":"u"}',
        '{"event":"written-last","distinct_id":"u"}',
        user="app",
    )
    assert service.delivers("written-first")
    assert service.machine.file(f"{SPOOL}/w.jsonl").exists()

    writing.communicate("go on\n", timeout=20)

    assert service.delivers("written-last")
    assert not any("lease" in problem for problem in service.status()["problems"])


def test_a_user_outside_the_group_is_kept_out(service: Service) -> None:
    sent = service.capture("by-stranger", user="stranger")
    spooled = service.machine.run(
        "touch", f"{SPOOL}/y.jsonl", user="stranger", check=False
    )
    looked = service.machine.run(
        "cat", "/var/lib/leanbase-relay/relay.db", user="stranger", check=False
    )

    assert sent.returncode == 1
    assert "usermod -aG leanbase-relay stranger" in sent.stderr
    assert spooled.returncode != 0
    assert looked.returncode != 0


def test_the_origin_of_a_refused_line_is_the_apps_own_user(service: Service) -> None:
    service.machine.run(
        "python3",
        "-c",
        "import socket; s = socket.socket(socket.AF_UNIX);"
        "s.connect('/run/leanbase-relay/relay.sock'); s.sendall(b'no event\\n');"
        "s.recv(999)",
        user="app",
    )
    app = service.machine.run("id", "-u", "app").stdout.strip()
    letters = service.machine.run("leanbase-relay", "dead-letters", "list", "--json")

    assert f"uid={app} " in letters.stdout


# Started again.


def test_restarts_under_load_refuse_nobody_and_lose_nothing(service: Service) -> None:
    with service.load() as load:
        for _ in range(5):
            service.systemctl("restart", UNIT)

    print(f"restart gap: {load.longest_seconds:.3f} s at most, {load}")
    assert load.refused == 0
    # Half a second on a quiet machine; the relay itself promises 10 s to stop.
    assert load.longest_seconds < 20
    assert service.delivers_all()


def test_a_killed_relay_comes_back_and_apps_wait_for_it(service: Service) -> None:
    before = service.pid
    with service.load() as load:
        os.kill(service.machine.pid_outside(before), signal.SIGKILL)
        eventually(lambda: service.restarts == 1 and is_active(service), within=30)

    assert load.refused == 0
    assert service.delivers_all()


def test_a_stopped_relay_is_started_by_whoever_connects(service: Service) -> None:
    service.systemctl("stop", UNIT)
    assert not is_active(service)

    assert service.capture("wakes-it").returncode == 0
    assert is_active(service)


def test_asking_how_a_stopped_relay_is_does_not_start_it(service: Service) -> None:
    service.systemctl("stop", UNIT)

    assert service.status()["state"] == "stopped"
    assert not is_active(service)


def test_stopping_the_socket_stops_all_and_the_socket_file_comes_back(
    service: Service,
) -> None:
    service.systemctl("stop", SOCKET)
    assert not is_active(service)
    assert service.capture("nobody").returncode != 0

    service.systemctl("start", UNIT)
    assert service.capture("somebody").returncode == 0


def test_a_relay_that_cannot_start_does_not_burn_the_machine(service: Service) -> None:
    service.configure("nonsense: true\n")
    service.systemctl("restart", UNIT, check=False)
    with service.machine.start(
        "sh",
        "-c",
        "while :; do leanbase-relay capture e --distinct-id u; sleep 0.1; done",
        user="app",
    ) as app:
        eventually(lambda: service.show("Result", SOCKET) != "success", within=60)
        app.kill()

    assert service.log().count("nonsense") <= 25
    service.configure()
    service.systemctl("reset-failed", UNIT, SOCKET)
    service.systemctl("start", UNIT)
    assert is_active(service)


def test_the_capture_api_is_held_by_systemd_too(service: Service) -> None:
    service.systemctl("stop", SOCKET)
    service.systemctl("start", "leanbase-relay-http.socket", UNIT)
    post = (
        "import sys, urllib.request as r; print(r.urlopen(r.Request("
        "'http://127.0.0.1:8010/capture/', sys.argv[1].encode(), "
        "{'Content-Type': 'application/json'})).read())"
    )
    body = '{"api_key":"phc_first","event":"by-http","distinct_id":"u"}'
    service.systemctl("stop", UNIT)

    said = service.machine.run("python3", "-c", post, body, user="app")

    assert "Ok" in said.stdout
    assert service.delivers("by-http")
    service.systemctl("stop", "leanbase-relay-http.socket")


# Reloaded.


def test_a_reload_takes_what_can_be_taken_and_keeps_the_process(
    service: Service,
) -> None:
    before = service.pid
    service.configure("log: {level: debug}\n")

    service.systemctl("reload", UNIT)

    eventually(lambda: "config_reloaded" in service.log(), within=10)
    assert service.pid == before
    assert is_active(service)


def test_a_wrong_configuration_is_told_and_the_old_one_stays(service: Service) -> None:
    before = service.pid
    service.configure("batch: {max_evnts: 1}\n")

    service.systemctl("reload", UNIT)

    eventually(lambda: "max_evnts" in service.show("StatusText"), within=10)
    assert "max_evnts" in service.log("-p", "err")
    assert (service.pid, is_active(service)) == (before, True)
    assert service.capture("all-the-same").returncode == 0


def test_a_new_key_is_taken_by_a_restart(service: Service) -> None:
    service.machine.write(KEY, "phc_second\n")
    service.systemctl("restart", UNIT)

    service.capture("with-the-second-key")

    assert service.delivers("with-the-second-key")
    assert "with-the-second-key" in service.taken("phc_second")
    seen = service.log() + service.machine.run("ps", "axww", check=False).stdout
    assert "phc_" not in seen


def test_a_key_in_a_file_of_its_own_is_taken_by_a_reload(service: Service) -> None:
    path = "/etc/shop.key"
    service.machine.write(path, "phc_third\n")
    service.machine.run("chown", "root:leanbase-relay", path)
    service.machine.run("chmod", "0640", path)
    service.configure(f"projects: {{default: {{api_key_file: {path}}}}}\n")
    service.systemctl("restart", UNIT)
    before = service.pid
    service.machine.write(path, "phc_fourth\n")

    service.systemctl("reload", UNIT)
    eventually(lambda: "config_reloaded" in service.log(), within=10)
    service.capture("with-the-fourth-key")

    assert service.delivers("with-the-fourth-key")
    assert "with-the-fourth-key" in service.taken("phc_fourth")
    assert service.pid == before


# Watched.


def test_an_idle_relay_is_left_alone_by_its_watchdog(service: Service) -> None:
    service.drop_in(f"WatchdogSec={WATCHDOG_SECONDS}")
    before = service.pid

    service.machine.run("sleep", str(4 * WATCHDOG_SECONDS))

    assert (service.pid, service.restarts) == (before, 0)


def test_an_unreachable_upstream_is_no_reason_to_end(service: Service) -> None:
    service.systemctl("stop", "upstream")
    service.drop_in(f"WatchdogSec={WATCHDOG_SECONDS}")
    before = service.pid
    service.capture("waits-for-the-upstream")

    service.machine.run("sleep", str(4 * WATCHDOG_SECONDS))

    assert (service.pid, service.restarts) == (before, 0)
    assert service.show("StatusText").startswith("backing off, ")


def test_a_frozen_process_is_ended_and_started_again(service: Service) -> None:
    service.drop_in(f"WatchdogSec={WATCHDOG_SECONDS}")
    with service.load() as load:
        os.kill(service.machine.pid_outside(service.pid), signal.SIGSTOP)
        eventually(lambda: service.restarts == 1 and is_active(service), within=40)

    assert "Watchdog timeout" in service.log()
    assert load.refused == 0
    assert service.delivers_all()


@pytest.mark.parametrize("thread", ["main", "writer", "intake", "spool"])
def test_a_frozen_thread_is_found_out(service: Service, thread: str) -> None:
    service.drop_in(f"WatchdogSec={WATCHDOG_SECONDS}")
    # Events wait, so that each thread has a reason to move.
    with service.load() as load:
        with frozen(service.machine.pid_outside(service.pid), thread):
            eventually(lambda: service.restarts == 1, within=40)
        eventually(lambda: is_active(service), within=20)

    log = service.log()
    assert "Watchdog timeout" in log
    assert f"thread_silent thread={thread}" in log or thread == "main"
    assert load.refused == 0
    assert service.delivers_all()


def test_a_frozen_lane_is_found_out_when_there_is_something_to_send(
    service: Service,
) -> None:
    service.drop_in(f"WatchdogSec={WATCHDOG_SECONDS}")
    with frozen(service.machine.pid_outside(service.pid), "lane"):
        service.capture("for-the-frozen-lane")
        eventually(lambda: service.restarts == 1, within=40)

    assert "thread_silent thread=lane default" in service.log()
    assert service.delivers("for-the-frozen-lane")


# Upgraded, unplugged, removed.


def test_an_upgrade_under_load_with_a_backlog_loses_nothing(
    service: Service, package: Path
) -> None:
    service.systemctl("stop", "upstream")
    before = service.pid
    with service.load() as load:
        service.install(repacked(package, "9.0.0"))
        assert service.pid != before
        assert is_active(service)

    assert load.refused == 0
    assert service.status()["backlog"]["events"] >= load.stored
    assert "phc_first" in service.machine.file(KEY).read_text()
    assert "8020" in service.machine.file(CONFIG).read_text()

    service.systemctl("start", "upstream")
    assert service.delivers_all()


def test_an_upgrade_brings_the_store_of_an_older_version_up_to_date(
    service: Service, package: Path
) -> None:
    """The store is one of the first version's; the package is a later one."""
    service.systemctl("stop", "upstream")
    service.systemctl("stop", SOCKET, UNIT)
    run, directory = service.machine.run, Path("/var/lib/leanbase-relay")
    here = service.machine.file(str(directory))
    for file in (*here.iterdir(), *service.machine.file(SPOOL).iterdir()):
        file.unlink()
    old_store.make(here / "relay.db")
    run("chown", "leanbase-relay:leanbase-relay", str(directory / "relay.db"))

    service.install(repacked(package, "9.0.1"))
    service.systemctl("start", UNIT)

    look = service.status()
    totals, waiting = look["totals"], look["backlog"]["events"]
    print(run("leanbase-relay", "peek").stdout)
    late = totals["accepted"] - old_store.ACCEPTED  # of producers of earlier tests
    assert waiting == old_store.EVENTS + late
    assert (totals["delivered"], totals["dead"]) == (2, 1)
    assert "damaged" not in " ".join(look["problems"])
    service.systemctl("start", "upstream")
    service.capture("behind the old ones")
    assert service.delivers("behind the old ones")


def test_the_power_goes_under_load_and_all_that_was_stored_is_there(
    service: Service, machine: Machine
) -> None:
    """The machine is cut off, its kernel is not: of syncs `make powercut` tells."""
    service.systemctl("stop", "upstream")
    running = service.load()
    running.__enter__()
    before = len(service.stored())
    eventually(lambda: len(service.stored()) > before + 200, within=30)
    machine.cut_power()

    machine.boot()
    eventually(lambda: is_active(service), within=30)
    assert service.status()["backlog"]["events"] >= len(
        service.stored() - service.taken().keys()
    )
    service.systemctl("start", "upstream")
    assert service.delivers_all()


def test_a_purge_keeps_the_events_unless_it_is_told_not_to(
    service: Service, package: Path
) -> None:
    """The last: afterwards the machine has no relay."""
    service.systemctl("stop", "upstream")
    service.capture("kept")
    run = service.machine.run
    machine = service.machine

    said = run("apt-get", "purge", "-y", "leanbase-relay").stdout

    assert "/var/lib/leanbase-relay is kept" in said
    assert machine.file("/var/lib/leanbase-relay/relay.db").exists()
    assert not machine.file("/etc/leanbase-relay/api_key").exists()
    assert run("systemctl", "is-active", SOCKET, check=False).stdout == "inactive\n"

    service.install(package)
    service.begin_anew()
    assert service.delivers("kept")
    environ = "env", "LEANBASE_RELAY_PURGE_STORE=yes"
    run(*environ, "apt-get", "purge", "-y", "leanbase-relay")
    assert not machine.file("/var/lib/leanbase-relay").exists()
    assert not machine.file(SPOOL).exists()
    left = run("find", "/etc", "/run", "-name", "*leanbase*").stdout.splitlines()
    assert set(left) <= {str(Path(DROP_IN).parent)}
