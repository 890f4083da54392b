"""The control socket: status and commands, one JSON line each way.

A client sends ``{"command": "status"}`` and reads one line. The server half lives in
the intake loop; the client half imports nothing heavy, because `status` is to answer
at once.
"""

import json
import logging
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leanbase_relay.errors import NotRunning

if TYPE_CHECKING:
    import asyncio

log = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 64 << 10
_MAX_ANSWER_BYTES = 16 << 20

Command = Callable[[dict[str, Any]], Any]
"""Takes the request, returns the JSON value that is the answer."""


class Control:
    """Answers requests with the commands it was given, until `stop`."""

    def __init__(self, commands: Mapping[str, Command]) -> None:
        self._commands = commands
        self._server: asyncio.Server | None = None

    async def start(self, sock: socket.socket) -> None:
        """Serve a listening socket."""
        import asyncio

        self._server = await asyncio.start_unix_server(
            self._serve, sock=sock, limit=MAX_REQUEST_BYTES
        )

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(
        self, reader: "asyncio.StreamReader", writer: "asyncio.StreamWriter"
    ) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the client went away, or its line is endless
        finally:
            writer.close()

    def _answer(self, line: bytes) -> Any:
        try:
            request = json.loads(line)
            command = self._commands[request["command"]]
        except (ValueError, TypeError, KeyError):
            known = ", ".join(sorted(self._commands))
            return {"error": f'send {{"command": …}} with one of: {known}'}
        return command(request)


def ask(
    path: Path, command: str, *, timeout_seconds: float = 1.0, **members: Any
) -> Any:
    """Ask a running daemon.

    Raises:
        NotRunning: nobody listens on the control socket.
        TimeoutError: somebody does, and does not answer in time.
        PermissionError: the socket's mode keeps this user out.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout_seconds)
        try:
            sock.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunning(f"no leanbase-relay answers on {path}") from None
        try:
            sock.sendall(json.dumps({"command": command, **members}).encode() + b"\n")
            with sock.makefile("rb") as answer:
                line = answer.readline(_MAX_ANSWER_BYTES)
        except ConnectionError:  # it ended between our question and its answer
            line = b""
    if not line.endswith(b"\n"):
        raise NotRunning(f"the leanbase-relay on {path} went away")
    return json.loads(line)
