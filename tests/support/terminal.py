"""A command on a terminal of its own."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.process import COMMAND, WITHIN_SECONDS, environment
from tests.support.waiting import eventually

ROWS, COLUMNS = 30, 80

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """Runs a command on a pseudo-terminal and keeps all that it shows."""

    def __init__(self, *arguments: str | Path, **environ: str) -> None:
        self._ours, theirs = pty.openpty()
        size = struct.pack("HHHH", ROWS, COLUMNS, 0, 0)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
        self._child = subprocess.Popen(
            [COMMAND, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment({"TERM": "xterm-256color", **environ}),
        )
        os.close(theirs)
        self._bytes = b""
        self._reader = threading.Thread(target=self._read, name="terminal")
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._child.poll() is None:
            self.interrupt()  # not SIGKILL: what it started is to end with it
        os.close(self._ours)

    @property
    def raw(self) -> str:
        """Everything so far, as the terminal got it."""
        return self._bytes.decode(errors="replace")

    @property
    def text(self) -> str:
        """The same without colours and movements."""
        return _CONTROL.sub("", self.raw).replace("\r", "")

    def await_text(self, text: str, times: int = 1) -> str:
        """Wait until it was shown so often; everything that was shown."""
        eventually(lambda: self.text.count(text) >= times, within=10)
        return self.text

    def type(self, text: str) -> None:
        """What the person at it types."""
        os.write(self._ours, text.encode())

    def interrupt(self) -> int:
        """What Ctrl-C does; the exit code."""
        self._child.send_signal(signal.SIGINT)
        return self.wait()

    def wait(self) -> int:
        """The exit code, once it has ended and all was read."""
        code = self._child.wait(WITHIN_SECONDS)
        self._reader.join()
        return code

    def _read(self) -> None:
        try:
            while data := os.read(self._ours, 65536):
                self._bytes += data
        except OSError:
            pass  # the last one closed it
