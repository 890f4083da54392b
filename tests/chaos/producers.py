"""Producers: one for each door; they send while they may, and note what they hear."""

import json
import random
import threading
from abc import ABC, abstractmethod
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from tests.chaos.oracle import Oracle
from tests.support.intake import Client

SIZES = (1, 1, 1, 5, 60)
PATIENCE_SECONDS = 0.02
MOST_FILES_WAITING = 50


class Producer(ABC, threading.Thread):
    """Sends until it is ended; a relay that is away is waited for.

    Args:
        name: no other producer's.
    """

    door: str

    def __init__(self, oracle: Oracle, name: str, rng: random.Random) -> None:
        super().__init__(name=name)
        self._oracle = oracle
        self._rng = rng
        self._made = 0
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                self.produce()
            except (OSError, AssertionError, ValueError, HTTPException):
                self._ended.wait(PATIENCE_SECONDS)  # it was killed, and comes back

    def end(self) -> None:
        """Send no more, and be done."""
        self._ended.set()
        self.join(30)

    @abstractmethod
    def produce(self) -> None:
        """Send, and tell the oracle of what is acknowledged."""

    def batch(self, *, uuids: bool) -> tuple[list[str], list[bytes]]:
        """Some new events: their marks and their lines."""
        marks, lines = [], []
        for _ in range(self._rng.choice(SIZES)):
            self._made += 1
            mark = f"{self.name}-{self._made}"
            event = {"event": "e", "distinct_id": mark, "properties": {"mark": mark}}
            if uuids:
                event["uuid"] = str(uuid_of(self._rng))
            marks.append(mark)
            lines.append(json.dumps(event).encode() + b"\n")
        return marks, lines

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    def pause(self) -> None:
        """Leave the others some of the machine."""
        self._ended.wait(self._rng.uniform(0, 0.04))


def uuid_of(rng: random.Random) -> str:
    """A uuid that the same seed makes again."""
    text = f"{rng.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class SocketProducer(Producer):
    """Over the socket; an event counts once its `stored` was read."""

    door = "socket"

    def __init__(self, path: Path, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self._path = path

    def produce(self) -> None:
        with Client(self._path) as client:
            sent: list[str] = []
            settled = 0
            while not self.ended:
                marks, lines = self.batch(uuids=True)
                sent += marks
                client.send(b"".join(lines))
                while settled < len(sent):
                    reply = client.reply()
                    assert "error" not in reply, reply
                    before, settled = settled, reply["stored"]
                    self._oracle.promised(self.door, sent[before:settled])
                self.pause()


class SpoolProducer(Producer):
    """By renamed files; a line counts from the rename on. Its events have no uuid."""

    door = "spool"

    def __init__(self, directory: Path, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self._directory = directory
        self._files = 0

    def produce(self) -> None:
        if sum(1 for _ in self._directory.glob("*.jsonl")) > MOST_FILES_WAITING:
            self.pause()  # a relay that is killed all the time would never catch up
            return
        marks, lines = self.batch(uuids=False)
        self._files += 1
        path = self._directory / f"{self.name}-{self._files}.jsonl"
        other = path.with_suffix(".tmp")
        other.write_bytes(b"".join(lines))
        other.rename(path)
        self._oracle.promised(self.door, marks)
        self.pause()


class HttpProducer(Producer):
    """By the capture API, as an SDK does; a batch counts once its 200 was read."""

    door = "HTTP"

    def __init__(self, port: int, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self._port = port

    def produce(self) -> None:
        with closing(HTTPConnection("127.0.0.1", self._port, timeout=10)) as relay:
            while not self.ended:
                marks, lines = self.batch(uuids=True)
                events = b",".join(line.strip() for line in lines)
                body = b'{"api_key":"phc_test","batch":[%b]}' % events
                relay.request("POST", "/batch/", body)
                answer = relay.getresponse()
                answer.read()
                assert answer.status in (200, 503), answer.status
                if answer.status == 200:
                    self._oracle.promised(self.door, marks)
                self.pause()
