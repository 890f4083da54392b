"""The spool as it runs in the daemon: a directory, a real store and its writer."""

import json
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from leanbase_relay.clock import Clock, SystemClock
from leanbase_relay.config import SpoolConfig
from leanbase_relay.intake.event import Judge
from leanbase_relay.intake.spool import Spool
from leanbase_relay.store.chunk import split, unpack
from leanbase_relay.store.deposit import FileId, FileProgress
from leanbase_relay.store.reader import Reader
from leanbase_relay.store.store import Store
from leanbase_relay.store.totals import Position, Totals
from leanbase_relay.store.writer import Limits, Writer
from tests.support.clock import FakeClock

MAX_EVENT_BYTES = 900 << 10
SETTLE_SECONDS = 10.0
PROJECTS = frozenset({"default", "shop"})


def limits(max_bytes: int = 1 << 30) -> Limits:
    return Limits(
        max_bytes=max_bytes,
        drop_oldest=False,
        dead_letter_bytes=64 << 20,
        max_chunk_events=5000,
    )


def line(number: int, **members: Any) -> bytes:
    """An event that needs nothing, as a line."""
    given = {
        "event": "order placed",
        "distinct_id": "user-1",
        "uuid": f"01890a5d-ac96-774b-bcce-{number:012x}",
        "timestamp": "2026-03-01T12:00:00.123Z",
        "properties": {"n": number},
    } | members
    return json.dumps(given).encode() + b"\n"


def lines(numbers: Iterable[int]) -> bytes:
    return b"".join(line(number) for number in numbers)


class SpoolHouse:
    """A spool that goes by steps, in the test's own thread."""

    def __init__(
        self,
        directory: Path,
        *,
        clock: Clock | None = None,
        max_event_bytes: int = MAX_EVENT_BYTES,
        max_store_bytes: int = 1 << 30,
        patterns: tuple[str, ...] = ("*.jsonl", "*.ndjson", "*.jsonl.gz"),
        scan_interval_seconds: float = 5.0,
        spool: Path | None = None,
    ) -> None:
        self.path = spool or directory / "spool"
        self.path.mkdir(exist_ok=True)
        self.clock = clock or FakeClock()
        self._database = directory / "relay.db"
        self._max_event_bytes = max_event_bytes
        self._config = SpoolConfig(
            path=self.path,
            patterns=patterns,
            scan_interval_seconds=scan_interval_seconds,
        )
        self._store = Store.open(self._database)
        self._reader = Reader(self._database)
        self.writer = Writer(self._store, SystemClock(), limits=limits(max_store_bytes))
        self._thread = threading.Thread(target=self.writer.run)
        self.spool = self.new_spool()

    def new_spool(self, projects: frozenset[str] = PROJECTS) -> Spool:
        """As a start of the daemon makes it."""
        return Spool(
            self._config,
            judge=Judge(max_bytes=self._max_event_bytes, projects=projects),
            writer=self.writer,
            clock=self.clock,
            projects=projects,
            max_event_bytes=self._max_event_bytes,
            progress=self._reader.spool_progress(),
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.spool.close()
        finally:
            self.writer.finish()
            self._thread.join()
            self._reader.close()
            self._store.close()

    # What producers do.

    def put(self, name: str, content: bytes) -> Path:
        """Write under another name, then rename: the best practice."""
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        other = path.with_name(".being-written")
        other.write_bytes(content)
        return other.rename(path)

    def restart(self, projects: frozenset[str] = PROJECTS) -> None:
        """As after a kill: nothing is known but what the store knows."""
        self.spool.close()
        self.spool = self.new_spool(projects)

    def settle(self) -> None:
        """A step, the time in which files settle, and another step."""
        self.spool.step()
        self.wait(SETTLE_SECONDS)
        self.spool.step()

    def wait(self, seconds: float) -> None:
        assert isinstance(self.clock, FakeClock)
        self.clock.now += seconds

    def set_max_store_bytes(self, max_bytes: int) -> None:
        self.writer._limits = limits(max_bytes)

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """The store, to be changed behind the writer's back."""
        with closing(sqlite3.connect(self._database)) as conn, conn:
            yield conn

    # What came of it.

    def events(self, project: str = "default") -> list[dict[str, Any]]:
        chunks = self._reader.peek(
            project, Position(0, 0), max_events=1 << 30, max_bytes=1 << 40
        )
        return [
            json.loads(event)
            for chunk in chunks
            for event in split(unpack(chunk.packed))
        ]

    def numbers(self, project: str = "default") -> list[int]:
        return [event["properties"]["n"] for event in self.events(project)]

    def letters(self) -> list[tuple[str, str, bytes]]:
        """Origin, reason and line of each dead letter."""
        return letters(self._database)

    def totals(self, project: str = "default") -> Totals:
        return self._reader.totals().get(project, Totals())

    def progress(self) -> list[FileProgress]:
        return list(self._reader.spool_progress())

    def names(self) -> list[str]:
        return sorted(path.name for path in self.path.iterdir())

    def problems(self) -> str:
        return "\n".join(self.spool.snapshot().problems)


class Holder:
    """Another process that has a file open for writing."""

    def __init__(self, path: Path) -> None:
        with path.open("ab") as file:
            self._child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file)

    def release(self) -> None:
        self._child.communicate()


Hold = Callable[[Path], Holder]


def open_removed(house: SpoolHouse) -> BinaryIO:
    """Open the removed file, which the spool still has open, for appending."""
    fd = house.spool._removal._removed[0].file.fd
    return Path(f"/proc/self/fd/{fd}").open("ab", buffering=0)


def letters(database: Path) -> list[tuple[str, str, bytes]]:
    conn = sqlite3.connect(database)
    try:
        return conn.execute(
            "select origin, reason, line from dead_letter order by id"
        ).fetchall()
    finally:
        conn.close()


def file_id(path: Path) -> FileId:
    status = path.stat()
    return FileId(status.st_dev, status.st_ino)


def logged(caplog: Any, name: str) -> list[str]:
    """The messages of that event in the log."""
    messages = [record.getMessage() for record in caplog.records]
    return [message for message in messages if message.startswith(name)]
