"""The load: producers out here, who note what they were told is stored.

What is noted was said by the relay before the power went, since it had reached another
machine. What was on its way is not noted, and may be in the store or not.
"""

import json
import random
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from itertools import count
from types import TracebackType
from typing import Any, Self

KEY = "phc_test"
SIZES = (1, 1, 20, 300)
PATIENCE_SECONDS = 120.0  # under an emulator, on a machine that has more to do
LOOK_SECONDS = 0.5

_HEAD = (
    b"POST /batch/ HTTP/1.1\r\nHost: relay\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n"
)

Body = Callable[[socket.socket, random.Random], None]


@dataclass
class Ledger:
    """What was sent, and what was acknowledged; of all cuts together."""

    sent: set[str] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)
    spooled: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)

    @property
    def acknowledged(self) -> set[str]:
        return self.stored | self.spooled


class Switchboard:
    """Where the machine's wires arrive; each has its own thread.

    Args:
        seed: of how much is sent, and when.
    """

    def __init__(self, ledger: Ledger, seed: int) -> None:
        self._ledger = ledger
        self._rng = random.Random(seed)  # noqa: S311 - no secret
        self._numbers = count()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._wires: dict[str, list[socket.socket]] = defaultdict(list)
        self._threads: list[threading.Thread] = []
        self._produced = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.hang_up()
        self._listening.close()

    @property
    def port(self) -> int:
        port: int = self._listening.getsockname()[1]
        return port

    def connect(self, wires: int, *, while_: Callable[[], bool]) -> bool:
        """Wait for so many wires; False if the machine is off before that."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        self._listening.settimeout(LOOK_SECONDS)
        while sum(map(len, self._wires.values())) < wires:
            if not while_() or time.monotonic() > deadline:
                return False
            with suppress(TimeoutError):
                wire, _ = self._listening.accept()
                wire.settimeout(PATIENCE_SECONDS)
                self._wires[_read_line(wire).decode()].append(wire)
        return True

    def produce(self) -> None:
        """Send until the wires are cut; returns when the first is acknowledged."""
        self._produced.clear()
        for name, body in (
            ("relay", self._send),
            ("http", self._post),
            ("spool", self._spool),
        ):
            for wire in self._wires[name]:
                self._start(body, wire)
        assert self._produced.wait(PATIENCE_SECONDS), "nothing is acknowledged"

    def status(self) -> dict[str, Any]:
        """The relay's own look."""
        (wire,) = self._wires["control"]
        wire.sendall(b'{"command": "status"}\n')
        look: dict[str, Any] = json.loads(_read_line(wire))
        return look

    def hang_up(self) -> None:
        """Once the machine is off: every producer comes to its end."""
        for wire in (wire for wires in self._wires.values() for wire in wires):
            wire.close()
        for thread in self._threads:
            thread.join()
        self._wires.clear()
        self._threads.clear()

    # Producers.

    def _start(self, body: Body, wire: socket.socket) -> None:
        rng = random.Random(self._rng.random())  # noqa: S311

        def until_cut() -> None:
            try:
                body(wire, rng)
            except (OSError, HTTPException):
                pass  # the power went
            except Exception as error:  # noqa: BLE001 - said at the end of the cut
                self._ledger.complaints.append(repr(error))

        thread = threading.Thread(target=until_cut)
        thread.start()
        self._threads.append(thread)

    def _send(self, wire: socket.socket, rng: random.Random) -> None:
        waiting: list[str] = []
        settled = 0
        with wire.makefile("rb") as replies:
            while True:
                events = [self._event(rng) for _ in range(rng.choice(SIZES))]
                waiting += [event["uuid"] for event in events]
                wire.sendall(b"".join(map(_line, events)))
                while settled < len(waiting):
                    line = replies.readline()
                    if not line.endswith(b"\n"):
                        return
                    reply = json.loads(line)
                    assert reply.get("refused") == 0, reply
                    self._ledger.stored.update(waiting[settled : reply["stored"]])
                    settled = reply["stored"]
                    self._produced.set()

    def _post(self, wire: socket.socket, rng: random.Random) -> None:
        while True:
            events = [self._event(rng) for _ in range(rng.choice(SIZES))]
            body = json.dumps({"api_key": KEY, "batch": events}).encode()
            wire.sendall(_HEAD % len(body) + body)
            answer = HTTPResponse(wire, method="POST")
            answer.begin()
            answer.read()
            assert answer.status == 200, answer.status
            self._ledger.stored.update(event["uuid"] for event in events)

    def _spool(self, wire: socket.socket, rng: random.Random) -> None:
        with wire.makefile("rb") as replies:
            while True:
                event = self._event(rng)
                wire.sendall(_line(event))
                reply = replies.readline()
                if not reply.endswith(b"\n"):
                    return
                assert reply == b"spooled\n", reply
                self._ledger.spooled.add(event["uuid"])

    def _event(self, rng: random.Random) -> dict[str, Any]:
        number = next(self._numbers)
        uuid = f"01890a5d-ac96-774b-bcce-{number:012x}"
        self._ledger.sent.add(uuid)
        return {
            "event": "order placed",
            "distinct_id": f"user-{number % 100}",
            "uuid": uuid,
            "timestamp": "2026-03-01T12:00:00.123Z",
            "properties": {"n": number, "noise": rng.randbytes(200).hex()},
        }


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode() + b"\n"


def _read_line(wire: socket.socket) -> bytes:
    """A line, and not a byte behind it."""
    line = bytearray()
    while not line.endswith(b"\n"):
        received = wire.recv(1)
        if not received:
            raise ConnectionResetError("the power went")
        line += received
    return bytes(line[:-1])
