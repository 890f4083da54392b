"""The story of a run: a relay, its producers, its upstream, and what befalls them."""

import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from leanbase_relay.sink import Fault, Script, Sink
from tests.chaos.oracle import Oracle, Verdict
from tests.chaos.producers import (
    HttpProducer,
    Producer,
    SocketProducer,
    SpoolProducer,
)
from tests.support.ports import free_port
from tests.support.process import RelayProcess
from tests.support.waiting import eventually

MAX_LIFE_SECONDS = 0.4
LONG_LIFE_SECONDS = 3.0  # the store tidies up a second after its start
LONG_LIVES = 0.05
OUTAGE = 0.25  # of all acts, in one run: what waits gets old, and is merged
DRAIN_SECONDS = 600
NUISANCES = (
    Fault.answer(503, "transient error, please retry"),
    Fault.answer(429, retry_after=1),
    Fault.partial(3),
    Fault.cut_off(),
    Fault.html(),
    Fault.reset(after_body=True),
    Fault.reset(after_body=False),
)
SETTINGS: dict[str, dict[str, Any]] = {
    "batch": {"max_wait": "50ms"},
    "retry": {"first_delay": "100ms", "max_delay": "1s"},
}


OUT = Script().then_always(Fault.answer(503, "transient error, please retry"))


@dataclass(frozen=True)
class Plan:
    """How much is to befall the relay.

    Attributes:
        kills, hups, restarts: how often each.
        producers: of each door.
        seed: of all chance.
    """

    kills: int
    hups: int
    restarts: int
    seed: int
    producers: int = 2


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        kills, hups, restarts: what befell the relay.
        merged: lives in which old rows were merged, that ended with a kill.
        totals: the relay's own, at the end.
        integrity: SQLite's word about the store.
        seconds: how long it took.
    """

    kills: int
    hups: int
    restarts: int
    merged: int
    verdict: Verdict
    totals: dict[str, int]
    integrity: str
    seconds: float

    @property
    def adds_up(self) -> bool:
        """Whether the totals do, and hold what came."""
        totals = self.totals
        left = totals["delivered"] + totals["dead"] + totals["dropped"]
        return totals["accepted"] == left and totals["delivered"] >= (
            self.verdict.received
        )


@dataclass(frozen=True)
class Rows:
    """What waits: which rows of how many delivered events ago."""

    ids: frozenset[int]
    delivered: int

    @classmethod
    def of(cls, store: Path) -> Self:
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as conn:
            (delivered,) = conn.execute("select sum(delivered) from project").fetchone()
            ids = conn.execute("select id from chunk").fetchall()
        return cls(frozenset(one for (one,) in ids), delivered)

    def are_merged(self, before: Self) -> bool:
        """Rows went, though nothing left."""
        return self.delivered == before.delivered and bool(before.ids - self.ids)


class Story:
    """One run in a directory of its own.

    Args:
        directory: short, and empty.
        tell: called with a line, now and then.
    """

    def __init__(
        self, directory: Path, plan: Plan, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        self._directory = directory
        self._plan = plan
        self._tell = tell
        self._rng = random.Random(plan.seed)
        self._oracle = Oracle()
        self._nobody = threading.Event()
        self._port = free_port()
        self._merged = 0

    def run(self) -> Outcome:
        """Let it happen, then let all arrive, then compare."""
        began = time.monotonic()
        plan = self._plan
        with Sink(keep="counts", on_request=self._oracle.received) as sink:
            relay = self._relay(sink.url)
            relay.start()
            producers = self._producers(relay)
            for producer in producers:
                producer.start()
            try:
                acts = self._acts()
                outage = range(len(acts) // 2, round(len(acts) * (0.5 + OUTAGE)))
                for number, act in enumerate(acts):
                    sink.follow(OUT if number in outage else self._weather())
                    act(relay)
            finally:
                for producer in producers:
                    producer.end()
            sink.follow(Script())
            totals = self._drained(relay)
            stopped = relay.stop()
        assert stopped == 0, f"it left with {stopped}"
        with closing(sqlite3.connect(relay.store)) as conn:
            (integrity,) = conn.execute("pragma integrity_check").fetchone()
        return Outcome(
            plan.kills,
            plan.hups,
            plan.restarts,
            self._merged,
            self._oracle.verdict(),
            totals,
            integrity,
            time.monotonic() - began,
        )

    def _relay(self, url: str) -> RelayProcess:
        settings: dict[str, dict[str, Any]] = {
            **SETTINGS,
            "spool": {
                "path": str(self._directory / "spool"),
                "scan_interval": "200ms",
            },
            "http": {"listen": [f"127.0.0.1:{self._port}"]},
        }
        return RelayProcess(self._directory, url, settings)

    def _producers(self, relay: RelayProcess) -> list[Producer]:
        made: list[Producer] = []
        for number in range(self._plan.producers):
            seeds = [random.Random(self._rng.random()) for _ in range(3)]
            made += [
                SocketProducer(relay.socket, self._oracle, f"s{number}", seeds[0]),
                SpoolProducer(relay.spool, self._oracle, f"f{number}", seeds[1]),
                HttpProducer(self._port, self._oracle, f"h{number}", seeds[2]),
            ]
        return made

    def _acts(self) -> list[Callable[[RelayProcess], None]]:
        """All that is to happen, in an order of chance."""
        plan = self._plan
        acts: list[Callable[[RelayProcess], None]] = [self._kill] * plan.kills
        acts += [self._hup] * plan.hups
        acts += [self._restart] * plan.restarts
        self._rng.shuffle(acts)
        return acts

    def _kill(self, relay: RelayProcess) -> None:
        if self._rng.random() < LONG_LIVES:
            before = Rows.of(relay.store)
            self._nobody.wait(self._rng.uniform(1, LONG_LIFE_SECONDS))
            self._merged += Rows.of(relay.store).are_merged(before)
        else:
            self._live()
        relay.kill()
        relay.start()

    def _hup(self, relay: RelayProcess) -> None:
        self._live()
        relay.signal(signal.SIGHUP)

    def _restart(self, relay: RelayProcess) -> None:
        self._live()
        code = relay.stop()
        assert code == 0, f"it left with {code}: {relay.log[-2000:]}"
        relay.start()

    def _live(self) -> None:
        self._nobody.wait(self._rng.uniform(0, MAX_LIFE_SECONDS))

    def _weather(self) -> Script:
        """Fair or foul, for the next requests."""
        return Script().then(
            *(self._rng.choice((*NUISANCES, Fault(), Fault())) for _ in range(4))
        )

    def _drained(self, relay: RelayProcess) -> dict[str, int]:
        """The totals, once nothing waits anywhere."""

        def is_quiet() -> bool:
            if any(relay.spool.glob("*.jsonl")):  # status knows what it has scanned
                return False
            return not relay.status()["backlog"]["events"]

        eventually(is_quiet, within=DRAIN_SECONDS)
        eventually(lambda: not self._oracle.missing(), within=5, fails=False)
        totals: dict[str, int] = relay.status()["totals"]
        return totals
