"""Under a service manager: what it is told, and the sockets that it holds.

The whole of it under a real systemd is in tests/acceptance.
"""

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.freezer import frozen
from tests.support.manager import ActivatedRelay, Told, listening, watched
from tests.support.process import RelayProcess
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

WATCHDOG_SECONDS = 1.0


@pytest.fixture
def told(short_dir: Path) -> Iterator[Told]:
    told = Told(short_dir)
    yield told
    told.close()


def start(relay: RelayProcess, told: Told, watchdog_seconds: float = 60.0) -> None:
    relay.launch(**watched(told, watchdog_seconds))
    eventually(lambda: "READY=1" in told.said, within=10)


def send(path: Path, name: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(path))
        sock.sendall(json.dumps({"event": name, "distinct_id": "u"}).encode() + b"\n")
        return sock.recv(4096)


# What it is told.


def test_ready_is_said_when_events_are_taken(short_dir: Path, told: Told) -> None:
    with RelayProcess(short_dir) as relay:
        relay.stop()
        start(relay, told)

        assert b'"stored":1' in send(relay.socket, "at-once")


def test_the_backlog_is_told_when_it_changes(short_dir: Path, told: Told) -> None:
    relay = RelayProcess(short_dir)
    start(relay, told)
    try:
        eventually(lambda: "STATUS=idle, 0 events waiting" in told.said)
        send(relay.socket, "waits")

        eventually(
            lambda: "STATUS=backing off, 1 events waiting" in told.said, within=10
        )
        assert told.said.count("STATUS=idle, 0 events waiting") == 1
    finally:
        relay.kill()


def test_a_reload_is_announced_and_ended(short_dir: Path, told: Told) -> None:
    relay = RelayProcess(short_dir)
    start(relay, told)
    try:
        told.forget()
        relay.signal(signal.SIGHUP)
        eventually(lambda: "READY=1" in told.said)

        names = [line.partition("=")[0] for line in told.said]
        assert names[:3] == ["RELOADING", "MONOTONIC_USEC", "READY"]
    finally:
        relay.kill()


def test_a_reload_with_a_wrong_configuration_is_told(
    short_dir: Path, told: Told
) -> None:
    relay = RelayProcess(short_dir)
    start(relay, told, WATCHDOG_SECONDS)
    try:
        relay.configure(settings={"batch": {"max_evnts": 1}})
        relay.signal(signal.SIGHUP)

        eventually(lambda: any("max_evnts" in line for line in told.said))
        assert relay.child.poll() is None
    finally:
        relay.kill()


def test_the_stop_is_announced(short_dir: Path, told: Told) -> None:
    relay = RelayProcess(short_dir)
    start(relay, told)

    assert relay.stop() == 0
    assert told.said[-1] == "STOPPING=1"


@pytest.mark.slow
def test_an_idle_relay_says_that_it_is_well(short_dir: Path, told: Told) -> None:
    relay = RelayProcess(short_dir)
    start(relay, told, WATCHDOG_SECONDS)
    try:
        eventually(lambda: told.said.count("WATCHDOG=1") > 5, within=10)
    finally:
        relay.kill()


@pytest.mark.slow
@pytest.mark.parametrize("thread", ["writer", "lane", "intake", "spool"])
def test_a_relay_with_a_frozen_thread_does_not_say_so(
    short_dir: Path, told: Told, thread: str
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may freeze a thread of another process for certain")
    spool = {"path": str(short_dir / "spool"), "scan_interval": "200ms"}
    relay = RelayProcess(short_dir, settings={"spool": spool})
    start(relay, told, WATCHDOG_SECONDS)
    try:
        with frozen(relay.pid, thread):
            with socket.socket(socket.AF_UNIX) as sock:  # a reason to move
                sock.connect(str(relay.socket))
                sock.sendall(b'{"event":"e","distinct_id":"u"}\n')
                eventually(
                    lambda: any(line.startswith("STATUS=silent") for line in told.said),
                    within=20,
                )
            told.forget()
            eventually(lambda: f"thread_silent thread={thread}" in relay.log)
            assert "Current thread" in relay.log  # all stacks, for who mends it
            assert "WATCHDOG=1" not in told.said
        eventually(lambda: "WATCHDOG=1" in told.said, within=10)
        assert f"thread_moves thread={thread}" in relay.log
    finally:
        relay.kill()


# Its sockets.


def test_a_passed_socket_is_served_and_outlives_the_relay(short_dir: Path) -> None:
    path = short_dir / "relay.sock"
    with listening(path) as sock, ActivatedRelay(short_dir, "socket", sock) as relay:
        assert b'"stored":1' in send(path, "first")
        relay.stop()

        # Whoever connects while nobody serves is served by the next.
        with socket.socket(socket.AF_UNIX) as early:
            early.settimeout(10)
            early.connect(str(path))
            early.sendall(b'{"event":"second","distinct_id":"u"}\n')
            relay.start()
            assert b'"stored":1' in early.recv(4096)
        relay.stop()
        assert path.is_socket()


def test_a_passed_socket_that_lies_elsewhere_is_mentioned(short_dir: Path) -> None:
    path = short_dir / "other.sock"
    with listening(path) as sock, ActivatedRelay(short_dir, "socket", sock) as relay:
        assert b'"stored":1' in send(path, "e")

        assert f"socket_elsewhere passed={path}" in relay.log
        assert not relay.socket.exists()


def test_a_passed_socket_for_http_needs_no_setting(short_dir: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as sock,
        ActivatedRelay(short_dir, "http", sock),
        socket.create_connection(sock.getsockname()) as client,
    ):
        client.settimeout(10)
        body = b'{"api_key":"phc_test","event":"e","distinct_id":"u"}'
        head = (
            "POST /capture/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        )
        client.sendall((head % len(body)).encode() + body)

        assert client.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_passed_socket_of_an_unknown_name_is_let_go(short_dir: Path) -> None:
    path = short_dir / "what.sock"
    with listening(path) as sock, ActivatedRelay(short_dir, "what", sock) as relay:
        assert "socket_unused name=what" in relay.log
        assert b'"stored":1' in send(relay.socket, "e")


def test_sockets_that_were_passed_to_another_process_are_not_ours(
    short_dir: Path,
) -> None:
    relay = RelayProcess(short_dir)
    relay.launch(LISTEN_PID="1", LISTEN_FDS="1", LISTEN_FDNAMES="socket")
    try:
        eventually(relay.socket.exists)
        assert b'"stored":1' in send(relay.socket, "e")
    finally:
        relay.kill()
