"""A service manager as far as a relay sees it: told things, and holding its sockets."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.process import COMMAND, RelayProcess, Settings, environment

_ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.environ["LISTEN_FDNAMES"] = sys.argv[2]
os.execv(sys.argv[3], sys.argv[3:])
"""


class Told:
    """What a relay tells: a socket like the one of sd_notify(3)."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "notify"
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(str(self.path))
        self._said: list[str] = []

    def close(self) -> None:
        self._sock.close()

    @property
    def said(self) -> list[str]:
        """All assignments so far, one after the other."""
        try:
            while True:
                message = self._sock.recv(65536, socket.MSG_DONTWAIT)
                self._said += message.decode().splitlines()
        except BlockingIOError:
            return self._said

    def forget(self) -> None:
        """Begin anew."""
        assert self.said is not None
        self._said = []


class ActivatedRelay(RelayProcess):
    """A relay whose manager listens for it.

    Args:
        name: by which the manager knows the socket.
        sock: listening; stays the manager's.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        sock: socket.socket,
        settings: Settings | None = None,
    ) -> None:
        super().__init__(directory, settings=settings)
        self._name = name
        self._sock = sock

    def launch(self, **environ: str) -> None:
        number = self._sock.fileno()
        activate = [sys.executable, "-c", _ACTIVATE, str(number), self._name]
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                [*activate, COMMAND, "run", "-c", self.config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(environ),
                pass_fds=[number],
            )


def listening(path: Path) -> socket.socket:
    """A Unix socket of the manager's."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(os.fspath(path))
    sock.listen(100)
    return sock


def watched(told: Told, seconds: float) -> Mapping[str, str]:
    """The environment of a service with ``Type=notify`` and ``WatchdogSec=``."""
    return {"NOTIFY_SOCKET": str(told.path), "WATCHDOG_USEC": str(int(seconds * 1e6))}
