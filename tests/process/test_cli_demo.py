"""`demo` works without a terminal, and leaves nothing behind."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.process import COMMAND, relay_command
from tests.support.terminal import Terminal
from tests.support.waiting import eventually

pytestmark = pytest.mark.process


@pytest.mark.slow
def test_everything_that_goes_in_is_delivered(short_dir: Path) -> None:
    done = relay_command("demo", TMPDIR=str(short_dir))

    assert done.returncode == 0, done.stderr
    summary = done.stdout.splitlines()[-1]
    found = re.fullmatch(r"600 events in, 600 delivered in ([\d.]+) s: .*", summary)
    assert found is not None, summary
    assert float(found[1]) < 5
    assert list(short_dir.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_of_it(short_dir: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [COMMAND, "demo"],
        stdout=subprocess.PIPE,
        env={"TMPDIR": str(short_dir), "PATH": ""},
    ) as demo:
        assert demo.stdout is not None
        demo.stdout.readline()
        pid = eventually(lambda: lock_holder(short_dir))
        demo.send_signal(number)

        _, code = demo.communicate(timeout=15), demo.returncode

    assert code == 0
    assert list(short_dir.iterdir()) == []
    assert not Path(f"/proc/{pid}").exists()


def test_a_relay_that_dies_ends_it_with_the_log(short_dir: Path) -> None:
    with Terminal("demo", TMPDIR=str(short_dir)) as demo:
        demo.await_text("accepted")
        os.kill(int(lock_holder(short_dir)), signal.SIGKILL)

        assert demo.wait() == 1

    assert "the relay ended with exit code -9; its log:" in demo.text
    assert "info started" in demo.text
    assert list(short_dir.iterdir()) == []


def lock_holder(place: Path) -> str:
    """The pid of the relay that the demonstration started."""
    return "".join(path.read_text().strip() for path in place.glob("*/*.lock"))
