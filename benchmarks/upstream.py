"""A child that stands for the upstream: as cheap as it can be while being honest.

It reads each body whole, inflates it, counts the events in it, and answers as the
capture service does. When the expected number is reached it reports the time. Of a
peer that has no HTTP it takes plain lines, and answers nothing.
"""

import argparse
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import child

try:
    from isal.isal_zlib import decompress
except ImportError:
    from zlib import decompress

_GZIP = 31
_HEAD_BYTES = 64 << 10
_LINES_BYTES = 1 << 20
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    b'Content-Length: 15\r\n\r\n{"status":"Ok"}'
)


class _Counter:
    """Events that came, on all connections together."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._lock = threading.Lock()
        self._events = self._requests = self._wire_bytes = 0

    def add(self, events: int, wire_bytes: int) -> None:
        with self._lock:
            before = self._events
            self._events += events
            self._requests += 1
            self._wire_bytes += wire_bytes
            if before < self._expected <= self._events:
                child.report(
                    at=time.monotonic(),
                    events=self._events,
                    requests=self._requests,
                    wire_bytes=self._wire_bytes,
                    cpu_seconds=time.process_time(),
                )


@contextmanager
def started(
    expected: int,
    *,
    log: Path,
    port: int = 0,
    delay_ms: int = 0,
    speaks: str = "http",
) -> Iterator[tuple[child.Child, str]]:
    """The child and its URL; it is so far away, by one round trip a request."""
    arguments = (str(expected), "--port", str(port), "--delay-ms", str(delay_ms))
    with child.module("upstream", *arguments, "--speaks", speaks, log=log) as server:
        port = server.hear(within_seconds=10)["port"]
        yield server, f"http://127.0.0.1:{port}"


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("expected", type=int)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay-ms", type=int, default=0)
    parser.add_argument("--speaks", choices=("http", "lines"), default="http")
    given = parser.parse_args()
    counter = _Counter(given.expected)
    delay_seconds = given.delay_ms / 1000

    def serve(connection: socket.socket) -> None:
        with connection:
            if given.speaks == "lines":
                _serve_lines(connection, counter)
            else:
                _serve(connection, counter, delay_seconds)

    with socket.create_server(("127.0.0.1", given.port)) as listener:
        child.report(port=listener.getsockname()[1])
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()


def _serve(connection: socket.socket, counter: _Counter, delay_seconds: float) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while (head := _head(connection)) is not None:
        packed = head.body_begun + _exactly(connection, head.missing)
        body = decompress(packed, _GZIP) if head.gzipped else packed
        counter.add(body.count(b'"uuid":'), len(packed))
        if delay_seconds:
            time.sleep(delay_seconds)
        connection.sendall(_ANSWER)


def _serve_lines(connection: socket.socket, counter: _Counter) -> None:
    while piece := connection.recv(_LINES_BYTES):
        counter.add(piece.count(b"\n"), len(piece))


class _Head:
    def __init__(self, text: bytes, body_begun: bytes) -> None:
        lines = text.lower().split(b"\r\n")[1:]
        headers = dict(line.split(b": ", 1) for line in lines if line)
        self.gzipped = headers.get(b"content-encoding") == b"gzip"
        self.missing = int(headers[b"content-length"]) - len(body_begun)
        self.body_begun = body_begun


def _head(connection: socket.socket) -> _Head | None:
    """The next request's head, with what came of its body; None at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(_HEAD_BYTES)
        if not piece:
            return None
        data += piece
    text, _, rest = data.partition(b"\r\n\r\n")
    return _Head(text, rest)


def _exactly(connection: socket.socket, size: int) -> bytes:
    buffer = bytearray(size)
    view = memoryview(buffer)
    while view:
        got = connection.recv_into(view)
        if not got:
            raise ConnectionError("the body ended early")
        view = view[got:]
    return bytes(buffer)


if __name__ == "__main__":
    main()
