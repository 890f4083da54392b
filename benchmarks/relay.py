"""The daemon under the figures: the installed command with its default settings.

But for `store.max_bytes`, so that large backlogs have room.
"""

import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from benchmarks import process
from benchmarks.child import Child, ChildFailed, running
from leanbase_relay import control
from leanbase_relay.errors import NotRunning

COMMAND = Path(sys.executable).with_name("leanbase-relay")
NOBODY = "http://127.0.0.1:9"
"""An upstream that refuses every connection: what is measured is intake alone."""

_START_SECONDS = 15.0
_LOOK_AGAIN_SECONDS = 0.002

_CONFIG = """\
upstream: {{url: "{upstream}"}}
projects: {{default: {{api_key: phc_benchmark}}{projects}}}
store: {{path: {place}/relay.db, max_bytes: 8GiB}}
socket: {{path: {place}/relay.sock}}
control: {{path: {place}/control.sock}}
spool: {{path: {place}/spool}}
http: {{listen: {http}}}
log: {{level: warning}}
"""


class Relay:
    """A running daemon, and the paths that lead to it."""

    def __init__(self, child: Child, place: Path) -> None:
        self._child = child
        self.socket = place / "relay.sock"
        self.spool = place / "spool"
        self._control = place / "control.sock"
        self._store = place / "relay.db"

    def usage(self) -> process.Usage:
        """Its memory and processor time."""
        return process.look(self._child.pid)

    def status(self) -> dict[str, Any]:
        """What `status --json` shows."""
        answer: dict[str, Any] = control.ask(self._control, "status")
        return answer

    def metrics(self) -> str:
        """What Prometheus would get."""
        answer: str = control.ask(self._control, "metrics", timeout_seconds=10.0)[
            "metrics"
        ]
        return answer

    def flush(self) -> None:
        """Have it send now."""
        control.ask(self._control, "flush")

    def accepted(self) -> int:
        """Events that are committed, by the store's own word."""
        return self._counted("accepted")

    def delivered(self) -> int:
        """Events that were delivered and acknowledged in the store."""
        return self._counted("delivered")

    def store_bytes(self) -> int:
        """What the store takes on the disk."""
        log = self._store.with_name(self._store.name + "-wal")
        return self._store.stat().st_size + log.stat().st_size

    def wait_until_ready(self) -> None:
        """Wait for the first answer on the control socket."""
        self.wait_for(self._answers, within_seconds=_START_SECONDS)

    def wait_for(
        self,
        condition: Callable[[], bool],
        *,
        within_seconds: float,
        every_seconds: float = _LOOK_AGAIN_SECONDS,
    ) -> None:
        """Wait until something is so.

        Raises:
            ChildFailed: it is not in that time, or the daemon ended.
        """
        deadline = time.monotonic() + within_seconds
        while not condition():
            if not self._child.alive:
                raise ChildFailed(f"the relay ended: {self._child.last_words()}")
            if time.monotonic() > deadline:
                raise ChildFailed(f"not within {within_seconds:g} s: {condition}")
            time.sleep(every_seconds)

    def _answers(self) -> bool:
        try:
            return bool(self.status()["running"])
        except (NotRunning, TimeoutError):
            return False

    def _counted(self, column: str) -> int:
        # Read beside the daemon, so that looking costs it nothing.
        place = f"{self._store.as_uri()}?mode=ro"
        with closing(sqlite3.connect(place, uri=True, timeout=5.0)) as conn:
            query = f"select coalesce(sum({column}), 0) from project"
            return int(conn.execute(query).fetchone()[0])


@contextmanager
def started(
    place: Path,
    *,
    upstream: str = NOBODY,
    http_port: int | None = None,
    projects: Iterable[str] = (),
    more: str = "",
) -> Iterator[Relay]:
    """A daemon on a directory, for the length of a block.

    Args:
        place: empty, or one that a daemon was on before.
        upstream: its URL.
        http_port: where it takes HTTP, if it does.
        projects: names beside `default`.
        more: lines of configuration.
    """
    config = place / "config.yaml"
    http = [] if http_port is None else [f"127.0.0.1:{http_port}"]
    keys = "".join(f", {name}: {{api_key: phc_{name}}}" for name in projects)
    text = _CONFIG.format(upstream=upstream, place=place, http=http, projects=keys)
    config.write_text(text + more)
    (place / "spool").mkdir(exist_ok=True)
    command = (COMMAND, "run", "--config", config)
    with running(command, log=place / "relay.log") as child:
        relay = Relay(child, place)
        relay.wait_until_ready()
        yield relay
