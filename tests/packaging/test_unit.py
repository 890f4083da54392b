"""The units: what systemd itself says of them, and the bounds they rest on.

How they behave is in tests/acceptance.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from leanbase_relay import daemon
from leanbase_relay.config import SocketConfig, SpoolConfig, StoreConfig
from leanbase_relay.errors import ConfigError, StoreHeld

UNITS = Path(__file__).parents[2] / "systemd"
UNIT = UNITS / "leanbase-relay.service"
CHECKER = shutil.which("systemd-analyze")
MOST_EXPOSURE = 1.6

needs_systemd = pytest.mark.skipif(
    CHECKER is None, reason="systemd-analyze is not installed"
)


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(CHECKER), *arguments], capture_output=True, text=True, check=False
    )


def setting(name: str, unit: Path = UNIT) -> str:
    """The value that a unit gives once."""
    (found,) = re.findall(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)
    return str(found)


@needs_systemd
def test_systemd_finds_nothing_to_complain_about(tmp_path: Path) -> None:
    for unit in UNITS.glob("leanbase-relay*.*"):
        # The command need not be installed for the unit to be right, nor the page.
        text = unit.read_text().replace("/usr/bin/leanbase-relay", "/bin/true")
        (tmp_path / unit.name).write_text(text)

    checked = analyze("verify", "--man=no", *sorted(tmp_path.iterdir()))

    assert (checked.stdout + checked.stderr).strip() == ""
    assert checked.returncode == 0


@needs_systemd
def test_the_service_is_as_little_exposed_as_it_can_be() -> None:
    rated = analyze("security", "--offline=true", "--no-pager", UNIT)

    (exposure,) = re.findall(r"Overall exposure level .*: ([\d.]+)", rated.stdout)
    assert float(exposure) <= MOST_EXPOSURE


def test_what_would_break_the_relay_is_not_set() -> None:
    """PrivateUsers hides the uids of peers, ProcSubset the boot id."""
    text = UNIT.read_text()

    assert not re.search(r"^(PrivateUsers|ProcSubset|DynamicUser)=", text, re.MULTILINE)
    assert setting("CapabilityBoundingSet") == setting("AmbientCapabilities")
    assert setting("AmbientCapabilities") == "CAP_LEASE"


def test_systemd_waits_longer_than_the_relay_takes_to_stop() -> None:
    bounds = {
        "intake": daemon.INTAKE_SECONDS,
        "delivery": daemon.DELIVERY_SECONDS,
        "abort": daemon.ABORT_SECONDS,
        "spool": daemon.SPOOL_SECONDS,
        "writer": daemon.WRITER_SECONDS,
        "control": daemon.CONTROL_SECONDS,
        "loop": daemon.LOOP_SECONDS,
    }

    assert sum(bounds.values()) < 10
    assert int(setting("TimeoutStopSec").removesuffix("s")) > sum(bounds.values())
    said = " ".join(UNIT.read_text().replace("\n# ", " ").split())
    named = " + ".join(f"{name} {seconds}" for name, seconds in bounds.items())
    assert f"{named} = {sum(bounds.values())} s" in said


def test_what_starting_again_would_not_mend_is_not_started_again() -> None:
    codes = {2, StoreHeld.exit_code, ConfigError.exit_code}

    assert setting("RestartPreventExitStatus") == " ".join(map(str, sorted(codes)))


def test_restarts_alone_never_reach_the_limit_of_starts() -> None:
    """A relay that falls is started again for ever."""
    within = int(setting("StartLimitIntervalSec").removesuffix("s"))
    every = int(setting("RestartSec").removesuffix("s"))

    assert within / every < int(setting("StartLimitBurst"))


def test_paths_are_those_of_the_defaults() -> None:
    socket = UNITS / "leanbase-relay.socket"
    tmpfiles = (UNITS / "tmpfiles.d/leanbase-relay.conf").read_text()
    store = StoreConfig().path.parent

    assert Path(setting("ListenStream", socket)) == SocketConfig().path
    assert store == Path("/var/lib") / setting("StateDirectory")
    assert SocketConfig().path.parent == Path("/run") / setting("RuntimeDirectory")
    assert Path(setting("ReadWritePaths").removeprefix("-")) == SpoolConfig().path
    assert f"d {SpoolConfig().path} 3770 leanbase-relay leanbase-relay -" in tmpfiles


def test_sockets_are_passed_under_the_names_that_the_relay_knows() -> None:
    assert setting("FileDescriptorName", UNITS / "leanbase-relay.socket") == "socket"
    assert setting("FileDescriptorName", UNITS / "leanbase-relay-http.socket") == "http"


def test_the_sockets_outlive_the_service() -> None:
    assert setting("RuntimeDirectoryPreserve") == "yes"
