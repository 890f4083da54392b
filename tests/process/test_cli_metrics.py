"""Metrics of a running relay: by command, as a file, and over HTTP."""

import http.client
import signal
import socket
import stat
from pathlib import Path

import pytest

from leanbase_relay.sink import Sink
from tests.support.process import RelayProcess
from tests.support.waiting import eventually
from tests.unit.test_metrics import Samples, of, read

pytestmark = pytest.mark.process

EVENT = b'{"event":"seen","distinct_id":"u1"}\n'


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def scraped(port: int) -> Samples:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200
        return read(answer.read().decode())
    finally:
        connection.close()


def test_command_file_and_listener_tell_the_same(short_dir: Path) -> None:
    port, path = free_port(), short_dir / "relay.prom"
    settings = {"metrics": {"listen": [f"127.0.0.1:{port}"]}}
    with Sink() as sink, RelayProcess(short_dir, sink.url, settings) as relay:
        relay.command("send", stdin=EVENT * 3 + b"{}\n")
        eventually(lambda: relay.status()["totals"]["delivered"] == 3)
        printed = relay.command("metrics")
        written = relay.command("metrics", "--textfile", path)
        over_http = scraped(port)

    assert (printed.returncode, written.returncode, written.stdout) == (0, 0, "")
    for told in (read(printed.stdout), read(path.read_text()), over_http):
        assert told["up", ()] == 1
        assert told["events_accepted_total", of("default")] == 3
        assert told["events_delivered_total", of("default")] == 3
        assert told["lines_refused_total", (("door", "socket"),)] == 1
        assert told["commit_seconds_count", ()] >= 1
        ok = (("project", "default"), ("status", "200"))
        assert told["attempts_total", ok] >= 1
        assert told["batch_events_sum", of("default")] == 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    left = {entry.name for entry in short_dir.iterdir() if "prom" in entry.name}
    assert left == {"relay.prom"}


def test_a_relay_that_is_stopped_or_hangs_is_not_up(short_dir: Path) -> None:
    with RelayProcess(short_dir) as relay:
        relay.command("send", stdin=EVENT * 3)
        relay.signal(signal.SIGSTOP)
        hanging = relay.command("metrics")
        relay.signal(signal.SIGCONT)
        relay.stop()
    stopped = relay.command("metrics")

    for done, state in ((hanging, "unresponsive"), (stopped, "stopped")):
        told = read(done.stdout)
        assert done.returncode == 3
        assert told["up", ()] == 0
        assert told["state", (("state", state),)] == 1
        assert told["backlog_events", of("default")] == 3


def test_a_file_that_nobody_would_read_is_refused(short_dir: Path) -> None:
    done = RelayProcess(short_dir).command("metrics", "--textfile", short_dir / "a.txt")

    assert done.returncode == 2
    assert ".prom" in done.stderr


def test_a_file_that_cannot_be_written_is_told(short_dir: Path) -> None:
    path = short_dir / "none" / "a.prom"

    done = RelayProcess(short_dir).command("metrics", "--textfile", path)

    assert done.returncode == 1
    assert f"cannot write {path}: No such file" in done.stderr


def test_a_port_that_is_taken_is_said_at_the_start(short_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        relay = RelayProcess(short_dir, settings={"metrics": {"listen": [address]}})
        done = relay.command("run")

    assert done.returncode == 1
    assert f"listens on {address}" in done.stderr
