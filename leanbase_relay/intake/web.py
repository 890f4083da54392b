"""HTTP as aiohttp speaks it: connections within bounds, requests in, answers out.

Knows nothing of events. Owns the bounds of whatever a connection can do before
anybody has looked at what it brings: how many there are, how long one may be silent,
how long a request may take to arrive, and how much memory all of them hold together.
"""

import asyncio
import logging
import socket
import struct
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from leanbase_relay.intake.answer import Answer, Declined
from leanbase_relay.intake.request import Bounds, Head, Serve
from leanbase_relay.intake.room import Room
from leanbase_relay.listener import BACKLOG

log = logging.getLogger(__name__)

MAX_READING_BYTES = 40 << 20
"""Of bodies that are on their way, over all connections: two of the largest."""
MAX_HEADERS = 64
MAX_HEADER_BYTES = 8 << 10
MAX_TARGET_BYTES = 64 << 10
"""Of path and query: with GET the events stand in them."""
PIECE_BYTES = 64 << 10
"""What a connection may hold of a body without asking for room."""
MAX_AHEAD_BYTES = 256 << 10
"""Of bodies that were sent before the answer to the one in front of them."""

_LINGER_SECONDS = 5.0  # a client that still sends sees an early answer only after that
_ABANDON_SECONDS = 0.1
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_PEERCRED = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid


class Web:
    """All HTTP connections of the relay.

    Args:
        serve: answers one request.
        allow_uids: who may connect to the Unix sockets, by the kernel's word.
    """

    def __init__(
        self,
        serve: Serve,
        *,
        allow_uids: tuple[int, ...] | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        self.allow_uids = allow_uids
        self.bounds = bounds or Bounds()
        self.reading = Room(MAX_READING_BYTES)
        self.stopping = False
        self._serve = serve
        self._servers: list[asyncio.Server] = []
        self._connections: set[_Connection] = set()
        self._idle: dict[_Connection, None] = {}  # the longest idle first
        self._fewer = asyncio.Event()

    async def start(self, socks: Sequence[socket.socket]) -> None:
        """Serve listening sockets."""
        loop = asyncio.get_running_loop()
        self._manager = web.Server(self._answered)

        def connected() -> _Connection:
            return _Connection(self, self._manager, loop)

        for sock in socks:
            # Unix sockets too: from Python 3.13 on, create_unix_server would unlink
            # them in the end, and they may be systemd's.
            self._servers.append(await loop.create_server(connected, sock=sock))
            # asyncio listens anew, with a queue as short as what it accepts at once.
            sock.listen(BACKLOG)

    async def stop(self, within_seconds: float) -> None:
        """Take no more, finish what was received, close."""
        self.stopping = True
        for server in self._servers:
            server.close()
        await _next_turn()  # in which those begin that have just connected
        for connection in tuple(self._connections):
            if connection.is_idle:
                connection.force_close()
        try:
            async with asyncio.timeout(within_seconds):
                while self._connections:
                    self._fewer.clear()
                    await self._fewer.wait()
        except TimeoutError:
            log.warning("requests_abandoned count=%d", len(self._connections))
        await self._manager.shutdown(_ABANDON_SECONDS)

    # Connections.

    def admits(self, connection: "_Connection") -> bool:
        """Take a connection, or see that there is no room for it."""
        if self.stopping:
            return False
        if len(self._connections) >= self.bounds.connections:
            oldest = next((one for one in self._idle if one.is_idle), None)
            if oldest is None:
                return False
            oldest.force_close()
            self.left(oldest)
        self._connections.add(connection)
        self._idle[connection] = None
        return True

    def left(self, connection: "_Connection") -> None:
        self._connections.discard(connection)
        self._idle.pop(connection, None)
        self._fewer.set()

    # Requests.

    async def _answered(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, _Connection), "no others are made"
        path, _, query = request.raw_path.partition("?")
        head = Head(
            request.method,
            path,
            query,
            request.headers,
            connection.peer,
            connection.on_port,
        )
        body = _Body(request, connection, self.reading, self.bounds.body_seconds)
        connection.body = body
        connection.begun += 1
        self._idle.pop(connection, None)
        try:
            answer = await self._serve(head, body.read)
        finally:
            body.release()
            connection.body = None
            if connection in self._connections:
                self._idle[connection] = None
        response = _response(answer)
        if self.stopping or connection.is_at_its_end:
            response.force_close()
        return response


class _Body:
    """The body of one request, while it arrives and as long as it is needed."""

    def __init__(
        self,
        request: web.BaseRequest,
        connection: "_Connection",
        room: Room,
        seconds: float,
    ) -> None:
        self._request = request
        self._connection = connection
        self._room = room
        self._seconds = seconds
        self._taken = 0
        self._torn = False

    @property
    def is_here(self) -> bool:
        """Whether all of it has arrived."""
        return self._request.content.is_eof()

    async def read(self, max_bytes: int) -> bytes:
        """Wait for all of it.

        Raises:
            Declined: it is too long, too slow, or breaks off.
        """
        declared = self._request.content_length
        if declared is not None and declared > max_bytes:
            raise _too_long(max_bytes)
        if self.is_here:
            return self._request.content.read_nowait()
        if self._connection.has_more or self._connection.half_closed:
            self.tear()
        try:
            async with asyncio.timeout(self._seconds):
                await self._ask_for_it()
                body = await self._gather(declared, max_bytes)
        except TimeoutError:
            raise Declined(408, "client stopped sending data") from None
        except (web.RequestPayloadError, ConnectionError):
            raise Declined(400, "the body breaks off") from None
        if self._torn:
            raise Declined(400, "the body breaks off")
        return body

    def tear(self) -> None:
        """Nothing follows a body that is not complete: what follows is no HTTP."""
        if not self.is_here:
            self._torn = True
            self._request.content.feed_eof()

    def release(self) -> None:
        """Give back the room that it took."""
        if self._taken:
            self._room.give_back(self._taken)
            self._taken = 0

    async def _ask_for_it(self) -> None:
        """Some clients (PHP's among them) ask before they send a large body."""
        if self._request.headers.get("Expect", "").lower() == "100-continue":
            writer = self._request.writer
            await writer.write(_CONTINUE)
            writer.output_size = 0  # of the answer nothing is sent yet

    async def _gather(self, declared: int | None, max_bytes: int) -> bytes:
        content = self._request.content
        if declared is not None and declared > PIECE_BYTES:
            await self._take_room(declared)
        pieces: list[bytes] = []
        size = 0
        while not content.at_eof():
            piece = await content.readany()
            size += len(piece)
            if size > max_bytes:
                raise _too_long(max_bytes)
            if size > PIECE_BYTES and not self._taken:
                await self._take_room(max_bytes)  # it does not say how long it is
            pieces.append(piece)
        return b"".join(pieces)

    async def _take_room(self, size: int) -> None:
        await self._room.take(size, self._seconds)
        self._taken = size


class _Connection(web.RequestHandler):
    """One client's connection."""

    __slots__ = ("_web", "begun", "body", "half_closed", "on_port", "peer")

    def __init__(
        self, house: Web, manager: web.Server, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(
            manager,
            loop=loop,
            keepalive_timeout=house.bounds.idle_seconds,
            logger=log,
            access_log=None,  # type: ignore[arg-type] # the log is for changes
            max_line_size=MAX_TARGET_BYTES,
            max_headers=MAX_HEADERS,
            max_field_size=MAX_HEADER_BYTES,
            lingering_time=_LINGER_SECONDS,
            read_bufsize=PIECE_BYTES,
            auto_decompress=False,
        )
        self._web = house
        self.half_closed = False
        self.begun = 0  # requests that somebody has begun to answer
        self.body: _Body | None = None  # of the one that is being answered
        self.peer = "http"
        self.on_port = True

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a request."""
        return self._waiter is not None and not self._waiter.done()

    @property
    def has_more(self) -> bool:
        """Whether something comes after what is being answered."""
        return bool(self._messages)

    @property
    def is_at_its_end(self) -> bool:
        """Whether nothing can come any more."""
        return self.half_closed and not self.has_more

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "a stream socket"
        sock = transport.get_extra_info("socket")
        self.on_port = sock.family != socket.AF_UNIX
        refusal = self._introduced(sock, transport.get_extra_info("peername"))
        if refusal is None and not self._web.admits(self):
            refusal = 503, "Service Unavailable", "no room for a connection; come again"
        if refusal is not None:
            transport.write(_bare(*refusal))
            transport.close()
            return
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.has_more:
            return
        if self.body is not None:
            self.body.tear()
        ahead = sum(content.total_bytes for _, content in self._messages)
        if ahead > MAX_AHEAD_BYTES:
            self.close()  # no more is read, and what is being answered is the last

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._web.left(self)

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio wants to know
        """A client that has said all it has to say still hears its answers."""
        self.half_closed = True
        if self.body is not None:
            return self.body.is_here
        return self._request_count > self.begun

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes what was sent
    ) -> web.StreamResponse:
        """Answer what is no HTTP, or what fell over a fault of ours."""
        if request.writer.output_size:
            raise ConnectionError("a part of the answer is sent already")
        if status < 500:
            return _response(
                Answer(status, b"not a request that the relay can read", closing=True)
            )
        log.error("request_failed peer=%s", self.peer, exc_info=exc)
        return _response(Answer(status, b"a fault of the relay's", closing=True))

    def _introduced(
        self, sock: socket.socket, peer: Any
    ) -> tuple[int, str, str] | None:
        """Note who it is; what is said to one who may not come in."""
        if self.on_port:
            host, port = peer[:2]
            self.peer = (
                f"http [{host}]:{port}" if ":" in host else f"http {host}:{port}"
            )
            return None
        credentials = sock.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size
        )
        pid, uid, _ = _PEERCRED.unpack(credentials)
        self.peer = f"http uid={uid} pid={pid}"
        allowed = self._web.allow_uids
        if allowed is None or uid in allowed:
            return None
        log.warning("connection_refused uid=%d pid=%d", uid, pid)
        return 403, "Forbidden", f"uid {uid} is not in socket.allow_uids"


async def _next_turn() -> None:
    """Let the loop do what is ready."""
    loop = asyncio.get_running_loop()
    turn = loop.create_future()
    loop.call_soon(turn.set_result, None)
    await turn


def _response(answer: Answer) -> web.Response:
    headers = {"Content-Type": answer.content_type, "Server": "leanbase-relay"}
    response = web.Response(
        body=answer.body, status=answer.status, headers={**headers, **answer.headers}
    )
    if answer.closing:
        response.force_close()
    return response


def _bare(status: int, phrase: str, sentence: str) -> bytes:
    """An answer to one who is not let in."""
    return (
        f"HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(sentence)}\r\nConnection: close\r\n\r\n{sentence}"
    ).encode()


def _too_long(max_bytes: int) -> Declined:
    return Declined(
        413,
        f"maximum event size exceeded: a request may have {max_bytes} bytes; send the "
        "events in smaller batches",
        tag="payload_too_large",
    )
