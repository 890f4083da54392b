"""The sink as a server: threads, sockets, faults. Every wait ends with `stop`."""

import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from leanbase_relay.clock import Clock, SystemClock
from leanbase_relay.sink.bend import bent, reason
from leanbase_relay.sink.envelope import Event
from leanbase_relay.sink.exchange import Arrival, Outcome, Settings
from leanbase_relay.sink.fault import Fault
from leanbase_relay.sink.limits import Limits, Refusal
from leanbase_relay.sink.log import Counts, Keep, Log, Request
from leanbase_relay.sink.row import Row, RowKey
from leanbase_relay.sink.script import Play, Script
from leanbase_relay.sink.service import Service
from leanbase_relay.sink.v1_results import summed
from leanbase_relay.sink.wire import Answer, ClientGone, read_body, render

IDLE_SECONDS = 75.0
STOP_LOOKED_AT_SECONDS = 0.02
PIECE_BYTES = 64 * 1024

_NO_ANSWER = Answer(0)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Sink:
    """A stand-in upstream on a port of this machine.

    Args:
        port: 0 takes any free one; `url` tells which.
        host: the address to listen on.
        known_keys: other keys get 401; None takes every well-formed key.
        v1: False behaves as a server that does not know protocol v1 (404).
        refuses: a request with an event of which this is true gets 400 as a whole,
            as from a service that cannot process that event.
        script: faults for the first requests.
        on_request: called for each request, one at a time, in order of arrival,
            before the client has its answer.
        keep: "counts" forgets requests, events and rows once they are counted.
        deadband_seconds: a clock skew that is left alone; 0 is what old servers do.
        limits: smaller ones make 413 cheap to test.
        clock: whose wall time is the server's.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        known_keys: frozenset[str] | None = None,
        v1: bool = True,
        refuses: Callable[[Event], bool] | None = None,
        script: Script | None = None,
        on_request: Callable[[Request], None] | None = None,
        keep: Keep = "all",
        deadband_seconds: float = 150.0,
        limits: Limits | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.service = Service(
            Settings(
                known_keys=known_keys,
                deadband=timedelta(seconds=deadband_seconds),
                limits=limits or Limits(),
                refuses=refuses,
                v1=v1,
            )
        )
        self.clock = clock or SystemClock()
        self.stopping = threading.Event()
        self._address = (host, port)
        self._log = Log(keep)
        self._on_request = on_request
        self._turn = threading.RLock()  # one request at a time is taken down
        self._play = Play(script or Script())
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; an `OSError` says why the port cannot be had."""
        self.stopping.clear()
        self._server = _Server(self._address, self)
        self._address = (self._address[0], self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            args=(STOP_LOOKED_AT_SECONDS,),
            name="sink",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """End every connection and thread; a later start has the same port and log."""
        self.stopping.set()
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.hang_up()
        self._server = None

    @property
    def url(self) -> str:
        """The base URL, without a final slash."""
        host, port = self._address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def requests(self) -> list[Request]:
        """Every request so far."""
        return self._log.requests

    @property
    def events(self) -> list[Event]:
        """Every stored event so far, as it came, duplicates included."""
        return self._log.events

    @property
    def rows(self) -> dict[RowKey, Row]:
        """Stored rows by (UTC day, event, distinct_id, uuid); the last wins."""
        return self._log.rows

    @property
    def counts(self) -> Counts:
        """The sums so far."""
        return self._log.counts

    def wait_for(self, n_events: int, within_seconds: float) -> bool:
        """Wait until so many events are stored, duplicates included."""
        return self._log.wait_until(
            lambda counts: counts.events >= n_events, within_seconds=within_seconds
        )

    def wait_for_requests(self, n_requests: int, within_seconds: float) -> bool:
        """Wait until so many requests came, whatever became of them."""
        return self._log.wait_until(
            lambda counts: counts.requests >= n_requests, within_seconds=within_seconds
        )

    def follow(self, script: Script) -> None:
        """Misbehave in this way from the next request on; forgets what was left."""
        with self._turn:
            self._play = Play(script)

    def next_fault(self) -> Fault:
        """What the script has for the request at hand."""
        with self._turn:
            return self._play.next_fault(self.clock.monotonic())

    def take_down(self, request: Request) -> None:
        """Keep a request, then tell whoever listens."""
        with self._turn:
            self._log.record(request)
            if self._on_request is not None:
                self._on_request(request)


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A thread for each connection, all of which it can hang up on."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], sink: Sink) -> None:
        self.sink = sink
        self._connections: dict[threading.Thread, socket.socket] = {}
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name="sink-connection",
            daemon=True,
        )
        # Ended threads leave here and not by themselves: `hang_up` joins them all.
        alive = {t: c for t, c in self._connections.items() if t.is_alive()}
        self._connections = {**alive, thread: request}
        thread.start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is daily bread; any other error is shown."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def hang_up(self) -> None:
        """Wake every thread that reads or waits, and see it end."""
        for thread, connection in self._connections.items():
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    """One connection: request after request until somebody ends it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS
    server: _Server

    def serve(self) -> None:
        """Read, judge, bend as the script says, take down, answer."""
        sink = self.server.sink
        fault = sink.next_fault()
        at = sink.clock.wall()
        if fault.ending == "reset_unread":
            self._take_down(Outcome(_NO_ANSWER), at, fault, wire_bytes=0)
            self._reset()
            return
        body = b""
        try:
            body = self._read_body()
            outcome = sink.service.serve(self._arrival(body, at))
        except Refusal as refusal:
            self.close_connection = True
            outcome = sink.service.refused(self._arrival(b"", at), refusal)
        except (ClientGone, OSError):
            self.close_connection = True
            gone = Outcome(_NO_ANSWER, hint="the client hung up before the body's end")
            self._take_down(gone, at, Fault(ending="silence"), wire_bytes=0)
            return
        outcome = bent(outcome, fault)
        self._take_down(outcome, at, fault, wire_bytes=len(body))
        self._finish(outcome.answer, fault)

    do_GET = do_POST = do_OPTIONS = do_HEAD = serve  # noqa: N815 (http.server's names)
    do_PUT = do_PATCH = do_DELETE = serve  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name)
        """Whoever wants to know asks the log or `on_request`."""

    def _read_body(self) -> bytes:
        sink = self.server.sink
        return read_body(
            self.rfile,
            self._headers(),
            max_bytes=sink.service.wire_bytes(urlsplit(self.path).path),
            monotonic=sink.clock.monotonic,
        )

    def _headers(self) -> Mapping[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def _arrival(self, body: bytes, at: float) -> Arrival:
        return Arrival.of(
            self.command,
            self.path,
            headers=self._headers(),
            body=body,
            at=datetime.fromtimestamp(at, UTC),
        )

    def _take_down(
        self, outcome: Outcome, at: float, fault: Fault, *, wire_bytes: int
    ) -> None:
        arrival = self._arrival(b"", at)
        answered = fault.ending in ("answer", "cut_off")
        self.server.sink.take_down(
            Request(
                at=at,
                method=arrival.method,
                path=arrival.path,
                query=arrival.query,
                headers=arrival.headers,
                status=outcome.answer.status if answered else None,
                reason=reason(outcome.answer, fault),
                hint=outcome.hint,
                wire_bytes=wire_bytes,
                body=outcome.body,
                events=outcome.events,
                rows=outcome.rows,
                results=summed(outcome.results),
            )
        )

    def _finish(self, answer: Answer, fault: Fault) -> None:
        stopping = self.server.sink.stopping
        self.close_connection |= fault.ending != "answer" or answer.status < 200
        if fault.delay_seconds and stopping.wait(fault.delay_seconds):
            self.close_connection = True
        elif fault.ending == "reset":
            self._reset()
        elif fault.ending != "silence":
            self._send(answer, fault)

    def _send(self, answer: Answer, fault: Fault) -> None:
        wall = self.server.sink.clock.wall() + fault.date_skew_seconds
        closing = self.close_connection and fault.ending == "answer"
        raw = render(answer, wall=wall, closing=closing, padding=fault.padding_bytes)
        if fault.ending == "cut_off":
            raw = raw[: -max(1, len(answer.body) // 2)]
        if fault.drip_seconds:
            self._drip(raw, fault.drip_seconds)
        else:
            self.wfile.write(raw)
            self._pad(fault.padding_bytes)

    def _drip(self, raw: bytes, seconds: float) -> None:
        for byte in raw:
            self.wfile.write(bytes([byte]))
            if self.server.sink.stopping.wait(seconds):
                self.close_connection = True
                return

    def _pad(self, left: int) -> None:
        """Blanks, which change nothing in JSON, until enough or until the end."""
        blanks = b" " * PIECE_BYTES
        while left > 0 and not self.server.sink.stopping.is_set():
            self.wfile.write(blanks[:left])
            left -= len(blanks)
        self.close_connection |= left > 0

    def _reset(self) -> None:
        """End the connection with RST in place of a polite FIN."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.connection.close()
