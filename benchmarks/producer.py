"""A child that sends: a stream on one connection, or clients that wait for each reply.

It has everything in memory before it says that it is ready, begins on a word, and
reports times and its own processor time, so that one sees when it is the limit.
"""

import argparse
import json
import selectors
import socket
import sys
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import child

_SEND_BYTES = 256 << 10
_PATIENCE_SECONDS = 60.0
_READY_SECONDS = 60.0


@contextmanager
def ready(
    mode: str, socket_path: Path, events: Path, *, log: Path, clients: int = 1
) -> Iterator[child.Child]:
    """The child, with its events in memory and its connections open."""
    arguments = (mode, socket_path, events, str(clients))
    with child.module("producer", *arguments, log=log) as producer:
        producer.hear(within_seconds=_READY_SECONDS)
        yield producer


def main() -> None:
    """Read, connect, wait for the word, send, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=("stream", "clients"))
    parser.add_argument("socket")
    parser.add_argument("events", type=Path)
    parser.add_argument("clients", type=int)
    given = parser.parse_args()
    data = given.events.read_bytes()
    work = _Stream(data) if given.mode == "stream" else _Clients(data, given.clients)
    work.connect(given.socket)
    child.report(ready=True)
    sys.stdin.readline()
    cpu = time.process_time()
    result = work.run()
    child.report(**result, cpu_seconds=time.process_time() - cpu)


class _Stream:
    """One connection; writes as fast as it may and reads the replies meanwhile."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._wanted = data.count(b"\n")

    def connect(self, path: str) -> None:
        self._sock = _connected(path)

    def run(self) -> dict[str, Any]:
        selector = selectors.DefaultSelector()
        both = selectors.EVENT_READ | selectors.EVENT_WRITE
        selector.register(self._sock, both)
        sent = replies = 0
        last: dict[str, Any] = {}
        started = time.monotonic()
        while last.get("stored", 0) < self._wanted:
            for _, mask in _some(selector):
                if mask & selectors.EVENT_READ:
                    last = _last_reply(self._sock)
                    replies += 1
                if mask & selectors.EVENT_WRITE:
                    sent += _sent(self._sock, self._data[sent : sent + _SEND_BYTES])
                    if sent == len(self._data):
                        selector.modify(self._sock, selectors.EVENT_READ)
        return {
            "started": started,
            "ended": time.monotonic(),
            "events": last["stored"],
            "replies": replies,
        }


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
        lines = data.splitlines(keepends=True)
        self._shares = [lines[first::clients] for first in range(clients)]
        self._wanted = len(lines)

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
