"""Kill -9 at any moment: nothing that was `stored` is lost, and the totals add up.

What this cannot show: the kernel survives a kill, so that even a store that never
syncs would pass. `test_order` looks at the syncs.
"""

import json
import random
import sqlite3
import threading
from pathlib import Path

import pytest

from leanbase_relay.sink import Fault, Script, Sink
from tests.support.crash_child import POINTS, CrashingRelay
from tests.support.intake import Client, event
from tests.support.process import RelayProcess
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

NUISANCES = (
    Fault.answer(503, "transient error, please retry"),
    Fault.partial(3),
    Fault.cut_off(),
    Fault.reset(after_body=True),
    Fault.reset(after_body=False),
)
MAX_LIFE_SECONDS = 0.4
PRODUCERS = 3


class Producer(threading.Thread):
    """Sends as long as somebody listens, and notes what it was told is stored."""

    def __init__(self, path: Path, name: int, rng: random.Random) -> None:
        super().__init__(name=f"producer-{name}")
        self.stored: list[str] = []
        self.sent = 0
        self._path = path
        self._numbers = iter(range(name << 32, (name + 1) << 32))
        self._rng = rng
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                with Client(self._path) as client:
                    self._produce(client)
            except (OSError, AssertionError):
                self._ended.wait(0.01)  # the relay was killed; it comes back

    def end(self) -> None:
        self._ended.set()
        self.join()

    def _produce(self, client: Client) -> None:
        waiting: list[str] = []
        settled = 0
        while not self._ended.is_set():
            count = self._rng.choice((1, 1, 1, 20, 300))
            lines = [event(next(self._numbers)) for _ in range(count)]
            waiting += [json.loads(line)["uuid"] for line in lines]
            self.sent += count
            client.send(b"".join(lines))
            while settled < len(waiting):
                reply = client.reply()
                assert "error" not in reply, reply
                settled, before = reply["stored"], settled
                self.stored += waiting[before:settled]


def everything_is_told(relay: RelayProcess) -> dict[str, int]:
    """The totals, once all is delivered."""
    eventually(lambda: relay.status()["backlog"]["events"] == 0, within=30)
    totals: dict[str, int] = relay.status()["totals"]
    return totals


def check(path: Path) -> None:
    conn = sqlite3.connect(path)
    try:
        assert conn.execute("pragma integrity_check").fetchall() == [("ok",)]
    finally:
        conn.close()


def kill_at_random(directory: Path, seed: int, rounds: int) -> None:
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    rng = random.Random(seed)  # noqa: S311 - no secret
    nobody = threading.Event()
    faults = [rng.choice((*NUISANCES, Fault())) for _ in range(rounds * 20)]
    with Sink(script=Script().then(*faults)) as sink:
        relay = RelayProcess(directory, sink.url)
        producers = [
            Producer(relay.socket, number, random.Random(rng.random()))  # noqa: S311
            for number in range(PRODUCERS)
        ]
        for producer in producers:
            producer.start()
        try:
            for _ in range(rounds):
                relay.start()
                nobody.wait(rng.uniform(0, MAX_LIFE_SECONDS))
                relay.kill()
        finally:
            for producer in producers:
                producer.end()
        check(relay.store)
        sink.follow(Script())
        with relay:
            totals = everything_is_told(relay)
            assert relay.stop() == 0

        stored = {uuid for producer in producers for uuid in producer.stored}
        delivered = {key[3] for key in sink.rows}
        assert len(stored) > rounds, "the producers had their say"
        assert stored - delivered == set()
        # What was committed without our being told is delivered too, but no more.
        assert len(delivered) <= sum(producer.sent for producer in producers)
        assert totals["accepted"] == totals["delivered"] == len(delivered)
        assert totals["dead"] == totals["dropped"] == totals["refused"] == 0
        check(relay.store)


def test_nothing_stored_is_lost_by_ten_kills(short_dir: Path) -> None:
    kill_at_random(short_dir, random.SystemRandom().randrange(1 << 32), rounds=10)


@pytest.mark.slow
def test_nothing_stored_is_lost_by_a_hundred_kills(short_dir: Path) -> None:
    kill_at_random(short_dir, random.SystemRandom().randrange(1 << 32), rounds=100)


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_a_known_point_loses_nothing(short_dir: Path, point: str) -> None:
    lines = [event(number) for number in range(20)]
    with Sink() as sink:
        relay = CrashingRelay(short_dir, sink.url)
        relay.point = point
        with relay:
            told = 0
            with Client(relay.socket) as client:
                client.send(b"".join(lines))
                try:
                    told = client.reply()["stored"]
                except (OSError, AssertionError):
                    assert "commit" in point or point == "after_receipt"
            assert relay.wait() == -9
            requests_before = sink.counts.requests
            check(relay.store)

        relay.point = None
        with relay:
            totals = everything_is_told(relay)
            assert relay.stop() == 0

        sent = [json.loads(line)["uuid"] for line in lines]
        delivered = {key[3] for key in sink.rows}
        assert set(sent[:told]) <= delivered
        assert totals["accepted"] == totals["delivered"] == len(delivered)
        # A duplicate comes of a crash behind the upstream's yes only, and has the
        # same identity: rows would be more than events otherwise.
        assert (sink.counts.duplicates > 0) == (requests_before > 0)
        expected = {"before_commit": 0}.get(point, len(lines))
        assert totals["accepted"] == expected
        if point == "after_commit":
            assert told == 0
