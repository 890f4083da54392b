"""What runs in the machine beside the relay: wires from its sockets to the outside.

For each wire it connects to the host, says on a line what is at this end, and carries
bytes. At the end of the wire `spool` is an app that spools: each line that comes is an
event, and the answer is what the client says of it.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leanbase_relay.client import Client

HOST = "10.0.2.2"
RELAYS = 3
WIRES = RELAYS + 3
_LOOK_SECONDS = 0.05

Ask = Callable[[socket.socket], None]


def main() -> None:
    port = int(Path("/app/port").read_text())
    command = [sys.executable, "-m", "leanbase_relay", "run"]
    relay = subprocess.Popen([*command, "-c", "/app/config.yaml"])
    sockets = [Path(f"/run/{name}.sock") for name in ("relay", "http", "control")]
    while relay.poll() is None and not all(each.is_socket() for each in sockets):
        time.sleep(_LOOK_SECONDS)
    for _ in range(RELAYS):
        _lay(port, "relay", _carry("/run/relay.sock"))
    _lay(port, "http", _carry("/run/http.sock"))
    _lay(port, "control", _carry("/run/control.sock"))
    _lay(port, "spool", _spool)
    print("wires laid", time.clock_gettime(time.CLOCK_BOOTTIME), flush=True)
    print("the relay ended:", relay.wait(), flush=True)
    os.sync()
    Path("/proc/sysrq-trigger").write_text("o")
    time.sleep(60)


def _lay(port: int, name: str, serve: Ask) -> None:
    def wire() -> None:
        with socket.create_connection((HOST, port)) as outside:
            outside.sendall(f"{name}\n".encode())
            serve(outside)

    threading.Thread(target=wire, name=name, daemon=True).start()


def _carry(path: str) -> Ask:
    def carry(outside: socket.socket) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as inside:
            inside.connect(path)
            back = threading.Thread(target=_pump, args=(inside, outside), daemon=True)
            back.start()
            _pump(outside, inside)
            back.join()

    return carry


def _pump(source: socket.socket, target: socket.socket) -> None:
    while received := source.recv(1 << 16):
        target.sendall(received)
    target.shutdown(socket.SHUT_WR)


def _spool(outside: socket.socket) -> None:
    client = Client(socket_path="/run/nobody.sock", spool_path="/data/spool")
    with outside.makefile("rb") as lines:
        for line in lines:
            given: dict[str, Any] = json.loads(line)
            outcome = client.capture(
                given["distinct_id"],
                given["event"],
                given["properties"],
                uuid=given["uuid"],
                timestamp=given["timestamp"],
            )
            outside.sendall(f"{outcome.became}\n".encode())


if __name__ == "__main__":
    assert shutil.which("ip"), "this is for the machine that `machine` starts"
    main()
