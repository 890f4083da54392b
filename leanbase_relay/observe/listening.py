"""The listener for metrics: HTTP/1, a request a connection, in the intake loop.

As little of HTTP as Prometheus and a browser need, so that it cannot be an opening:
the head of a request is bounded in bytes and in time, its body is never read, and
connections are few: one too many is hung up on.
"""

import asyncio
import socket

from leanbase_relay.observe.answers import Answers, asked

MAX_HEAD_BYTES = 8 << 10
MAX_CONNECTIONS = 32
PATIENCE_SECONDS = 5.0
"""For a request and its answer, both together."""


class Listening:
    """Answers on listening sockets, until `stop`."""

    def __init__(
        self, answers: Answers, *, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        self._answers = answers
        self._patience_seconds = patience_seconds
        self._servers: list[asyncio.Server] = []
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self, socks: list[socket.socket]) -> None:
        """Serve them."""
        for sock in socks:
            self._servers.append(
                await asyncio.start_server(self._serve, sock=sock, limit=MAX_HEAD_BYTES)
            )

    async def stop(self) -> None:
        """Hang up; whoever asked asks again."""
        for server in self._servers:
            server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        client = asyncio.current_task()
        assert client is not None, "a connection is served in a task"
        if len(self._clients) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._clients.add(client)
        try:
            async with asyncio.timeout(self._patience_seconds):
                await self._answer(reader, writer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # it went away, it takes too long, or we stop
        finally:
            self._clients.discard(client)
            writer.transport.abort()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return
        except asyncio.LimitOverrunError:
            head = b""
        request = asked(head.removesuffix(b"\r\n\r\n"))
        on_port = writer.get_extra_info("socket").family != socket.AF_UNIX
        reply = self._answers.to(request, on_port=on_port)
        with_body = request is None or request.method != "HEAD"
        writer.write(reply.encode(with_body=with_body))
        writer.close()  # which is when it is sent
        await writer.wait_closed()
