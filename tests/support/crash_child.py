"""The daemon with one call replaced by SIGKILL to itself: a crash at a known point.

``python -m tests.support.crash_child POINT CONFIG``. The package has no hooks for it.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from leanbase_relay.cli import main
from leanbase_relay.store.store import Store
from leanbase_relay.store.writer import Writer
from tests.support.process import RelayProcess, environment

ROOT = Path(__file__).parents[2]


def die(*_: object, **__: object) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def after(call: Callable[..., Any]) -> Callable[..., Any]:
    def called(*args: Any, **kwargs: Any) -> Any:
        call(*args, **kwargs)
        die()

    return called


def before_post() -> None:
    """A batch is read, nothing is sent."""
    requests.Session.post = die  # type: ignore[method-assign]


def after_post() -> None:
    """The upstream said yes, nobody has noted it."""
    requests.Session.post = after(requests.Session.post)  # type: ignore[method-assign]


def before_ack() -> None:
    """The answer is judged; the ack is in its transaction."""
    Store.ack = die  # type: ignore[method-assign]


def after_ack() -> None:
    """The position is moved, but not committed."""
    Store.ack = after(Store.ack)  # type: ignore[method-assign]


def before_commit() -> None:
    """Events are in the transaction."""
    Store.append = after(Store.append)  # type: ignore[method-assign]


def after_commit() -> None:
    """Events are committed, their producer does not know yet."""
    real = Store.transaction

    @contextmanager
    def transaction(store: Store) -> Iterator[None]:
        with real(store):
            yield
        die()

    Store.transaction = transaction  # type: ignore[method-assign, assignment]


def after_receipt() -> None:
    """The receipt is given, `stored` is not yet written."""
    Writer._settle = after(Writer._settle)  # type: ignore[method-assign]


POINTS = {
    point.__name__: point
    for point in (
        before_post,
        after_post,
        before_ack,
        after_ack,
        before_commit,
        after_commit,
        after_receipt,
    )
}


class CrashingRelay(RelayProcess):
    """A relay that kills itself at a point, where one is set; else as any other."""

    point: str | None = None

    def launch(self, **environ: str) -> None:
        if self.point is None:
            super().launch(**environ)
            return
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", __name__, self.point, self.config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(environ),
                cwd=ROOT,
            )


if __name__ == "__main__":
    POINTS[sys.argv[1]]()
    main(["run", "-c", sys.argv[2]])
