"""Freezes one thread of a process, as a call does that never returns from the kernel.

The freezing is done by a child of ours, which ends with the frozen thread.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

AT_MOST_SECONDS = 120

THREADS = ("main", "writer", "lane", "intake", "spool")
"""Of a relay with one project, in the order in which it starts them."""

_SEIZE, _INTERRUPT, _WALL = 0x4206, 0x4207, 0x40000000


@contextmanager
def frozen(pid: int, thread: str) -> Iterator[None]:
    """Stop this thread of a relay; the others go on."""
    numbers = sorted(int(task.name) for task in Path(f"/proc/{pid}/task").iterdir())
    child = subprocess.Popen(
        [sys.executable, __file__, str(numbers[THREADS.index(thread)])],
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "frozen\n"
            yield
        finally:
            child.kill()


def _freeze(number: int) -> None:
    signal.alarm(AT_MOST_SECONDS)
    libc = ctypes.CDLL(None, use_errno=True)
    for request in (_SEIZE, _INTERRUPT):
        if libc.ptrace(request, number, None, None) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")
    os.waitpid(number, _WALL)
    sys.stdout.write("frozen\n")
    sys.stdout.flush()
    os.waitpid(number, _WALL)  # until it dies: whoever traces it must see it off


if __name__ == "__main__":
    _freeze(int(sys.argv[1]))
