"""How fast are spool files taken? Fifty files, written aside and renamed together.

From the first rename until the store has the last event. The upstream refuses every
connection: this is intake alone.
"""

import os
import time
from itertools import islice
from pathlib import Path

from benchmarks import limits, relay
from benchmarks.question import Figure, Question, Sample, Setting
from benchmarks.question import memory_figure as memory

FILES = 50
_WITHIN_SECONDS = 180.0


def ask(setting: Setting) -> Sample:
    """One round."""
    with setting.fresh() as place:
        bare = limits.measure(setting, place)
        with relay.started(place) as daemon:
            names = _written_aside(setting, daemon.spool)
            before = daemon.usage()
            started = time.monotonic()
            for name in names:
                name.rename(name.with_suffix(".jsonl"))
            daemon.wait_for(
                lambda: daemon.accepted() == setting.count,
                within_seconds=_WITHIN_SECONDS,
            )
            seconds = time.monotonic() - started
            usage = daemon.usage()
            return {
                **bare,
                "events_per_second": setting.count / seconds,
                "rss_max_mb": usage.rss_max_mb,
                "cpu_us_per_event": usage.cpu_us_each(setting.count, since=before),
            }


def _written_aside(setting: Setting, directory: Path) -> list[Path]:
    """The files under names that are not taken, on the disk before the start."""
    each = -(-setting.count // FILES)
    names = []
    with setting.events.open("rb") as events:
        for number in range(FILES):
            name = directory / f"{number:03d}.part"
            with name.open("wb") as file:
                file.writelines(islice(events, each))
                file.flush()
                os.fsync(file.fileno())
            names.append(name)
    return names


QUESTION = Question(
    "spool",
    ask,
    (
        Figure(
            "events_per_second",
            f"spool, {FILES} renamed files",
            "events/s",
            beside=limits.BESIDE,
        ),
        memory(),
        Figure("cpu_us_per_event", "  processor time of the relay", "µs/event"),
    ),
)
