"""A lane with a real store, writer and HTTP server; only its time is not real."""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from leanbase_relay.clock import Poke
from leanbase_relay.forward.lane import Lane, Settings
from leanbase_relay.forward.upstream import Upstream
from leanbase_relay.keys import Secret
from leanbase_relay.sink import Fault
from leanbase_relay.store.chunk import Chunk, join
from leanbase_relay.store.deposit import Deposit
from leanbase_relay.store.reader import Reader
from leanbase_relay.store.store import Store
from leanbase_relay.store.totals import Totals
from leanbase_relay.store.writer import Limits as StoreLimits
from leanbase_relay.store.writer import Writer
from tests.support.clock import FakeClock

DAY_SECONDS = 86_400.0
KEY = "phc_test"
GOOD_STAMP = b'"2026-03-01T12:00:00Z"'
STAMP = {"timestamp": "2026-03-01T12:00:00Z"}
ROOMY = StoreLimits(
    max_bytes=1 << 30,
    drop_oldest=False,
    dead_letter_bytes=64 << 20,
    max_chunk_events=5000,
)
BUSY = Fault.answer(503, "transient error, please retry")
POISON = '"poison":"yes"'


class HasUrl(Protocol):
    @property
    def url(self) -> str: ...


class LaneClock(FakeClock):
    """While the lane waits, the next of `meanwhile` happens; with none left, and
    nothing to wait for, the lane is stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: list[Callable[[], object]] = []

    def wait(self, seconds: float, poke: Poke) -> bool:
        if self.meanwhile:
            self.meanwhile.pop(0)()
        elif seconds > DAY_SECONDS:
            self.stop()
        return super().wait(seconds, poke)


class FailingStore(Store):
    """A real store; its next transactions fail, as on a broken disk."""

    failures = 0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with super().transaction():
            yield
            if self.failures:
                self.failures -= 1
                raise sqlite3.OperationalError("disk I/O error")


class Relay:
    """A store with its writer, and lanes upon it; everything ends with the `with`."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "relay.db"
        self.store = FailingStore.open(self.path)
        self.writer_clock = FakeClock()
        self.lanes: list[Lane] = []
        self.made = 0
        self.writer = Writer(
            self.store,
            self.writer_clock,
            limits=ROOMY,
            on_committed=self.tell,
        )
        self.house = ExitStack()

    def __enter__(self) -> "Relay":
        thread = threading.Thread(target=self.writer.run, name="writer")
        thread.start()
        self.house.callback(self.store.close)
        self.house.callback(thread.join)
        self.house.callback(self.writer.finish)
        return self

    def __exit__(self, *_: object) -> None:
        self.house.close()

    def tell(self, totals: Mapping[str, Totals]) -> None:
        for lane in self.lanes:
            lane.tell(totals)

    def upstream(
        self, url: str, clock: FakeClock, *, key: str = KEY, **how: Any
    ) -> Upstream:
        upstream = Upstream(url, key=Secret(key), clock=clock, **how)
        self.house.callback(upstream.close)
        return upstream

    def lane(
        self,
        sink: HasUrl,
        clock: FakeClock,
        project: str = "default",
        *,
        protocol: str = "batch",
        compression: str = "gzip",
        **settings: Any,
    ) -> Lane:
        reader = Reader(self.path)
        self.house.callback(reader.close)
        how = {"protocol": protocol, "compression": compression}
        upstream = self.upstream(sink.url, clock, **how)
        chosen: dict[str, Any] = {
            "max_events": 1000,
            "max_bytes": 4 << 20,
            "max_wait_seconds": 1.0,
            "first_delay_seconds": 1.0,
            "max_delay_seconds": 300.0,
        } | settings
        lane = Lane(
            project,
            reader=reader,
            writer=self.writer,
            upstream=upstream,
            clock=clock,
            settings=Settings(**chosen),
        )
        self.lanes.append(lane)
        return lane

    def add(
        self,
        count: int,
        *,
        project: str = "default",
        poison: tuple[int, ...] = (),
        historical: bool = False,
    ) -> list[str]:
        """Store that many events as one chunk; returns their uuids."""
        numbers = range(self.made, self.made + count)
        self.made += count
        events = [
            b'{"event":"e","distinct_id":"u","uuid":"%s","timestamp":%s}'
            % (uuid(n).encode(), b"7" if n in poison else GOOD_STAMP)
            for n in numbers
        ]
        self.submit(Chunk(project, count, join(events), historical=historical))
        return [uuid(n) for n in numbers]

    def add_event(self, properties: bytes, **members: str) -> str:
        """Store one event with these properties, by protocol v0; returns its uuid."""
        number, self.made = uuid(self.made), self.made + 1
        given = {"event": "e", "distinct_id": "u", "uuid": number, **STAMP, **members}
        head = json.dumps(given).encode()[:-1]
        self.submit(Chunk("default", 1, b'%b,"properties":%b}' % (head, properties)))
        return number

    def submit(self, chunk: Chunk) -> None:
        """Store a chunk."""
        self.writer.submit(Deposit(chunks=(chunk,))).wait()

    def settled(self) -> Totals:
        """The totals, once all that was asked of the writer is done."""
        self.writer.apply(lambda _: None).wait()
        return self.totals()

    def totals(self, project: str = "default") -> Totals:
        """As committed, once it is seen that they add up with the rows."""
        totals = self.store.totals[project]
        rows = self.query("select coalesce(sum(events), 0) from chunk where project=?")
        done = totals.position.events
        found = [count for (count,) in rows(project)]
        assert found == [totals.backlog_events + done]
        return totals

    def query(self, sql: str) -> Callable[..., list[tuple[Any, ...]]]:
        def ask(*values: object) -> list[tuple[Any, ...]]:
            conn = sqlite3.connect(self.path)
            try:
                return conn.execute(sql, values).fetchall()
            finally:
                conn.close()

        return ask

    def letters(self) -> list[tuple[Any, ...]]:
        return self.query(
            "select uuid, status, reason, door, event, distinct_id from dead_letter"
            " order by id"
        )()


def uuid(number: int) -> str:
    return f"01890a5d-ac96-774b-bcce-{number:012x}"


def uuids(events: Any) -> list[str]:
    return [str(event["uuid"]) for event in events]
