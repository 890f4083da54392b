"""What goes on beside a test: load, probes and watches, each in a thread of its own."""

import os
import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests.support.intake import Client, event

SAMPLE_SECONDS = 0.1
PROBE_SECONDS = 0.02


class Beside:
    """Does its step again and again, for the length of a `with`.

    What a step raises ends it, and is raised at the end.
    """

    every_seconds = 0.0

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=type(self).__name__)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def step(self) -> None:
        """What it is there for."""
        raise NotImplementedError

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                self.step()
                self._ended.wait(self.every_seconds)
        except BaseException as error:  # noqa: BLE001 - raised when the test ends
            self._error = error


class Probe(Beside):
    """A producer that has one event under way, and times each reply."""

    every_seconds = PROBE_SECONDS

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._client = Client(path)
        self.seconds: list[float] = []
        self.refused = 0

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        super().__exit__(kind, error, trace)
        self._client.close()

    def step(self) -> None:
        began = time.monotonic()
        self._client.send(event(len(self.seconds)))
        reply = self._client.reply()
        if "error" in reply:
            self.refused += 1
            self._client.reply()
        self.seconds.append(time.monotonic() - began)

    @property
    def worst_seconds(self) -> float:
        """The longest that `stored` took."""
        return max(self.seconds)


class Metronome(Beside):
    """What the machine itself takes for a write and a sync, in the same time."""

    every_seconds = PROBE_SECONDS

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._path = directory / "metronome"
        self.worst_seconds = 0.0

    def step(self) -> None:
        began = time.monotonic()
        with self._path.open("ab", buffering=0) as file:
            file.write(b"tick")
            os.fdatasync(file.fileno())
        self.worst_seconds = max(self.worst_seconds, time.monotonic() - began)


class Watch(Beside):
    """Looks ten times a second, and keeps the most that it saw."""

    every_seconds = SAMPLE_SECONDS

    def __init__(self, look: Callable[[], float]) -> None:
        super().__init__()
        self._look = look
        self.most = 0.0
        self.looks = 0

    def step(self) -> None:
        self.most = max(self.most, self._look())
        self.looks += 1


class Flood(Beside):
    """Sends lines as fast as they are taken, and hears what became of them.

    Args:
        lines: makes the next ones.
    """

    def __init__(self, path: Path, lines: Callable[[], bytes]) -> None:
        super().__init__()
        self._lines = lines
        self._client = Client(path)
        self._listener = threading.Thread(target=self._listen, name="flood hears")
        self.sent = 0
        self.sent_bytes = 0
        self.stored = 0
        self.refused = 0

    def __enter__(self) -> Self:
        self._listener.start()
        return super().__enter__()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            self._client.socket.shutdown(socket.SHUT_WR)
            self._listener.join()
            self._client.close()

    def step(self) -> None:
        lines = self._lines()
        self._client.send(lines)
        self.sent += lines.count(b"\n")
        self.sent_bytes += len(lines)

    def _listen(self) -> None:
        for reply in self._client.replies():
            if "stored" in reply:
                self.stored, self.refused = reply["stored"], reply["refused"]


def noise() -> Callable[[], bytes]:
    """Makes lines of 4 KiB and more that hardly compress, some at a time."""
    chance = random.Random(1)  # noqa: S311 - no secret
    text = os.urandom(2 << 20).hex()
    numbers = iter(range(1 << 40))

    def lines() -> bytes:
        starts = [chance.randrange(len(text) - 8000) for _ in range(16)]
        return b"".join(
            event(next(numbers), properties={"x": text[start : start + 8000]})
            for start in starts
        )

    return lines


def du(store: Path) -> int:
    """What a store takes on the disk: database, log and index, without the reserve."""
    total = 0
    for name in (store.name, f"{store.name}-wal", f"{store.name}-shm"):
        try:
            total += store.with_name(name).stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total
