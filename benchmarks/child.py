"""Child processes: started, spoken to by lines, always ended, by their own id."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

END_SECONDS = 15.0
"""After SIGTERM, before SIGKILL: the relay itself takes ten at most."""


class ChildFailed(Exception):
    """A child ended early, or did not answer in time."""


class Child:
    """A process that says JSON lines on its standard output.

    Args:
        command: program and arguments.
        log: where its standard error goes.
    """

    def __init__(self, command: Sequence[str | Path], *, log: Path) -> None:
        self.name = " ".join(str(part) for part in command[:4])
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def say(self, word: str) -> None:
        """Give it a line."""
        assert self._process.stdin is not None, "it has a pipe"
        self._process.stdin.write(word.encode() + b"\n")
        self._process.stdin.flush()

    def hear(self, *, within_seconds: float) -> dict[str, Any]:
        """Wait for its next line.

        Raises:
            ChildFailed: there is none in that time, or it ended.
        """
        assert self._process.stdout is not None, "it has a pipe"
        deadline = time.monotonic() + within_seconds
        line = b""
        while not line.endswith(b"\n"):
            left = max(deadline - time.monotonic(), 0.0)
            if not select.select([self._process.stdout], [], [], left)[0]:
                raise ChildFailed(f"{self.name}: no answer in {within_seconds:g} s")
            piece = os.read(self._process.stdout.fileno(), 1 << 16)
            if not piece:
                raise ChildFailed(f"{self.name} ended early: {self.last_words()}")
            line += piece
        answer: dict[str, Any] = json.loads(line)
        return answer

    def last_words(self) -> str:
        """The end of what it wrote to its log."""
        return self._log.read_text(errors="replace")[-2000:].strip()

    def end(self) -> int:
        """Ask it to end, then make it."""
        self._process.terminate()
        try:
            code = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None, "it has both"
            pipe.close()
        return code


@contextmanager
def running(command: Sequence[str | Path], *, log: Path) -> Iterator[Child]:
    """A child for the length of a block."""
    child = Child(command, log=log)
    try:
        yield child
    finally:
        child.end()


@contextmanager
def module(name: str, *arguments: str | Path, log: Path) -> Iterator[Child]:
    """A module of this package as a child."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    with running(command, log=log) as child:
        yield child


def report(**members: object) -> None:
    """A child's side: one line to who started it."""
    print(json.dumps(members), flush=True)
