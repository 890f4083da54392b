"""A disk that fails at its n-th write or sync: no false `stored`, all counted right.

The whole life of a relay is gone through, once for each n: start, events by the socket,
a spool file, delivery, checkpoints, stop; then a start in peace, after which the
upstream has to have everything that was acknowledged.
"""

import errno
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

import pytest

from leanbase_relay.errors import NotRunning
from leanbase_relay.sink import Sink
from tests.support.faults import (
    KINDS,
    ROOT,
    FaultyRelay,
    PlanFile,
    build,
    compiler,
)
from tests.support.intake import Client, event
from tests.support.process import NOBODY, environment
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        compiler() is None,
        reason="NOT TESTED: writes and syncs that fail; needs cc (apt install gcc)",
    ),
]

ERRORS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC}
SENDINGS = 4
SAMPLE = 2
MOST_LOG_LINES = 40
WITHIN_SECONDS = 20


class Life:
    """A relay from start to stop, and what its producers were told."""

    def __init__(self, directory: Path, sink: Sink, library: Path) -> None:
        self.relay = FaultyRelay(directory, sink.url, library)
        self.stored: set[str] = set()
        self._sink = sink
        self._numbers = iter(range(1 << 30))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.relay.child.poll() is None:
            self.relay.kill()

    def live(self) -> None:
        """All of it; the disk gets well when it has failed and been noticed."""
        self._go_on()
        eventually(self._is_taken, within=WITHIN_SECONDS)
        eventually(self._is_spool_empty, within=WITHIN_SECONDS)
        eventually(self._is_delivered, within=WITHIN_SECONDS)
        assert self.relay.stop() == 0

    def die(self) -> None:
        """The same up to delivery; then killed, with the disk as it is."""
        self._go_on()
        self.relay.kill()

    def _go_on(self) -> None:
        self._start()
        for _ in range(SENDINGS):
            self._send()
        self._spool()
        for _ in range(SENDINGS):
            self._send()

    def check(self) -> None:
        """Start in peace; then all is there, and counted once."""
        self.relay.plan.lift()
        self._check_store()
        with self.relay:
            eventually(self._is_spool_empty, within=WITHIN_SECONDS)
            eventually(self._is_delivered, within=WITHIN_SECONDS)
            totals = self.relay.status()["totals"]
            assert self.relay.stop() == 0

        self._check_store()
        delivered = {uuid for *_, uuid in self._sink.rows}
        assert self.stored - delivered == set()
        assert totals["accepted"] == totals["delivered"] == len(delivered)
        assert totals["dead"] == totals["dropped"] == totals["refused"] == 0
        log = self.relay.log
        assert "Traceback" not in log
        assert len(log.splitlines()) < MOST_LOG_LINES

    def _start(self) -> None:
        """Start; a disk that fails may end that, and then it is started again."""
        self.relay.launch()
        eventually(self._is_up_or_ended, within=WITHIN_SECONDS)
        if (ended := self.relay.child.poll()) is not None:
            assert ended == 1
            self.relay.plan.lift()
            self.relay.start()

    def _is_up_or_ended(self) -> bool:
        if self.relay.child.poll() is not None:
            return True
        try:
            return bool(self.relay.status())
        except NotRunning:
            return False

    def _send(self) -> bool:
        """An event; whether it is stored."""
        line = event(next(self._numbers))
        with Client(self.relay.socket) as client:
            client.send(line)
            reply = client.reply()
            if "error" in reply:
                assert "store unavailable" in reply["error"], reply
                reply = client.reply()
        assert reply["stored"] + reply["refused"] == 1
        if reply["stored"]:
            self.stored.add(json.loads(line)["uuid"])
        return bool(reply["stored"])

    def _spool(self) -> None:
        """A file that the relay is to take, whatever happens meanwhile."""
        lines = [event(next(self._numbers)) for _ in range(3)]
        hidden = self.relay.spool / ".new"
        hidden.write_bytes(b"".join(lines))
        hidden.rename(self.relay.spool / "new.jsonl")
        self.stored |= {json.loads(line)["uuid"] for line in lines}

    def _mend(self) -> None:
        """The disk is well again, if it was ill; else the fault is still to come."""
        if self.relay.plan.failed:
            self.relay.plan.lift()

    def _is_taken(self) -> bool:
        self._mend()
        return self._send()

    def _is_spool_empty(self) -> bool:
        self._mend()
        return not any(self.relay.spool.iterdir())

    def _is_delivered(self) -> bool:
        self._mend()
        return bool(self.relay.status()["backlog"]["events"] == 0)

    def _check_store(self) -> None:
        conn = sqlite3.connect(self.relay.store)
        try:
            assert conn.execute("pragma integrity_check").fetchall() == [("ok",)]
        finally:
            conn.close()


Counts = dict[str, int]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def counts(library: Path) -> Counts:
    """How many writes and syncs there are in a life without faults."""
    with tempfile.TemporaryDirectory(prefix="lb-") as name, Sink() as sink:
        with Life(Path(name), sink, library) as life:
            life.live()
        return dict(zip(KINDS, life.relay.plan.seen, strict=True))


def go_through(
    directory: Path, library: Path, kind: str, error: str, number: int
) -> None:
    """A life with one fault; once or lasting, and to its end or killed, by turns."""
    directory.mkdir()
    print(f"{kind} {number} fails with {error}")  # noqa: T201 - shown when it fails
    with Sink() as sink, Life(directory, sink, library) as life:
        once = (number % 2 == 1) is (error == "EIO")
        life.relay.plan.fail(kind, number, ERRORS[error], once=once)
        if number % 4 < 2:
            life.live()
        else:
            life.die()
        life.check()


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_at_some_places_acknowledges_nothing_falsely(
    short_dir: Path, library: Path, counts: Counts, kind: str, error: str
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    numbers = range(1, counts[kind] + 1)
    for number in random.Random(seed).sample(numbers, SAMPLE):  # noqa: S311 - dice
        go_through(short_dir / str(number), library, kind, error, number)


@pytest.mark.slow
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_at_any_place_acknowledges_nothing_falsely(
    short_dir: Path, library: Path, counts: Counts, kind: str, error: str
) -> None:
    for number in range(1, counts[kind] + 1):
        go_through(short_dir / str(number), library, kind, error, number)


def test_no_relay_starts_on_a_store_whose_name_cannot_be_saved(
    short_dir: Path, library: Path
) -> None:
    """SQLite forgives that; what is stored would go with the name of its log."""
    relay = FaultyRelay(short_dir, NOBODY, library)
    with relay:
        pass  # killed, so that its log is there

    directory = 2  # the first sync of a start is the log's
    already = relay.plan.seen[KINDS.index("sync")]
    relay.plan.fail("sync", already + directory, errno.EIO, once=True)
    relay.launch()

    assert relay.wait() == 1
    assert f"{relay.store}: Input/output error" in relay.log
    with relay:
        assert relay.stop() == 0


SPOOLING = """
import sys
from leanbase_relay.client import Client

client = Client(socket_path=sys.argv[1] + "/no", spool_path=sys.argv[1])
outcome = client.capture("user", "event")
print(outcome.became, outcome.reason)
"""


def test_a_client_does_not_call_spooled_what_has_no_lasting_name(
    short_dir: Path, library: Path
) -> None:
    spool = short_dir / "spool"
    spool.mkdir()
    failing = PlanFile(short_dir / "plan")
    failing.plan.fail("sync", 1, errno.EIO, once=True)

    said = [
        subprocess.run(
            [sys.executable, "-c", SPOOLING, spool],
            env=environment(failing.preloading(library, spool / "nothing")),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in range(2)
    ]

    assert said[0].startswith("lost ")
    assert "Input/output error" in said[0]
    assert said[1].startswith("spooled ")
    assert len(list(spool.iterdir())) == 1
