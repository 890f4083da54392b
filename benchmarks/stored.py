"""How fast are events stored? One connection, streamed, until the last `stored`.

The upstream refuses every connection: this is intake alone.
"""

from benchmarks import limits, producer, relay
from benchmarks.question import Figure, Question, Sample, Setting, at_least
from benchmarks.question import memory_figure as memory

_WITHIN_SECONDS = 120.0


def ask(setting: Setting) -> Sample:
    """One round."""
    with setting.fresh() as place:
        bare = limits.measure(setting, place)
        log = place / "producer.log"
        with (
            relay.started(place) as daemon,
            producer.ready("stream", daemon.socket, setting.events, log=log) as sender,
        ):
            before = daemon.usage()
            sender.say("go")
            sent = sender.hear(within_seconds=_WITHIN_SECONDS)
            usage = daemon.usage()
            seconds = sent["ended"] - sent["started"]
            return {
                **bare,
                "events_per_second": sent["events"] / seconds,
                "rss_max_mb": usage.rss_max_mb,
                "cpu_us_per_event": usage.cpu_us_each(sent["events"], since=before),
                "producer_cpu_share": sent["cpu_seconds"] / seconds,
                "disk_bytes_per_event": daemon.store_bytes() / sent["events"],
            }


QUESTION = Question(
    "stored",
    ask,
    (
        Figure(
            "events_per_second",
            "stored, one connection, streamed",
            "events/s",
            at_least(400_000),
            limits.BESIDE,
        ),
        memory(),
        Figure("cpu_us_per_event", "  processor time of the relay", "µs/event"),
        Figure("disk_bytes_per_event", "  on the disk", "bytes/event"),
    ),
)
