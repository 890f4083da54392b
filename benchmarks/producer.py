"""A child that sends: it streams, waits for each reply, or keeps to a pace.

It has everything in memory before it says that it is ready, begins on a word, and
reports times and its own processor time, so that one sees when it is the limit.
"""

import argparse
import json
import resource
import select
import selectors
import socket
import sys
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from benchmarks import child

_SEND_BYTES = 256 << 10
_PATIENCE_SECONDS = 60.0
_READY_SECONDS = 60.0
_BEAT_SECONDS = 0.01


@contextmanager
def ready(
    mode: str,
    socket_path: Path,
    events: Path,
    *,
    log: Path,
    clients: int = 1,
    times: int = 1,
    pace: float = 0.0,
) -> Iterator[child.Child]:
    """The child, with its events in memory and its connections open.

    Args:
        mode: ``stream`` (replies are read, not waited for), ``clients`` (each waits for
            the reply to its event), ``pour`` (a peer does not reply), ``paced`` (a
            stream of so many events a second, until the next word).
        socket_path: where to.
        events: a line each.
        log: where its complaints go.
        clients: connections.
        times: how often all the events are streamed.
        pace: events a second.
    """
    numbers = ("--clients", str(clients), "--times", str(times), "--pace", str(pace))
    arguments = (mode, socket_path, events, *numbers)
    with child.module("producer", *arguments, log=log) as producer:
        producer.hear(within_seconds=_READY_SECONDS)
        yield producer


def main() -> None:
    """Read, connect, wait for the word, send, report."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=("stream", "clients", "pour", "paced"))
    parser.add_argument("socket")
    parser.add_argument("events", type=Path)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--pace", type=float, default=0.0)
    given = parser.parse_args()
    data = given.events.read_bytes()
    work = _work(given.mode, data, given)
    work.connect(given.socket)
    child.report(ready=True)
    sys.stdin.readline()
    cpu = time.process_time()
    result = work.run()
    child.report(**result, cpu_seconds=time.process_time() - cpu)
    sys.stdin.readline()  # the connections stay open until we are ended


class _Work(Protocol):
    """What a mode does."""

    def connect(self, path: str) -> None:
        """Open the connections."""

    def run(self) -> dict[str, Any]:
        """Send everything, and say how that went."""


def _work(mode: str, data: bytes, given: argparse.Namespace) -> _Work:
    if mode == "stream":
        return _Streams(data, given.clients, given.times)
    if mode == "clients":
        return _Clients(data, given.clients)
    return _Pour(data) if mode == "pour" else _Paced(data, given.pace)


class _Stream:
    """One connection; writes as fast as it may and reads the replies meanwhile."""

    def __init__(self, data: bytes, times: int) -> None:
        self._data = memoryview(data)
        self._left = times * len(data)
        self._wanted = times * data.count(b"\n")
        self.stored = 0

    def connect(self, path: str) -> None:
        self.sock = _connected(path)

    @property
    def is_sent(self) -> bool:
        return not self._left

    @property
    def is_stored(self) -> bool:
        return self.stored == self._wanted

    def send(self) -> None:
        start = -self._left % len(self._data)
        self._left -= _sent(self.sock, self._data[start : start + _SEND_BYTES])

    def hear(self) -> None:
        self.stored = _last_reply(self.sock)["stored"]


class _Streams:
    """Some of them at once, each with its share of the events."""

    def __init__(self, data: bytes, clients: int, times: int) -> None:
        self._streams = [_Stream(share, times) for share in _shares(data, clients)]

    def connect(self, path: str) -> None:
        for stream in self._streams:
            stream.connect(path)

    def run(self) -> dict[str, Any]:
        selector = selectors.DefaultSelector()
        both = selectors.EVENT_READ | selectors.EVENT_WRITE
        waiting = set(self._streams)
        started = time.monotonic()
        for stream in self._streams:
            selector.register(stream.sock, both, stream)
        while waiting:
            for key, mask in _some(selector):
                stream = key.data
                if mask & selectors.EVENT_READ:
                    stream.hear()
                    if stream.is_stored:
                        waiting.discard(stream)
                if mask & selectors.EVENT_WRITE:
                    stream.send()
                    if stream.is_sent:
                        selector.modify(stream.sock, selectors.EVENT_READ, stream)
        return {
            "started": started,
            "ended": time.monotonic(),
            "events": sum(stream.stored for stream in self._streams),
        }


class _Pour:
    """One connection to somebody who never replies."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def connect(self, path: str) -> None:
        self._sock = _connected(path)
        self._sock.settimeout(_PATIENCE_SECONDS)

    def run(self) -> dict[str, Any]:
        started = time.monotonic()
        self._sock.sendall(self._data)
        return {
            "started": started,
            "ended": time.monotonic(),
            "events": self._data.count(b"\n"),
        }


class _Paced:
    """One connection that keeps to a pace, round and round, until the next word."""

    def __init__(self, data: bytes, pace: float) -> None:
        self._data = memoryview(data)
        self._events = data.count(b"\n")
        self._bytes_a_second = pace * len(data) / self._events

    def connect(self, path: str) -> None:
        self._sock = _connected(path)

    def run(self) -> dict[str, Any]:
        started = time.monotonic()
        sent = 0
        while not select.select([sys.stdin], [], [], _BEAT_SECONDS)[0]:
            due = round((time.monotonic() - started) * self._bytes_a_second)
            while sent < due:
                start = sent % len(self._data)
                end = min(start + due - sent, len(self._data))
                # What the relay does not take in time is not made up for in one go.
                if not (taken := _sent(self._sock, self._data[start:end])):
                    break
                sent += taken
            self._read_replies()
        ended = time.monotonic()
        return {
            "started": started,
            "ended": ended,
            "events": round(sent / len(self._data) * self._events),
        }

    def _read_replies(self) -> None:
        try:
            while self._sock.recv(64 << 10):
                pass
        except BlockingIOError:
            pass


class _Client:
    """One connection that has one event under way."""

    def __init__(self, sock: socket.socket, lines: list[bytes]) -> None:
        self.sock = sock
        self.sent_at = 0.0
        self._ahead = iter(lines)

    def send_next(self, now: float) -> None:
        """Send the next event, if there is one."""
        line = next(self._ahead, None)
        if line is not None:
            self.sent_at = now
            self.sock.send(line)


class _Clients:
    """Many connections; each sends its next event when the last one is stored."""

    def __init__(self, data: bytes, clients: int) -> None:
        self._shares = [
            share.splitlines(keepends=True) for share in _shares(data, clients)
        ]
        self._wanted = data.count(b"\n")

    def connect(self, path: str) -> None:
        self._clients = [_Client(_connected(path), share) for share in self._shares]

    def run(self) -> dict[str, Any]:
        selector = selectors.DefaultSelector()
        latencies = array("d")
        started = time.monotonic()
        for client in self._clients:
            selector.register(client.sock, selectors.EVENT_READ, client)
            client.send_next(time.monotonic())
        while len(latencies) < self._wanted:
            for key, _ in _some(selector):
                client = key.data
                _read_reply(client.sock)
                now = time.monotonic()
                latencies.append(now - client.sent_at)
                client.send_next(now)
        ended = time.monotonic()
        order = sorted(latencies)
        return {
            "started": started,
            "ended": ended,
            "events": len(order),
            "p50": order[len(order) // 2],
            "p99": order[len(order) * 99 // 100],
        }


def _shares(data: bytes, clients: int) -> list[bytes]:
    """The lines, dealt out."""
    if clients == 1:
        return [data]
    lines = data.splitlines(keepends=True)
    return [b"".join(lines[first::clients]) for first in range(clients)]


def _connected(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(path)
    sock.settimeout(0)
    return sock


def _some(
    selector: selectors.BaseSelector,
) -> list[tuple[selectors.SelectorKey, int]]:
    found = selector.select(_PATIENCE_SECONDS)
    if not found:
        raise TimeoutError("the relay does not move")
    return found


def _sent(sock: socket.socket, data: memoryview) -> int:
    try:
        return sock.send(data)
    except BlockingIOError:
        return 0


def _read_reply(sock: socket.socket) -> bytes:
    reply = sock.recv(64 << 10)
    if not reply.endswith(b"\n") or b'"error"' in reply:
        raise ValueError(f"unexpected reply: {reply[:200]!r}")
    return reply


def _last_reply(sock: socket.socket) -> dict[str, Any]:
    reply: dict[str, Any] = json.loads(_read_reply(sock).splitlines()[-1])
    return reply


if __name__ == "__main__":
    main()
