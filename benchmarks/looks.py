"""How long does it take to look at five million events that wait, while the relay runs?

The commands as they are typed, so that the start of Python is in each of them; and what
SQL and `top` bring in events a second. Beside each what the command took of a
processor, which does not tremble with what else the machine does, and a bare
`--version`, which is the start of Python with what every command imports.
"""

import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks import relay
from benchmarks.child import ChildFailed
from benchmarks.question import Figure, Question, Sample, Setting, at_least, at_most
from leanbase_relay.store.chunk import Chunk
from leanbase_relay.store.row import row_of
from leanbase_relay.store.store import Store

_WAITING, _QUICK_WAITING = 5_000_000, 200_000
_EACH = 2_200  # events in a row: about a MiB
_DIFFERENT_ROWS = 200
_ROWS_AT_ONCE = 100
_TIMES = 5
_QUESTION = "select event, count(*) from events group by 1"


def ask(setting: Setting) -> Sample:
    """One round."""
    waiting = _QUICK_WAITING if setting.quick else _WAITING
    with setting.fresh() as place:
        waiting = _fill(place / "relay.db", setting, waiting)
        with relay.started(place):
            config = place / "config.yaml"
            status, peek = _median(config, "status"), _median(config, "peek")
            query, top = _once(config, "query", _QUESTION), _once(config, "top")
            return {
                "waiting": waiting,
                "status_s": status.seconds,
                "status_cpu_s": status.cpu_seconds,
                "peek_s": peek.seconds,
                "peek_cpu_s": peek.cpu_seconds,
                "version_s": _median(None, "--version").seconds,
                "query_per_second": waiting / query.seconds,
                "query_per_cpu_second": waiting / query.cpu_seconds,
                "top_per_second": waiting / top.seconds,
                "top_per_cpu_second": waiting / top.cpu_seconds,
                "log_mb": (place / "relay.db-wal").stat().st_size / 1e6,
            }


def _fill(path: Path, setting: Setting, wanted: int) -> int:
    """A store in which so many events wait; how many there are."""
    lines = [line.strip() for line in setting.first(_EACH * _DIFFERENT_ROWS)]
    rows = [
        row_of(
            Chunk("default", len(some), b",".join(some)),
            stamped=None,
        )
        for first in range(0, len(lines), _EACH)
        if (some := lines[first : first + _EACH])
    ]
    store = Store.open(path)
    waiting = number = 0
    while waiting < wanted:
        with store.transaction():
            for _ in range(_ROWS_AT_ONCE):
                row = rows[number % len(rows)]
                store.append(row, now_ms=round(time.time() * 1000))
                waiting += row.chunk.events
                number += 1
    store.close()
    return waiting


class _Took(NamedTuple):
    """What a command took, of a clock and of a processor."""

    seconds: float
    cpu_seconds: float


def _median(config: Path | None, *command: str) -> _Took:
    """Of a few times."""
    times = [_once(config, *command) for _ in range(_TIMES)]
    return _Took(*map(statistics.median, zip(*times, strict=True)))


def _once(config: Path | None, name: str, *arguments: str) -> _Took:
    named = [] if config is None else ["--config", str(config)]
    before, began = os.times(), time.perf_counter()
    done = subprocess.run(
        [relay.COMMAND, name, *named, *arguments],
        check=False,
        stdout=subprocess.DEVNULL,
    )
    seconds, after = time.perf_counter() - began, os.times()
    if done.returncode not in (0, 1):  # status: something needs attention
        raise ChildFailed(f"{name} exits with {done.returncode}")
    user = after.children_user - before.children_user
    return _Took(seconds, user + after.children_system - before.children_system)


_VERSION = {"version_s": "--version"}
_OF_STATUS = {**_VERSION, "status_cpu_s": "processor"}
_OF_PEEK = {**_VERSION, "peek_cpu_s": "processor"}
_OF_QUERY = {"query_per_cpu_second": "a processor second"}
_OF_TOP = {"top_per_cpu_second": "a processor second"}

QUESTION = Question(
    "looks",
    ask,
    (
        Figure(
            "status_s", "status, with millions waiting", "s", at_most(0.2), _OF_STATUS
        ),
        Figure("peek_s", "peek", "s", at_most(0.3), _OF_PEEK),
        Figure(
            "query_per_second",
            "query: count by name",
            "events/s",
            at_least(200_000),
            _OF_QUERY,
        ),
        Figure("top_per_second", "top", "events/s", None, _OF_TOP),
        Figure("waiting", "  events waiting", ""),
        Figure("log_mb", "  write-ahead log afterwards", "MB", at_most(16)),
    ),
)
