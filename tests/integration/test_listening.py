"""The listener for metrics: what it answers, whom it refuses, and its bounds."""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from leanbase_relay import listener
from leanbase_relay.errors import StoreUnavailable
from leanbase_relay.observe.answers import Answers, is_address
from leanbase_relay.observe.listening import (
    MAX_CONNECTIONS,
    MAX_HEAD_BYTES,
    Listening,
)
from tests.support.waiting import eventually

PATIENCE_SECONDS = 10.0
GET = b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n"


class Serving:
    """A listener on a port and on a socket file; its loop has a thread of its own."""

    def __init__(self, directory: Path, *, patience_seconds: float) -> None:
        self.look: Callable[[], dict[str, Any]] = lambda: {
            "state": "idle",
            "problems": [],
        }
        self.house = ExitStack()
        self.path = directory / "m.sock"
        addresses = [f"unix:{self.path}"]
        socks = listener.listen_at(addresses, self.house, mode=0o600, group=None)
        socks += listener.listen_tcp("127.0.0.1", 0)
        self.port: int = socks[-1].getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        answers = Answers(self._look, lambda: "up 1\n")
        self.listening = Listening(answers, patience_seconds=patience_seconds)
        self._run(self.listening.start(socks))

    def _run(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE_SECONDS)

    def _look(self) -> dict[str, Any]:
        return self.look()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS)

    def says(self, request: bytes, *, by_path: bool = False) -> tuple[int, str, bytes]:
        """Status, head and body of the answer to these bytes."""
        if by_path:
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(PATIENCE_SECONDS)
            client.connect(str(self.path))
        else:
            client = self.connect()
        with client:
            client.sendall(request)
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), head.decode(), body

    def get(
        self, path: str, host: str = "127.0.0.1", **how: Any
    ) -> tuple[int, str, bytes]:
        return self.says(GET % (path.encode(), host.encode()), **how)

    def close(self) -> None:
        self._run(self.listening.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.house.close()


@pytest.fixture
def serving(short_dir: Path) -> Iterator[Serving]:
    serving = Serving(short_dir, patience_seconds=PATIENCE_SECONDS)
    yield serving
    serving.close()


@pytest.fixture
def hasty(short_dir: Path) -> Iterator[Serving]:
    serving = Serving(short_dir, patience_seconds=0.1)
    yield serving
    serving.close()


def test_it_answers_by_path(serving: Serving) -> None:
    assert serving.get("/healthz")[::2] == (200, b"ok\n")
    assert serving.get("/readyz")[::2] == (200, b"ready\n")
    assert serving.get("/metrics")[::2] == (200, b"up 1\n")
    assert json.loads(serving.get("/status.json?x=1")[2])["state"] == "idle"
    status, _, body = serving.get("/nothing")
    assert status == 404
    assert b"/metrics" in body


def test_it_is_ready_unless_it_refuses_events(serving: Serving) -> None:
    serving.look = lambda: {"state": "held", "problems": ["a key"]}
    assert serving.get("/readyz")[0] == 200, "events are still taken"

    serving.look = lambda: {"state": "degraded", "problems": ["The store is full."]}
    assert serving.get("/readyz")[::2] == (503, b"The store is full.\n")
    assert serving.get("/healthz")[0] == 200, "a restart would mend nothing"


def test_a_name_that_leads_here_is_refused_on_a_port(serving: Serving) -> None:
    """DNS rebinding: a page of the internet asks its own name, which is ours now."""
    for host in ("evil.example", "127.0.0.1.evil.example", f"x:{serving.port}", ""):
        assert serving.get("/status.json", host)[0] == 403
    assert serving.says(b"GET /metrics HTTP/1.0\r\n\r\n")[0] == 403

    assert serving.get("/metrics", f"localhost:{serving.port}")[0] == 200
    assert serving.get("/metrics", "evil.example", by_path=True)[0] == 200


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8:9418", True),
        ("LOCALHOST:80", True),
        ("[::1]:9418", True),
        ("[::1]", True),
        ("localhost.evil.example", False),
        ("10.0.0.1", False),
        (None, False),
    ],
)
def test_what_counts_as_our_address(host: str | None, *, ours: bool) -> None:
    assert is_address(host) is ours


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"OPTIONS"])
def test_nothing_can_be_changed_here(serving: Serving, method: bytes) -> None:
    status, head, _ = serving.says(method + b" / HTTP/1.1\r\nHost: localhost\r\n\r\n")

    assert status == 405
    assert "Allow: GET, HEAD" in head


def test_a_head_has_no_body(serving: Serving) -> None:
    status, head, body = serving.says(
        b"HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )

    assert (status, body) == (200, b"")
    assert "Content-Length: 5" in head


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET http://evil/ HTTP/1.1\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"\xff\xfe\r\n\r\n",
        b"GET /" + b"x" * 2 * MAX_HEAD_BYTES,
    ],
)
def test_what_is_no_request_is_told_so(serving: Serving, request_bytes: bytes) -> None:
    assert serving.says(request_bytes)[0] == 400

    assert serving.get("/healthz")[0] == 200


def test_the_page_lets_nothing_in_from_elsewhere(serving: Serving) -> None:
    status, head, body = serving.get("/")

    assert status == 200
    assert "default-src 'none'; script-src 'sha256-" in head
    assert b"http://" not in body.replace(b"http://www.w3.org/2000/svg", b"")
    assert b"https://" not in body
    assert b" src=" not in body
    assert b" style=" not in body


def test_a_store_that_cannot_be_read_is_told_and_ends_nothing(serving: Serving) -> None:
    def broken() -> dict[str, Any]:
        raise StoreUnavailable("the store cannot be read: disk I/O error")

    serving.look = broken

    assert serving.get("/status.json")[::2] == (
        503,
        b"the store cannot be read: disk I/O error\n",
    )
    assert serving.get("/healthz")[0] == 200


def test_who_says_nothing_is_hung_up_on(hasty: Serving) -> None:
    with hasty.connect() as silent:
        silent.sendall(b"GET / HTTP/1.1\r\n")

        assert silent.recv(1) == b""


def test_who_does_not_read_is_hung_up_on(hasty: Serving) -> None:
    hasty.look = lambda: {"state": "x" * (32 << 20), "problems": []}
    with hasty.connect() as deaf:
        deaf.sendall(GET % (b"/status.json", b"localhost"))

        eventually(lambda: not hasty.listening._clients)

        assert len(_rest(deaf)) < 32 << 20


def test_one_connection_too_many_is_hung_up_on(serving: Serving) -> None:
    with ExitStack() as crowd:
        for _ in range(MAX_CONNECTIONS):
            crowd.enter_context(serving.connect())
        eventually(lambda: len(serving.listening._clients) == MAX_CONNECTIONS)

        with serving.connect() as late:
            assert _rest(late) == b""
    eventually(lambda: not serving.listening._clients)

    assert serving.get("/healthz")[0] == 200


def _rest(client: socket.socket) -> bytes:
    """What comes until the connection ends, in whatever way."""
    data = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(1 << 20):
            data += piece
    return bytes(data)
