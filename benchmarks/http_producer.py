"""A child that sends over HTTP: batches on one connection, or clients with one event.

The requests are spelled before it says that it is ready; what it measures is the relay
and not an SDK. It reports times and its own processor time, so that one sees when it
is the limit.
"""

import argparse
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
from leanbase_relay import deflate

_PATIENCE_SECONDS = 60.0
_READY_SECONDS = 60.0
_OK = b"HTTP/1.1 200 "


@contextmanager
def ready(
    port: int, events: Path, *, log: Path, clients: int, batch: int
) -> Iterator[child.Child]:
    """The child, with its requests in memory and its connections open."""
    arguments = (str(port), events, str(clients), str(batch))
    with child.module("http_producer", *arguments, log=log) as producer:
        producer.hear(within_seconds=_READY_SECONDS)
        yield producer


def main() -> None:
    """Read, spell, connect, wait for the word, send, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("events", type=Path)
    parser.add_argument("clients", type=int)
    parser.add_argument("batch", type=int)
    given = parser.parse_args()
    lines = given.events.read_bytes().splitlines()
    requests = [
        request(lines[first : first + given.batch])
        for first in range(0, len(lines), given.batch)
    ]
    clients = [
        _Client(given.port, requests[first :: given.clients])
        for first in range(given.clients)
    ]
    child.report(ready=True)
    sys.stdin.readline()
    cpu = time.process_time()
    result = run(clients, len(requests))
    child.report(**result, events=len(lines), cpu_seconds=time.process_time() - cpu)


def request(events: list[bytes]) -> bytes:
    """One request: a gzipped batch, or a plain one if it is of one event."""
    body = b'{"api_key":"phc_benchmark","batch":[%b]}' % b",".join(events)
    encoding = b""
    if len(events) > 1:
        body, encoding = deflate.compress(body), b"Content-Encoding: gzip\r\n"
    return (
        b"POST /batch/ HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: benchmark\r\n"
        b"Content-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%b"
    ) % (encoding, len(body), body)


class _Client:
    """One connection that has one request under way."""

    def __init__(self, port: int, requests: list[bytes]) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_at = 0.0
        self._ahead = iter(requests)

    def send_next(self, now: float) -> None:
        """Send the next request, if there is one."""
        whole = next(self._ahead, None)
        if whole is not None:
            self.sent_at = now
            self.sock.sendall(whole)

    def hear(self) -> None:
        """Read the answer, which is short and comes in one piece."""
        answer = self.sock.recv(64 << 10)
        if not answer.startswith(_OK) or not answer.endswith(b"}"):
            raise ValueError(f"unexpected answer: {answer[:200]!r}")


def run(clients: list[_Client], wanted: int) -> dict[str, Any]:
    """Have every client send its requests, each after the answer to the last."""
    selector = selectors.DefaultSelector()
    latencies = array("d")
    started = time.monotonic()
    for client in clients:
        selector.register(client.sock, selectors.EVENT_READ, client)
        client.send_next(time.monotonic())
    while len(latencies) < wanted:
        found = selector.select(_PATIENCE_SECONDS)
        if not found:
            raise TimeoutError("the relay does not move")
        for key, _ in found:
            key.data.hear()
            now = time.monotonic()
            latencies.append(now - key.data.sent_at)
            key.data.send_next(now)
    ended = time.monotonic()
    order = sorted(latencies)
    return {
        "started": started,
        "ended": ended,
        "requests": len(order),
        "p50": order[len(order) // 2],
        "p99": order[len(order) * 99 // 100],
    }


if __name__ == "__main__":
    main()
