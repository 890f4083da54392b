"""Many producers at once, slow ones and bad ones: memory is bounded, and none waits."""

import os
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.process import look
from leanbase_relay import descriptors
from leanbase_relay.sink import Fault, Script, Sink
from tests.support.intake import Client, counts, event
from tests.support.load import Beside, Flood, Metronome, Probe
from tests.support.process import RelayProcess
from tests.support.waiting import eventually, paced

pytestmark = pytest.mark.process

MB = 1_000_000
MOST_RSS_MB = 150
LONGEST_SECONDS = 0.25
BAD = b'{"event":"e"}\n'


@pytest.fixture(autouse=True)
def _descriptors_for_a_crowd() -> Iterator[None]:
    """This process has a crowd's other ends."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors.raise_limit()
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def connect(short_dir: Path) -> Iterator[Callable[[], Client]]:
    """Makes connections to the relay in `short_dir`; closed in the end."""
    with ExitStack() as opened:

        def connected() -> Client:
            return opened.enter_context(Client(short_dir / "relay.sock"))

        yield connected


def most_rss_mb(relay: RelayProcess) -> float:
    """The most that it ever was, in 10^6 bytes."""
    return look(relay.pid).rss_max_mb


def test_a_thousand_connections_at_once_are_served_in_bounded_memory(
    short_dir: Path, connect: Callable[[], Client]
) -> None:
    """600 do nothing, 200 stop within a large event, 100 never hear, 100 send."""
    half = event(1, properties={"x": "x" * 880_000})[:-4]
    with RelayProcess(short_dir) as relay:
        crowd = [connect() for _ in range(1000)]
        for client in crowd[600:800]:
            client.send(half)
        for client in crowd[800:900]:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.send(BAD * 300)
        for client in crowd[900:]:
            client.send(event(1) * 10)
        for client in crowd[900:]:
            assert counts(client.replies_until(10)) == (10, 0)

        assert relay.status()["totals"]["accepted"] == 1000
        assert most_rss_mb(relay) < MOST_RSS_MB
        assert relay.stop() == 0


class Loris(Beside):
    """Many producers that write a byte at a time, and never a whole line."""

    def __init__(self, clients: list[Client]) -> None:
        super().__init__()
        self._clients = clients
        self.bytes = 0

    def step(self) -> None:
        for client in self._clients:
            client.send(b"x")
            self.bytes += 1


def test_producers_that_never_end_their_lines_delay_no_other(
    short_dir: Path, connect: Callable[[], Client]
) -> None:
    with RelayProcess(short_dir) as relay:
        slow = [connect() for _ in range(100)]
        with (
            Metronome(short_dir) as metronome,
            Probe(relay.socket) as probe,
            Loris(slow) as loris,
        ):
            for _ in paced(every=0.25, during=1.0):
                assert relay.status()["running"]

        assert loris.bytes > 1000
        longest = max(LONGEST_SECONDS, 5 * metronome.worst_seconds)
        assert probe.worst_seconds < longest
        assert relay.stop() == 0


@pytest.mark.slow
def test_a_line_of_200_mb_without_end_is_one_refused_line(
    short_dir: Path, connect: Callable[[], Client]
) -> None:
    piece = b"x" * MB
    with RelayProcess(short_dir) as relay:
        before = look(relay.pid).rss_mb
        endless = connect()
        for _ in range(200):
            endless.send(piece)
        endless.send(b"\n" + event(1))

        assert counts(endless.replies_until(2)) == (1, 1)
        assert most_rss_mb(relay) - before < 20
        assert relay.stop() == 0


@pytest.mark.slow
def test_an_upstream_that_is_slow_costs_no_memory(short_dir: Path) -> None:
    """Events as large as they may be, faster than they go."""
    slow = Script().then_always(Fault.hang(0.3, stores=None))
    large = event(1, properties={"x": os.urandom(440_000).hex()})
    with (
        Sink(script=slow, keep="counts") as sink,
        RelayProcess(short_dir, sink.url) as relay,
    ):
        with Flood(relay.socket, lambda: large) as flood:
            eventually(lambda: flood.sent_bytes > 400 * MB, within=60)
        assert sink.counts.requests > 0
        assert most_rss_mb(relay) < MOST_RSS_MB
        assert relay.stop(within=10) == 0
