"""`stored` is written after `fdatasync` returned, for every event: seen by strace."""

import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.intake import Client, event
from tests.support.process import RelayProcess
from tests.support.tracing import can_trace
from tests.support.waiting import eventually

EVENTS = 20

_SYNC = re.compile(r"\bfdatasync\((?P<file>\d+)<(?P<name>[^>]*)>")
_RESUMED = re.compile(r"<\.\.\. fdatasync resumed>")
_STORED = re.compile(r'(sendto|write|sendmsg|writev)\(\d+<.*"\{\\"stored\\":(?P<n>\d+)')


@pytest.mark.process
@pytest.mark.skipif(
    not can_trace(),
    reason="NOT TESTED: that `stored` follows the sync; needs strace (apt install "
    "strace) and the right to trace",
)
def test_stored_is_said_after_the_sync_has_returned(short_dir: Path) -> None:
    relay = RelayProcess(short_dir)
    trace = short_dir / "trace"
    with relay:
        tracer = subprocess.Popen(
            f"strace -f -y -s 64 -o {trace} -p {relay.pid}"
            " -e trace=fdatasync,fsync,sendto,write,sendmsg,writev".split(),
            stderr=subprocess.DEVNULL,
        )
        try:
            threads = len(list(Path(f"/proc/{relay.pid}/task").iterdir()))
            eventually(lambda: traced(relay.pid) == threads)
            with Client(relay.socket) as client:
                for number in range(EVENTS):
                    client.send(event(number))
                    assert client.reply() == {"stored": number + 1, "refused": 0}
            relay.stop()
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait()

    synced, said = 0, []
    for line in trace.read_text().splitlines():
        done = line.rstrip().endswith("= 0")
        whole = (match := _SYNC.search(line)) and match["name"].endswith("relay.db-wal")
        if done and (whole or _RESUMED.search(line)):
            synced += 1
        elif match := _STORED.search(line):
            said.append(int(match["n"]))
            assert synced >= said[-1], f"{said[-1]} stored after {synced} syncs"
    # The last reply says at the end of the connection what was said before.
    assert said == [*range(1, EVENTS + 1), EVENTS]


def traced(pid: int) -> int:
    """How many threads of a process have a tracer."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    states = [(task / "status").read_text() for task in tasks]
    return sum("TracerPid:\t0\n" not in state for state in states)
