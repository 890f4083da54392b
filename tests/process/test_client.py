"""The client across forks and kills."""

import os
import sys
from pathlib import Path

import pytest

from leanbase_relay.client import Client
from leanbase_relay.sink import Sink
from tests.support import crowd
from tests.support.process import RelayProcess

PRODUCER = Path(__file__).parents[1] / "support/forking_producer.py"
FAMILIES = 5
CHILDREN = "3"

pytestmark = pytest.mark.process


def test_no_event_of_forked_processes_is_lost_or_doubled_by_a_kill(
    short_dir: Path,
) -> None:
    def commands(relay: RelayProcess) -> list[crowd.Command]:
        family = (sys.executable, "-P", PRODUCER, relay.socket, relay.spool, CHILDREN)
        return [family] * FAMILIES

    crowd.check(crowd.around_a_kill(short_dir, commands))


def connection(client: Client) -> int:
    """What tells the client's idle connection from all others."""
    (idle,) = client._idle
    return os.fstat(idle._socket.fileno()).st_ino


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # 3.12
def test_a_child_has_a_connection_of_its_own(short_dir: Path) -> None:
    """Two that read from one would take each other's replies."""
    with Sink() as sink, RelayProcess(short_dir, sink.url) as relay:
        client = Client(socket_path=relay.socket, spool_path=None, timeout_seconds=20)
        before = client.capture("parent", "before")
        parents = connection(client)
        pid = os.fork()
        if not pid:
            became = client.capture("child", "between").became
            os._exit(became != "stored" or connection(client) == parents)
        _, status = os.waitpid(pid, 0)
        after = client.capture("parent", "after")

        assert sink.wait_for(3, within_seconds=10)
        names = [event["event"] for event in sink.events]

    assert status == 0
    assert (before.became, after.became) == ("stored", "stored")
    assert connection(client) == parents, "the child's end left it open"
    assert names == ["before", "between", "after"]
