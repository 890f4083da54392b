"""An upstream that hangs, wherever in an attempt: SIGTERM ends the relay as ever."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from leanbase_relay.clock import SystemClock
from leanbase_relay.store.reader import Reader
from tests.support.intake import Client, event
from tests.support.process import RelayProcess, Settings
from tests.support.upstream import Act, Call, RawUpstream
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

MIB = 1 << 20
STOP_SECONDS = 10.0
SETTINGS: Settings = {
    "upstream": {"compression": "none", "connect_timeout": "60s", "timeout": "60s"},
    "batch": {"max_bytes": 16 * MIB},
}


class Hanging(NamedTuple):
    """An upstream; `reached` once an attempt has come as far as it lets it."""

    url: str
    reached: Callable[[], bool]


@contextmanager
def at_connecting() -> Iterator[Hanging]:
    """Its queue is full, so that the kernel answers to no more."""
    with ExitStack() as opened:
        listener = opened.enter_context(
            socket.create_server(("127.0.0.1", 0), backlog=0)
        )
        _, port = listener.getsockname()
        opened.enter_context(socket.create_connection(("127.0.0.1", port)))

        def reached() -> bool:
            syn_sent = f":{port:04X} 02 "
            return syn_sent in Path("/proc/net/tcp").read_text()

        yield Hanging(f"http://127.0.0.1:{port}", reached)


@contextmanager
def at_handshake() -> Iterator[Hanging]:
    with RawUpstream(Call.wait) as server:
        url = f"https://127.0.0.1:{server.port}"
        yield Hanging(url, lambda: server.connections > 0)


@contextmanager
def at_reading() -> Iterator[Hanging]:
    """It takes what its kernel takes of the request."""
    with RawUpstream(Call.wait) as server:
        server._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        yield Hanging(server.url, lambda: server.connections > 0)


@contextmanager
def after_request(act: Act) -> Iterator[Hanging]:
    def hang(call: Call) -> None:
        call.request()
        act(call)
        call.wait()

    with RawUpstream(hang) as server:
        yield Hanging(server.url, lambda: len(server.requests) > 0)


def nothing(call: Call) -> None:
    """Not even a head."""


def half_an_answer(call: Call) -> None:
    call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{")


STAGES: dict[str, Callable[[], AbstractContextManager[Hanging]]] = {
    "connecting": at_connecting,
    "handshake": at_handshake,
    "reading": at_reading,
    "head": partial(after_request, nothing),
    "body": partial(after_request, half_an_answer),
}


def test_sigterm_ends_the_relay_wherever_the_upstream_hangs(short_dir: Path) -> None:
    """All stages at once. What is not delivered stays in the store."""
    more_than_kernels_take = os.urandom(400_000).hex()
    clock = SystemClock()
    with ExitStack() as opened:
        relays = {}
        for stage, hanging in STAGES.items():
            (short_dir / stage).mkdir()
            upstream = opened.enter_context(hanging())
            relay = RelayProcess(short_dir / stage, upstream.url, SETTINGS)
            relays[stage] = opened.enter_context(relay), upstream
        for stage, (relay, upstream) in relays.items():
            text = more_than_kernels_take if stage == "reading" else ""
            with Client(relay.socket) as client:
                client.send_all(event(1, properties={"x": text}) * 15)
            eventually(upstream.reached, within=10)

        asked = clock.monotonic()
        for relay, _ in relays.values():
            relay.signal(signal.SIGTERM)
        codes = {stage: relay.wait() for stage, (relay, _) in relays.items()}
        took = clock.monotonic() - asked

    assert codes == dict.fromkeys(STAGES, 0)
    assert took < STOP_SECONDS
    for relay, _ in relays.values():
        with closing(Reader(relay.store)) as reader:
            assert reader.totals()["default"].backlog_events == 15
