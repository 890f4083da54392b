"""The control socket: status and commands, one JSON line each way.

A client sends ``{"command": "status"}`` and reads one line. The server half lives in
the intake loop; a command that takes its time is awaited in a thread of its own, so
that intake goes on. The client half imports nothing heavy, because `status` is to
answer at once.
"""

import inspect
import json
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leanbase_relay.errors import NotRunning, RelayError

if TYPE_CHECKING:
    import asyncio

log = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 64 << 10
MAX_CLIENTS = 32
"""At once; more are turned away."""
_MAX_ANSWER_BYTES = 16 << 20

Command = Callable[[dict[str, Any]], Any]
"""Takes the request, returns the JSON value that is the answer, or an awaitable of it.
A RelayError is told to the client; anything else is a fault of ours, and ends us."""


class Control:
    """Answers requests with the commands it was given, until `stop`."""

    def __init__(self, commands: Mapping[str, Command]) -> None:
        self._commands = commands
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()  # of these, for an answer
        self._stopping = False

    async def start(self, sock: socket.socket) -> None:
        """Serve a listening socket."""
        import asyncio

        from leanbase_relay.listener import BACKLOG

        self._server = await asyncio.start_server(
            self._serve, sock=sock, backlog=BACKLOG, limit=MAX_REQUEST_BYTES
        )

    async def stop(self, within_seconds: float) -> None:
        """Let who waits for an answer have it, for so long; then hang up."""
        import asyncio

        self._stopping = True
        if self._server is not None:
            self._server.close()
        for client in self._clients - self._waiting:
            client.cancel()
        if self._waiting:
            await asyncio.wait(self._waiting, timeout=within_seconds)
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _serve(
        self, reader: "asyncio.StreamReader", writer: "asyncio.StreamWriter"
    ) -> None:
        import asyncio

        client = asyncio.current_task()
        assert client is not None, "a connection is served in a task"
        if len(self._clients) >= MAX_CLIENTS:
            writer.write(b'{"error":"too many clients at once; try again"}\n')
            writer.close()
            return
        self._clients.add(client)
        try:
            while not self._stopping and (line := await reader.readline()):
                self._waiting.add(client)
                answer = await self._answer(line)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
                self._waiting.discard(client)
        except (ConnectionError, ValueError):
            pass  # the client went away, or its line is endless
        except asyncio.CancelledError:
            pass  # by `stop`; asyncio's streams would call it a fault
        finally:
            self._clients.discard(client)
            self._waiting.discard(client)
            writer.close()

    async def _answer(self, line: bytes) -> Any:
        try:
            request = json.loads(line)
            json.dumps(request, ensure_ascii=False).encode()  # half a surrogate pair?
            command = self._commands[request["command"]]
        except (ValueError, TypeError, KeyError, RecursionError):
            known = ", ".join(sorted(self._commands))
            return {"error": f'send {{"command": …}} with one of: {known}'}
        try:
            answer = command(request)
            return await answer if inspect.isawaitable(answer) else answer
        except RelayError as error:
            return {"error": str(error)}


class Aside:
    """Has commands run beside the loop, one at a time, each in a thread of its own.

    The threads are daemonic, which asyncio's own are not: one that waits for a dead
    disk must not keep the process from leaving.
    """

    def __init__(self) -> None:
        import asyncio

        self._turn = asyncio.Lock()

    def __call__(self, command: Command) -> Command:
        """The same command, to be awaited."""

        async def awaited(request: dict[str, Any]) -> Any:
            async with self._turn:
                return await _in_thread(lambda: command(request))

        return awaited


def _in_thread(body: Callable[[], Any]) -> Awaitable[Any]:
    """What the body returns or raises; called in a loop."""
    import asyncio

    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Any] = loop.create_future()

    def settle(answer: Any, error: BaseException | None) -> None:
        if outcome.cancelled():
            return
        if error is None:
            outcome.set_result(answer)
        else:
            outcome.set_exception(error)

    def run() -> None:
        try:
            answer, error = body(), None
        except BaseException as raised:  # noqa: BLE001 - raised where it is awaited
            answer, error = None, raised
        loop.call_soon_threadsafe(settle, answer, error)

    threading.Thread(target=run, name="command", daemon=True).start()
    return outcome


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
