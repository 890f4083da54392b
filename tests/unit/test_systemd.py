import os
from pathlib import Path

import pytest

from leanbase_relay import systemd
from tests.support.clock import FakeClock
from tests.support.manager import Told


@pytest.fixture
def told(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    told = Told(short_dir)
    monkeypatch.setenv("NOTIFY_SOCKET", str(told.path))
    return told


def test_a_long_start_asks_for_time(told: Told) -> None:
    systemd.ask_for_time(90, "mending the store: 12 chunks")

    assert told.said == [
        "EXTEND_TIMEOUT_USEC=90000000",
        "STATUS=mending the store: 12 chunks",
    ]
    told.close()


def test_a_reload_bears_its_time(told: Told, clock: FakeClock) -> None:
    systemd.notify_reloading(clock)

    assert told.said == ["RELOADING=1", f"MONOTONIC_USEC={int(clock.now * 1e6)}"]
    told.close()


def test_a_manager_that_is_gone_is_no_error(told: Told) -> None:
    told.close()

    systemd.notify("READY=1")


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_known_by_the_environment(
    environ: dict[str, str], seconds: float | None
) -> None:
    assert systemd.watchdog_seconds(environ) == seconds


def test_nothing_is_passed_where_nothing_is_said() -> None:
    assert systemd.passed_sockets({}) == {}
    assert systemd.passed_sockets({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) == {}
