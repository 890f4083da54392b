"""How long does a start take, and how much memory, with nothing waiting and with much?

From the call of the command until the daemon answers. In turn: an empty store, a store
with the backlog, and again.
"""

import statistics
import time
from pathlib import Path

from benchmarks import producer, relay
from benchmarks.question import Figure, Question, Sample, Setting, at_most

BACKLOG, _QUICK_BACKLOG = 5_000_000, 500_000
_STARTS, _QUICK_STARTS = 5, 3
_CALM_SECONDS = 2.0
_WITHIN_SECONDS = 300.0


def ask(setting: Setting) -> Sample:
    """One round."""
    starts = _QUICK_STARTS if setting.quick else _STARTS
    empty, full = [], []
    backlog = _QUICK_BACKLOG if setting.quick else BACKLOG

    def fill(place: Path) -> None:
        log, times = place / "producer.log", backlog // setting.count
        with (
            relay.started(place) as daemon,
            producer.ready(
                "stream", daemon.socket, setting.events, log=log, times=times
            ) as sender,
        ):
            sender.say("go")
            sender.hear(within_seconds=_WITHIN_SECONDS)

    with setting.kept("backlog", fill) as much:
        for _ in range(starts):
            with setting.fresh() as place:
                empty.append(_start(place))
            full.append(_start(much))
    seconds = [statistics.median(one for one, _ in each) for each in (empty, full)]
    memory = [statistics.median(one for _, one in each) for each in (empty, full)]
    return {
        "empty_ms": seconds[0] * 1e3,
        "full_ms": seconds[1] * 1e3,
        "full_to_empty": seconds[1] / seconds[0],
        "empty_rss_mb": memory[0],
        "full_rss_mb": memory[1],
    }


def _start(place: Path) -> tuple[float, float]:
    """Seconds until it answers, and its memory a little later."""
    began = time.monotonic()
    with relay.started(place) as daemon:
        seconds = time.monotonic() - began
        time.sleep(_CALM_SECONDS)
        return seconds, daemon.usage().rss_mb


QUESTION = Question(
    "start",
    ask,
    (
        Figure("empty_ms", "start with an empty store", "ms"),
        Figure("empty_rss_mb", "  memory", "MB"),
        Figure("full_ms", f"start with a backlog of {BACKLOG:,}", "ms"),
        Figure(
            "full_to_empty",
            "  of the empty start",
            "times",
            at_most(1.5),
            is_ratio=True,
        ),
        Figure("full_rss_mb", "  memory", "MB", at_most(120), is_ratio=True),
    ),
)
