"""A producer's end of the relay's socket: lines out, replies in, both at once.

Owns the rule that a command never says more than the relay has said: what was sent
and not settled is reported as lost sight of, never as stored.
"""

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from leanbase_relay.cli.common import no_permission
from leanbase_relay.errors import NotRunning, RelayError

MAX_REPLY_BYTES = 1 << 20


class Refused(RelayError):
    """The relay refused what was sent."""

    exit_code = 4


class Gone(RelayError):
    """The relay went away before everything was settled."""


class SocketClient:
    """One connection. A thread reads the replies, so that neither side blocks.

    Args:
        on_error: called in that thread with each refused line's number and reason.
    """

    def __init__(
        self, path: Path, *, on_error: Callable[[int, str], None] = lambda *_: None
    ) -> None:
        self.stored = 0
        self.refused = 0
        self._path = path
        self._on_error = on_error
        self._said: str | None = None  # by the relay, about the connection itself
        self._socket = _connected(path)
        self._thread = threading.Thread(
            target=self._read_replies, name="replies", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):  # the relay may have closed it
            self._socket.shutdown(socket.SHUT_RDWR)  # ends the thread's wait
        self._thread.join()
        self._socket.close()

    def send(self, lines: bytes) -> None:
        """Write lines; waits only while the relay takes no more.

        Raises:
            Gone: the relay closed the connection.
        """
        try:
            self._socket.sendall(lines)
        except OSError:
            self._thread.join()
            raise self._gone() from None

    def finish(self, lines: int) -> None:
        """Half-close and wait for the last reply.

        Args:
            lines: how many were sent, blank ones not counted.

        Raises:
            Gone: not all of them were settled.
        """
        with contextlib.suppress(OSError):  # the count below tells
            self._socket.shutdown(socket.SHUT_WR)
        self._thread.join()
        if self.stored + self.refused != lines:
            raise self._gone()

    def _read_replies(self) -> None:
        try:
            with self._socket.makefile("rb") as replies:
                while reply := replies.readline(MAX_REPLY_BYTES):
                    self._take(json.loads(reply))
        except (OSError, ValueError):
            pass  # the counts tell how far it came

    def _take(self, reply: dict[str, object]) -> None:
        match reply:
            case {"line": int(line), "error": str(reason)}:
                self._on_error(line, reason)
            case {"stored": int(stored), "refused": int(refused)}:
                self.stored, self.refused = stored, refused
            case {"error": str(reason)}:
                self._said = reason

    def _gone(self) -> RelayError:
        if self._said is not None:
            return RelayError(f"the relay on {self._path} closed: {self._said}")
        return Gone(
            f"the relay on {self._path} went away: {self.stored:,} lines are stored, "
            f"{self.refused:,} refused, and what became of the others is not known; "
            "with a `uuid` in each event it is safe to send all again"
        )


def _connected(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(str(path))
    except OSError as error:
        sock.close()
        raise _why_not(path, error) from None
    return sock


def _why_not(path: Path, error: OSError) -> RelayError:
    if isinstance(error, PermissionError):
        return no_permission(path)
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return NotRunning(
            f"no relay listens on {path}; start it, or name its socket: --socket PATH"
        )
    return RelayError(f"cannot connect to {path}: {error}")
