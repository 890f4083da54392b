"""The lock of a store: one daemon each. The kernel lets go of it when we die.

It is upon a file beside the store itself, wherever links to that lead. Who removes that
file lets a second daemon in: so its presence is looked at while the lock is held.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from leanbase_relay.errors import StoreHeld
from leanbase_relay.store import place
from leanbase_relay.store.presence import Presence


@contextmanager
def held(store: Path) -> Iterator[Presence]:
    """Hold the lock of a store for the length of a `with`; gives its file to look at.

    Raises:
        StoreHeld: another daemon has it.
        StoreUnusable, StoreUnavailable: the lock file cannot be made.
    """
    path = _path(store)
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise place.refusal(path, error) from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreHeld(
                f"another leanbase-relay (pid {_pid(path)}) holds the store {store}; "
                "stop it, or give this one a store.path of its own"
            ) from None
        _note(file, f"{os.getpid()}\n")
        yield Presence(str(path))
        _note(file, "")
    finally:
        os.close(file)


def _note(file: int, text: str) -> None:
    """Say who holds the lock; a disk that takes no more does not undo it."""
    with contextlib.suppress(OSError):
        os.truncate(file, 0)
        os.pwrite(file, text.encode(), 0)


def holder(store: Path) -> int | None:
    """The pid of the daemon that holds the lock; None if none does."""
    path = _path(store)
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid(path)
    finally:
        os.close(file)
    return None


def _path(store: Path) -> Path:
    store = store.resolve()
    return store.with_name(store.name + ".lock")


def _pid(path: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return None
