"""Freezes one thread of a process, as a call does that never returns from the kernel.

A thread that computes may hold the interpreter's lock, and all others would be frozen
with it: it is caught when it is in the kernel. The freezing is done by a child of ours,
which ends with the frozen thread.
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

_CONTINUE, _SEIZE, _INTERRUPT, _WALL = 7, 0x4206, 0x4207, 0x40000000


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
    _trace(_SEIZE, number)
    _trace(_INTERRUPT, number)
    os.waitpid(number, _WALL)
    while not _is_in_kernel(number):
        _trace(_CONTINUE, number)
        _trace(_INTERRUPT, number)
        os.waitpid(number, _WALL)
    sys.stdout.write("frozen\n")
    sys.stdout.flush()
    os.waitpid(number, _WALL)  # until it dies: whoever traces it must see it off


def _trace(request: int, number: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(request, number, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def _is_in_kernel(number: int) -> bool:
    """Whether it was stopped in a system call."""
    call = Path(f"/proc/{number}/syscall").read_text().split()[0]
    return call not in {"-1", "running"}


if __name__ == "__main__":
    _freeze(int(sys.argv[1]))
