"""What does a look from Prometheus cost: in time, and in what it takes from the rest?

Time of answers while events stream in, and processor time of answers while nothing
else happens, from which follows what a scrape each 15 seconds takes of one core.
"""

import statistics
import threading
import time

from benchmarks import producer, relay
from benchmarks.question import Figure, Question, Sample, Setting, at_most

_WITHIN_SECONDS = 120.0
_SCRAPES = 300
_EVERY_SECONDS = 0.1  # while events stream in: more often than anybody would
_USUAL_SECONDS = 15.0


def ask(setting: Setting) -> Sample:
    """One round."""
    with setting.fresh() as place:
        log = place / "producer.log"
        with (
            relay.started(place) as daemon,
            producer.ready("stream", daemon.socket, setting.events, log=log) as sender,
        ):
            daemon.metrics()  # the first one imports what it needs
            busy: list[float] = []
            ended = threading.Event()
            scraping = threading.Thread(target=_scrape, args=(daemon, busy, ended))
            scraping.start()
            sender.say("go")
            sender.hear(within_seconds=_WITHIN_SECONDS)
            ended.set()
            scraping.join()
            before = daemon.usage()
            for _ in range(_SCRAPES):
                daemon.metrics()
            after = daemon.usage()
    each = (after.fine_cpu_seconds - before.fine_cpu_seconds) / _SCRAPES
    return {
        "busy_ms": statistics.median(busy) * 1e3,
        "cpu_ms": each * 1e3,
        "share_percent": each / _USUAL_SECONDS * 100,
    }


def _scrape(daemon: relay.Relay, seconds: list[float], ended: threading.Event) -> None:
    while True:
        began = time.perf_counter()
        daemon.metrics()
        seconds.append(time.perf_counter() - began)
        if ended.wait(_EVERY_SECONDS):
            return


QUESTION = Question(
    "scrape",
    ask,
    (
        Figure("busy_ms", "a scrape while events stream in", "ms", at_most(20)),
        Figure("cpu_ms", "  processor time of one", "ms"),
        Figure("share_percent", "  one each 15 s, of a core", "%", at_most(1)),
    ),
)
