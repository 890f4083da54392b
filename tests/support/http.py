"""The capture API as it runs in the daemon, and clients that speak HTTP to it."""

import json
import socket
from collections.abc import Mapping
from http.client import HTTPResponse
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import requests

from leanbase_relay import listener
from leanbase_relay.intake.capture_api import CaptureApi
from leanbase_relay.intake.event import Judge
from leanbase_relay.intake.request import Bounds
from leanbase_relay.store.chunk import unpack
from leanbase_relay.store.reader import Reader
from leanbase_relay.store.totals import BEGINNING
from tests.support.intake import MAX_EVENT_BYTES, PATIENCE_SECONDS, RunningIntake
from tests.support.keys import KEY, KEYS, key_ring

OK = (200, '{"status":"Ok"}')
NOTHING: Mapping[str, str] = {}
PACKED = {"Content-Encoding": "gzip"}


class RunningApi(RunningIntake):
    """Serves a port and a Unix socket too, until it is left."""

    def __init__(
        self,
        directory: Path,
        *,
        bounds: Bounds | None = None,
        allow_uids: tuple[int, ...] | None = None,
        **given: Any,
    ) -> None:
        super().__init__(directory, **given)
        self.unix_path = directory / "http.sock"
        self.keys = key_ring()
        max_bytes = given.get("max_event_bytes", MAX_EVENT_BYTES)
        self.api = CaptureApi(
            a_judge=lambda: Judge(
                max_bytes=max_bytes,
                projects=frozenset(KEYS),
                keys=self.keys,
                from_sdk=True,
            ),
            keys=self.keys,
            writer=self.writer,
            clock=self.clock,
            allow_uids=allow_uids,
            bounds=bounds,
        )

    def __enter__(self) -> Self:
        super().__enter__()
        (sock,) = listener.listen_tcp("127.0.0.1", 0)
        self.port = sock.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        unix = listener.listen(self.unix_path, mode=0o600)
        self._in_loop(self.api.start([sock, unix]))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.store.may_commit.set()
        self.stop()
        super().__exit__(kind, error, trace)

    def stop(self, within_seconds: float = PATIENCE_SECONDS) -> None:
        if self._serving:
            self._in_loop(self.api.stop(within_seconds))
        super().stop(within_seconds)

    def connections(self) -> int:
        """How many connections are open."""
        return int(self.in_loop(lambda: len(self.api._web._connections)))

    def post(
        self, path: str, body: object, headers: Mapping[str, str] = NOTHING
    ) -> tuple[int, str]:
        """Post bytes, or a value as JSON; status and text of the answer."""
        answer = self.answer(path, body, headers)
        return answer.status_code, answer.text

    def answer(
        self, path: str, body: object, headers: Mapping[str, str] = NOTHING
    ) -> requests.Response:
        return requests.post(
            self.url + path,
            data=body if isinstance(body, bytes) else spelled(body),
            headers={"Content-Type": "application/json", **headers},
            timeout=PATIENCE_SECONDS,
        )

    def wire(self, *, unix: bool = False) -> "Wire":
        """A connection on which every byte can be chosen."""
        return Wire(self.unix_path if unix else ("127.0.0.1", self.port))

    def historical(self, project: str = "default") -> list[bool]:
        """Of each stored chunk, whether it is an import."""
        reader = Reader(self._store_path)
        try:
            chunks = reader.peek(
                project, BEGINNING, max_events=1 << 30, max_bytes=1 << 40
            )
            return [chunk.historical for chunk in chunks if unpack(chunk.packed)]
        finally:
            reader.close()


class Heard(NamedTuple):
    """An answer."""

    status: int
    text: str
    headers: Mapping[str, str]


class Wire:
    """A client that has no manners but those it is told."""

    def __init__(self, where: Path | tuple[str, int]) -> None:
        if isinstance(where, Path):
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self.socket.connect(str(where))
            except OSError:
                self.socket.close()
                raise
        else:
            self.socket = socket.create_connection(where)
        self.socket.settimeout(PATIENCE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, sent: bytes) -> None:
        self.socket.sendall(sent)

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def hear(self, method: str = "POST") -> Heard:
        """The next answer."""
        answer = _Answer(self.socket, method=method)
        answer.begin()
        text = answer.read().decode()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Heard(answer.status, text, headers)

    def is_closed(self) -> bool:
        """Whether the relay hangs up, having said nothing more."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def hears_nothing(self) -> bool:
        """Whether there is nothing to read at this moment."""
        self.socket.setblocking(False)  # noqa: FBT003 - the library's
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(PATIENCE_SECONDS)
        return False


class _Answer(HTTPResponse):
    """An answer that is read byte by byte where it ends: the next one may follow."""

    def __init__(self, sock: socket.socket, method: str) -> None:
        super().__init__(sock, method=method)
        self.fp = sock.makefile("rb", buffering=0)  # type: ignore[assignment]


def request(
    body: bytes = b"", *, path: str = "/batch/", method: str = "POST", **headers: str
) -> bytes:
    """A request as it goes over the wire."""
    said = {
        "Host": "127.0.0.1",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}" for name, value in said.items() if value]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode() + body


def event(number: int = 0, /, **members: Any) -> dict[str, Any]:
    """An event that needs nothing; None leaves a member out."""
    given = {
        "event": "order placed",
        "distinct_id": "user-1",
        "uuid": f"01890a5d-ac96-774b-bcce-{number:012x}",
        "timestamp": "2026-03-01T12:00:00.123Z",
        "properties": {"n": number},
    } | members
    return {name: value for name, value in given.items() if value is not None}


def batch(*events: Any, key: str = KEY, **members: Any) -> dict[str, Any]:
    return {"api_key": key, "batch": list(events)} | members


def spelled(value: object) -> bytes:
    return json.dumps(value).encode()
