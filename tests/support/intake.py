"""The socket intake as it runs in the daemon: its loop, its writer and its store."""

import asyncio
import json
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from leanbase_relay import listener
from leanbase_relay.clock import Clock
from leanbase_relay.intake.admission import Admission
from leanbase_relay.intake.event import Judge
from leanbase_relay.intake.socket import SocketIntake
from leanbase_relay.store import schema
from leanbase_relay.store.chunk import split, unpack
from leanbase_relay.store.reader import Reader
from leanbase_relay.store.store import Store
from leanbase_relay.store.totals import BEGINNING, Totals
from leanbase_relay.store.writer import Limits, Writer
from tests.support.clock import FakeClock

MAX_EVENT_BYTES = 900 << 10
PATIENCE_SECONDS = 20.0
ROOMY = Limits(
    max_bytes=1 << 30,
    drop_oldest=False,
    dead_letter_bytes=64 << 20,
    max_chunk_events=5000,
)
FULL = Limits(
    max_bytes=0,
    drop_oldest=False,
    dead_letter_bytes=64 << 20,
    max_chunk_events=5000,
)

Reply = dict[str, Any]


class Letter(NamedTuple):
    """What the store keeps of a refused line."""

    reason: str
    origin: str
    line: bytes
    project: str


class GatedStore(Store):
    """A real store whose commits can be held up just before they happen, or fail."""

    def __init__(self, conn: sqlite3.Connection, path: Path) -> None:
        super().__init__(conn, path)
        self.may_commit = threading.Event()
        self.may_commit.set()
        self.at_commit = threading.Semaphore(0)
        self.error: sqlite3.Error | None = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with super().transaction():
            yield
            self.at_commit.release()
            if not self.may_commit.wait(PATIENCE_SECONDS):
                raise TimeoutError("nobody let the commit go on")
            if self.error is not None:
                raise self.error

    @staticmethod
    def a_full_disk() -> sqlite3.Error:
        """What SQLite says when there is no room."""
        return sqlite3.OperationalError("disk is full")


class RunningIntake:
    """Serves `path` until it is left; what a thread raises is raised there."""

    def __init__(
        self,
        directory: Path,
        *,
        clock: Clock | None = None,
        limits: Limits = ROOMY,
        max_event_bytes: int = MAX_EVENT_BYTES,
        projects: frozenset[str] = frozenset({"default", "shop"}),
        allow_uids: tuple[int, ...] | None = None,
        max_connections: int = 1 << 16,
    ) -> None:
        self.path = directory / "relay.sock"
        self._store_path = directory / "relay.db"
        self.store = GatedStore.open(self._store_path)
        if limits is FULL:  # not a row more, but a dead letter on a page begun
            room = self.store.measure().live + FULL.for_log + schema.PAGE_BYTES
            limits = replace(FULL, max_bytes=room)
        self.clock = clock = clock or FakeClock()
        self.writer = Writer(self.store, clock, limits=limits)
        self.intake = SocketIntake(
            judge=Judge(max_bytes=max_event_bytes, projects=projects),
            writer=self.writer,
            clock=clock,
            max_event_bytes=max_event_bytes,
            admission=Admission(
                clock, allow_uids=allow_uids, max_connections=max_connections
            ),
        )
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(
            lambda _, context: self._errors.append(
                context.get("exception") or RuntimeError(context["message"])
            )
        )
        self._errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._roof, args=(body,))
            for body in (self.writer.run, self._loop.run_forever)
        ]
        self._serving = False

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self._in_loop(self.intake.start(listener.listen(self.path, mode=0o600)))
        self._serving = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.store.may_commit.set()
        self.stop()
        self.writer.finish()
        self._threads[0].join()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._threads[1].join()
        self._loop.close()
        self.store.close()
        if self._errors and error is None:
            raise self._errors[0]

    def connect(self) -> "Client":
        return Client(self.path)

    def send(self, sent: bytes) -> list[Reply]:
        """Send everything on a connection of its own; all replies to it."""
        with self.connect() as client:
            return client.send_all(sent)

    def stop(self, within_seconds: float = PATIENCE_SECONDS) -> None:
        if self._serving:
            self._serving = False
            self._in_loop(self.intake.stop(within_seconds))

    def hold(self) -> None:
        """Let no commit happen until `let_go`."""
        self.store.may_commit.clear()
        while self.store.at_commit.acquire(blocking=False):
            pass  # of earlier commits

    def await_held(self) -> None:
        """Wait until a commit is held up, and the loop has done all it could."""
        assert self.store.at_commit.acquire(timeout=PATIENCE_SECONDS), "no commit came"
        self.settle_loop()

    def settle_loop(self) -> None:
        """Wait until the loop has done what was ready when this was called."""
        for _ in range(3):
            self._in_loop(_nothing())

    def let_go(self) -> None:
        self.store.may_commit.set()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The loop does nothing meanwhile; afterwards, first what the writer told."""
        frozen, thawed = threading.Event(), threading.Event()

        def freeze() -> None:
            frozen.set()
            thawed.wait(PATIENCE_SECONDS)

        self._loop.call_soon_threadsafe(freeze)
        assert frozen.wait(PATIENCE_SECONDS)
        try:
            yield
        finally:
            self.writer.apply(lambda _: None).wait()
            thawed.set()

    def in_loop(self, look: Callable[[], Any]) -> Any:
        """What a look at the intake says, taken in its own thread."""

        async def looked() -> Any:
            return look()

        return self._in_loop(looked())

    def backlog(self, project: str = "default") -> list[bytes]:
        """The bytes of every stored event, in order."""
        reader = Reader(self._store_path)
        try:
            chunks = reader.peek(
                project, BEGINNING, max_events=1 << 30, max_bytes=1 << 40
            )
        finally:
            reader.close()
        return [event for chunk in chunks for event in split(unpack(chunk.packed))]

    def database_bytes(self) -> bytes:
        """All that is in the database, unpacked where it is packed."""
        conn = sqlite3.connect(self._store_path)
        try:
            dumped = "\n".join(conn.iterdump()).encode()
        finally:
            conn.close()
        letters = [letter.line for letter in self.letters()]
        backlogs = [one for name in ("default", "shop") for one in self.backlog(name)]
        return b"\n".join([dumped, *letters, *backlogs])

    def totals(self, project: str = "default") -> Totals:
        return self.writer.totals.get(project, Totals())

    def letters(self) -> list[Letter]:
        """The dead letters, in order."""
        conn = sqlite3.connect(self._store_path)
        try:
            rows = conn.execute(
                "select reason, origin, line, project from dead_letter order by id"
            )
            return [Letter(*row) for row in rows]
        finally:
            conn.close()

    def _in_loop(self, coroutine: Any) -> Any:
        done = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return done.result(PATIENCE_SECONDS)

    def _roof(self, body: Callable[[], object]) -> None:
        try:
            body()
        except BaseException as error:  # noqa: BLE001 - raised when the test ends
            self._errors.append(error)


class Client:
    """A producer: plain, blocking, impatient."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE_SECONDS)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self._replies = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._replies.close()
        self.socket.close()

    def send(self, sent: bytes) -> None:
        self.socket.sendall(sent)

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def reply(self) -> Reply:
        """The next reply; fails if the relay hangs up."""
        line = self._replies.readline()
        assert line.endswith(b"\n"), f"the relay hung up after {line!r}"
        reply: Reply = json.loads(line)
        return reply

    def replies_until(self, settled: int) -> list[Reply]:
        """Replies up to the one that settles so many lines."""
        replies = [self.reply()]
        while replies[-1].get("stored", 0) + replies[-1].get("refused", 0) < settled:
            replies.append(self.reply())
        return replies

    def replies(self) -> Iterator[Reply]:
        """Each reply as it comes, until the relay closes."""
        return map(json.loads, self._replies)

    def rest(self) -> list[Reply]:
        """Every reply until the relay closes."""
        return list(self.replies())

    def send_all(self, sent: bytes) -> list[Reply]:
        """Send, half-close, and read to the end."""
        self.send(sent)
        self.half_close()
        return self.rest()

    def hears_nothing(self) -> bool:
        """Whether there is nothing to read at this moment."""
        self.socket.setblocking(False)  # noqa: FBT003 - the library's
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(PATIENCE_SECONDS)
        return False


async def _nothing() -> None:
    pass


def errors(replies: list[Reply]) -> dict[int, str]:
    """What was said of which line."""
    return {reply["line"]: reply["error"] for reply in replies if "line" in reply}


def counts(replies: list[Reply]) -> tuple[int, int]:
    """Stored and refused, as last told."""
    told = [reply for reply in replies if "stored" in reply]
    return told[-1]["stored"], told[-1]["refused"]


def event(number: int = 0, /, **members: Any) -> bytes:
    """An event that needs nothing, as a line; None leaves a member out."""
    given = {
        "event": "order placed",
        "distinct_id": "user-1",
        "uuid": f"01890a5d-ac96-774b-bcce-{number:012x}",
        "timestamp": "2026-03-01T12:00:00.123Z",
        "properties": {"n": number},
    } | members
    kept = {name: value for name, value in given.items() if value is not None}
    return json.dumps(kept).encode() + b"\n"
