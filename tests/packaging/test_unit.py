"""The systemd unit: what systemd itself says of it, and the bounds it rests on."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from leanbase_relay import daemon

UNIT = Path(__file__).parents[2] / "systemd" / "leanbase-relay.service"
CHECKER = shutil.which("systemd-analyze")


@pytest.mark.skipif(CHECKER is None, reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_to_complain_about(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    # The command need not be installed for the unit to be right.
    unit.write_text(UNIT.read_text().replace("/usr/bin/leanbase-relay", "/bin/true"))

    checked = subprocess.run(
        [str(CHECKER), "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (checked.stdout + checked.stderr).strip() == ""
    assert checked.returncode == 0


def test_systemd_waits_longer_than_the_relay_takes_to_stop() -> None:
    found = re.search(r"^TimeoutStopSec=(\d+)s$", UNIT.read_text(), re.MULTILINE)
    bounds = (
        daemon.INTAKE_SECONDS,
        daemon.DELIVERY_SECONDS,
        daemon.ABORT_SECONDS,
        daemon.SPOOL_SECONDS,
        daemon.WRITER_SECONDS,
        daemon.LOOP_SECONDS,
        daemon.CONTROL_SECONDS,
    )

    assert found is not None
    assert sum(bounds) < 10
    assert int(found[1]) > sum(bounds)


def test_wrong_configurations_are_not_started_again() -> None:
    assert "RestartPreventExitStatus=2 78" in UNIT.read_text()
