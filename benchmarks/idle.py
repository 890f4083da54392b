"""What does the relay take when nothing happens? Processor time and memory."""

import time

from benchmarks import relay
from benchmarks.question import Figure, Question, Sample, Setting, at_most

_SECONDS = 60.0
_QUICK_SECONDS = 10.0
_CALM_SECONDS = 3.0


def ask(setting: Setting) -> Sample:
    """One round."""
    seconds = _QUICK_SECONDS if setting.quick else _SECONDS
    with setting.fresh() as place, relay.started(place) as daemon:
        time.sleep(_CALM_SECONDS)
        before = daemon.usage()
        time.sleep(seconds)
        after = daemon.usage()
    # Threads are counted one by one, to the nanosecond; the total is in ticks of 10 ms.
    used = after.fine_cpu_seconds - before.fine_cpu_seconds
    return {"cpu_percent": used / seconds * 100, "rss_mb": after.rss_mb}


QUESTION = Question(
    "idle",
    ask,
    (
        Figure("cpu_percent", "idle, processor time", "%", at_most(0.1)),
        Figure("rss_mb", "idle, memory", "MB", at_most(45), is_ratio=True),
    ),
)
