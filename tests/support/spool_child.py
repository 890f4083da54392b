"""A spool in a process of its own, which kills itself at one point.

Production code has no hooks: exactly one call is replaced here.

Usage: python -m tests.support.spool_child DIRECTORY POINT N
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leanbase_relay.clock import SystemClock
from leanbase_relay.store.store import Store
from leanbase_relay.store.writer import Receipt, Writer
from tests.support.spool import SpoolHouse


def before(owner: Any, name: str, times: int) -> None:
    """Die when the call is made for the so manieth time."""

    def kill_first(_: Callable[[], Any]) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    _replace(owner, name, times, kill_first)


def after(owner: Any, name: str, times: int) -> None:
    """Die when the call has returned for the so manieth time."""

    def call_and_kill(call: Callable[[], Any]) -> None:
        call()
        os.kill(os.getpid(), signal.SIGKILL)

    _replace(owner, name, times, call_and_kill)


def _replace(
    owner: Any, name: str, times: int, at_last: Callable[[Callable[[], Any]], None]
) -> None:
    real = getattr(owner, name)
    calls = 0

    def replaced(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == times:
            at_last(lambda: real(*args, **kwargs))
        return real(*args, **kwargs)

    setattr(owner, name, replaced)


POINTS: dict[str, Callable[[int], None]] = {
    "none": lambda _: None,
    "before submit": lambda times: before(Writer, "submit", times),
    "before commit": lambda times: before(Store, "set_progress", times),
    "after commit": lambda times: after(Receipt, "wait", times),
    "before unlink": lambda times: before(os, "unlink", times),
    "after unlink": lambda times: after(os, "unlink", times),
    "before forget": lambda times: before(Store, "forget", times),
}


def main() -> None:
    directory, point, times = sys.argv[1:]
    POINTS[point](int(times))
    with SpoolHouse(Path(directory), clock=SystemClock()) as house:
        house.spool.step()
        house.spool.step()


if __name__ == "__main__":
    main()
