"""How fast do events go through? From the first byte until the upstream has them all.

The upstream is a child on the same machine that inflates and counts every body; the
producer, the relay and the upstream share its processors.
"""

import time

from benchmarks import limits, producer, relay, upstream
from benchmarks.question import Figure, Question, Sample, Setting, at_least
from benchmarks.question import memory_figure as memory

_WITHIN_SECONDS = 180.0
_CALM_SECONDS = 3.0


def ask(setting: Setting) -> Sample:
    """One round."""
    with setting.fresh() as place:
        bare = limits.measure(setting, place)
        log = place / "children.log"
        with (
            upstream.started(setting.count, log=log) as (counter, url),
            relay.started(place, upstream=url) as daemon,
            producer.ready("stream", daemon.socket, setting.events, log=log) as sender,
        ):
            before = daemon.usage()
            sender.say("go")
            sent = sender.hear(within_seconds=_WITHIN_SECONDS)
            came = counter.hear(within_seconds=_WITHIN_SECONDS)
            daemon.wait_for(
                lambda: daemon.delivered() == sent["events"], within_seconds=10
            )
            usage = daemon.usage()
            time.sleep(_CALM_SECONDS)
            seconds = came["at"] - sent["started"]
            return {
                **bare,
                "events_per_second": sent["events"] / seconds,
                "stored_per_second": sent["events"] / (sent["ended"] - sent["started"]),
                "rss_max_mb": usage.rss_max_mb,
                "rss_after_mb": daemon.usage().rss_mb,
                "cpu_us_per_event": usage.cpu_us_each(sent["events"], since=before),
                "upstream_cpu_share": came["cpu_seconds"] / seconds,
                "producer_cpu_share": sent["cpu_seconds"] / seconds,
                "events_per_request": came["events"] / came["requests"],
            }


QUESTION = Question(
    "end-to-end",
    ask,
    (
        Figure(
            "events_per_second",
            "end to end, until the upstream has all",
            "events/s",
            at_least(200_000),
            {**limits.BESIDE, "inflate": "inflate alone", "gzip": "gzip alone"},
        ),
        Figure("stored_per_second", "  stored meanwhile", "events/s"),
        memory(),
        Figure("rss_after_mb", "  memory afterwards", "MB"),
        Figure("cpu_us_per_event", "  processor time of the relay", "µs/event"),
        Figure("events_per_request", "  size of a request", "events"),
    ),
)
