"""Reaching the store: to look at it, and to have it changed.

A look reads the file, whether a daemon runs or not. A change is the daemon's to make
where one runs; where none does, the command holds the store's lock and makes it.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from leanbase_relay.cli.common import ask, no_permission
from leanbase_relay.clock import Clock
from leanbase_relay.config import Config
from leanbase_relay.errors import (
    NotRunning,
    RelayError,
    StoreDamaged,
    StoreUnavailable,
)
from leanbase_relay.store import lock

if TYPE_CHECKING:
    from leanbase_relay.store.store import Store

START_SECONDS = 5.0
LOOK_AGAIN_SECONDS = 0.05
SLICE_SECONDS = 30.0
"""What one slice may take: much less, unless the disk is sick."""

KEEP_FREE_BYTES = 4 << 20
VACUUM_PAGES = 4096

Wish = Callable[..., dict[str, Any]]
"""Has a slice of a wish granted: its name, and its members by keyword."""


class Reader(Protocol):
    """What looks at the store."""

    def close(self) -> None:
        """End looking."""


_Reader = TypeVar("_Reader", bound=Reader)


@contextmanager
def looking(conf: Config, reader: Callable[[Path], _Reader]) -> Iterator[_Reader]:
    """A reader of the store for the length of a `with`.

    Raises:
        RelayError: this user may not read it, or nobody can.
    """
    path = conf.store.path
    try:
        with closing(reader(path)) as opened:
            yield opened
    except PermissionError:
        raise no_permission(path) from None
    except sqlite3.Error as error:
        raise RelayError(
            f"{path} cannot be read: {error}. If that is for lack of permission, use "
            "sudo"
        ) from error


@contextmanager
def changing(conf: Config, clock: Clock) -> Iterator[Wish]:
    """What grants wishes for the length of a `with`.

    Raises:
        StoreHeld: a daemon came in between.
        RelayError: the daemon cannot be asked.
    """
    if _is_running(conf, clock):
        yield lambda name, **members: ask(
            conf, name, timeout_seconds=SLICE_SECONDS, **members
        )
        return
    with _alone(conf, clock) as wish:
        yield wish


def slices(wish: Wish, name: str, **members: Any) -> Iterator[dict[str, Any]]:
    """Have a wish granted slice by slice, each from where the last answer ended."""
    after: int | None = 0
    while after is not None:
        answer = wish(name, after=after, **members)
        yield answer
        after = answer["after"]


def _is_running(conf: Config, clock: Clock) -> bool:
    """Whether a daemon answers; one that starts or stops is waited for."""
    deadline = clock.monotonic() + START_SECONDS
    poke = clock.poke()
    while True:
        try:
            ask(conf, "status")
        except NotRunning:
            if lock.holder(conf.store.path) is None:
                return False
            if clock.monotonic() > deadline:
                raise
            clock.wait(LOOK_AGAIN_SECONDS, poke)
        else:
            return True


@contextmanager
def _alone(conf: Config, clock: Clock) -> Iterator[Wish]:
    """Grant wishes here, while no daemon can start."""
    from leanbase_relay.assembly import Parts
    from leanbase_relay.keys import KeyRing
    from leanbase_relay.store import damage
    from leanbase_relay.store.store import Store
    from leanbase_relay.wishes import Wishes

    path = conf.store.path
    if not os.access(path, os.W_OK):
        raise RelayError(
            f"no relay is running, and {path} is for its owner alone to change; use "
            "sudo, or start the relay"
        )
    parts = Parts(conf, clock, KeyRing(conf.projects.values()))
    with ExitStack() as house:
        house.enter_context(lock.held(path))
        if fault := damage.fault_of(path, clock):
            raise StoreDamaged(
                f"{path} is damaged: {fault}; start the relay, which sets it aside and "
                "salvages what can be read"
            )
        store = house.enter_context(closing(Store.open(path)))
        known = parts.known(house)

        def apply(change: Callable[[Store], None]) -> None:
            try:
                with store.transaction():
                    change(store)
            except sqlite3.Error as error:
                raise StoreUnavailable(f"{path}: {error}") from error

        wishes = Wishes(
            path,
            apply=apply,
            judge=lambda: parts.judge(known),
            projects=frozenset(conf.projects),
            clock=clock,
            max_chunk_events=conf.batch.max_events,
        ).by_name()
        yield lambda name, **members: wishes[name](members)
        with suppress(sqlite3.Error):  # the daemon will do it
            _tidy(store)


def _tidy(store: "Store") -> None:
    """Give the room back that a purge made: one may have been made for the disk."""
    free = store.measure().free
    while free > KEEP_FREE_BYTES:
        store.give_back(pages=VACUUM_PAGES)
        before, free = free, store.measure().free
        if free >= before:
            return
