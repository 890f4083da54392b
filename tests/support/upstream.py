"""An upstream that misbehaves below HTTP: what the sink cannot do.

Each connection gets the next act of the script, a function that has the bare socket
in hand; the last one plays for every connection that follows.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

OK = b'{"status":"Ok"}'

_LONGEST_SECONDS = 20.0  # a guard against tests that hang, never waited for
_MAX_HEAD_BYTES = 64 << 10


class Call:
    """One connection as the upstream has it."""

    def __init__(self, sock: socket.socket, ended: threading.Event) -> None:
        self.sock = sock
        self._ended = ended
        self._read = b""

    def request(self) -> bytes:
        """Read one request, head and body; empty if the client hung up."""
        while b"\r\n\r\n" not in self._read:
            if not self._more() or len(self._read) > _MAX_HEAD_BYTES:
                return b""
        head, _, rest = self._read.partition(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        while len(rest) < length:
            if not self._more():
                return b""
            rest = self._read[len(head) + 4 :]
        self._read = rest[length:]
        return head + b"\r\n\r\n" + rest[:length]

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def drip(self, data: bytes, *, seconds: float) -> None:
        """Send a byte at a time until all is sent, or nobody listens any more."""
        for number in range(len(data)):
            self.sock.sendall(data[number : number + 1])
            self.wait(seconds)

    def wait(self, seconds: float = _LONGEST_SECONDS) -> None:
        """Do nothing, until the test is over."""
        if self._ended.wait(seconds):
            raise ConnectionError

    def _more(self) -> bool:
        data = self.sock.recv(1 << 20)
        self._read += data
        return bool(data)


Act = Callable[[Call], None]


def answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    """A whole answer: ``answer("503 Busy", b"later", "Retry-After: 3")``."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def says(raw: bytes) -> Act:
    """Read a request, send these bytes, hang up."""

    def act(call: Call) -> None:
        call.request()
        call.send(raw)

    return act


class RawUpstream:
    """Listens on a port of this machine and plays its acts, until left.

    Args:
        tls: with a server's certificate, for https.
    """

    def __init__(self, *acts: Act, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._acts = list(acts)
        self._tls = tls
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._socks: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, name="raw-upstream")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for sock in self._socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://localhost:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            act = self._acts[min(self.connections, len(self._acts) - 1)]
            self.connections += 1
            thread = threading.Thread(target=self._play, args=(act, sock))
            self._socks.append(sock)
            self._threads.append(thread)
            thread.start()

    def _play(self, act: Act, sock: socket.socket) -> None:
        sock.settimeout(_LONGEST_SECONDS)
        with contextlib.suppress(OSError), sock:
            if self._tls is None:
                act(_Noted(sock, self._ended, self.requests))
                return
            with self._tls.wrap_socket(sock, server_side=True) as secured:
                act(_Noted(secured, self._ended, self.requests))


class _Noted(Call):
    """A call whose requests are kept."""

    def __init__(
        self, sock: socket.socket, ended: threading.Event, requests: list[bytes]
    ) -> None:
        super().__init__(sock, ended)
        self._requests = requests

    def request(self) -> bytes:
        request = super().request()
        if request:
            self._requests.append(request)
        return request
