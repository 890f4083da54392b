"""A limit on open files that is too low: it is said, and nothing is lost by it."""

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from leanbase_relay.sink import Sink
from tests.support.intake import Client, event
from tests.support.process import RelayProcess
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

FILES = 300


def test_a_crowd_on_few_descriptors_is_told_and_the_relay_goes_on(
    short_dir: Path,
) -> None:
    """Steps: a crowd connects, files come, all is delivered; the crowd goes."""
    spool = short_dir / "spool"
    settings = {"spool": {"path": str(spool), "scan_interval": "200ms"}}
    with ExitStack() as opened:
        sink = opened.enter_context(Sink(keep="counts"))
        relay = opened.enter_context(
            RelayProcess(
                short_dir, sink.url, settings, through=("prlimit", "--nofile=128")
            )
        )
        crowd = [
            opened.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(200)
        ]
        for producer in crowd:
            producer.settimeout(10)
            producer.connect(str(relay.socket))
        for number in range(FILES):
            (spool / f"{number}.jsonl").write_bytes(event(number))

        eventually(lambda: sink.counts.rows == FILES, within=20)
        problems = " ".join(relay.status()["problems"])
        assert "producers are connected, as many as the limit on open files" in problems
        said = [line.split()[2] for line in relay.log.splitlines()]
        assert "too_many_connections" in said
        assert len(said) < 20, "a bad hour is a page, and this was a second"

        for producer in crowd:
            producer.close()
        eventually(lambda: relay.status()["problems"] == [])
        eventually(lambda: is_stored(relay, event(FILES)))
        assert relay.stop() == 0


def is_stored(relay: RelayProcess, line: bytes) -> bool:
    """False while the last of the crowd are still hung up on."""
    try:
        with Client(relay.socket) as client:
            return client.send_all(line) == [{"stored": 1, "refused": 0}]
    except OSError:
        return False
