"""Waiting for other processes; the only waiting in the tests."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

Found = TypeVar("Found")

LOOK_SECONDS = 0.02


def eventually(
    predicate: Callable[[], Found], within: float = 5, *, fails: bool = True
) -> Found:
    """What the predicate gives once that is true; fails if it does not become so."""
    deadline = time.monotonic() + within
    while not (found := predicate()):
        if time.monotonic() > deadline:
            assert not fails, f"did not come true within {within} s"
            break
        time.sleep(LOOK_SECONDS)
    return found


def paced(*, every: float, during: float) -> Iterator[int]:
    """Numbers, one each so many seconds, until the time is over: a steady load."""
    began = time.monotonic()
    number = 0
    while time.monotonic() < began + during:
        yield number
        number += 1
        time.sleep(max(began + number * every - time.monotonic(), 0))
