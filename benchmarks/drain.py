"""How fast does a backlog go out when the outage ends? At 0, 20 and 100 ms away.

All events are stored while nobody listens on the upstream's port. Then it appears there
and the relay is told by `flush`, so that no backoff is measured. A distance is a wait
of the upstream's before each answer: one round trip a request, as on a connection that
is warm; what TCP does on a lossy link is not modelled.

A lane has one request under way at a time, so that nothing overtakes anything: far away
it brings a batch each round trip. So it is asked with larger batches, too.
"""

import time

from benchmarks import limits, producer, relay, upstream
from benchmarks.question import Figure, Question, Sample, Setting, at_least, at_most
from benchmarks.question import memory_figure as memory

DISTANCES_MS = (0, 20, 100)
FAR_MS = 100
_MAX_EVENTS = 5_000  # `batch.max_events`, by default
_LARGE = "batch: {max_events: 50000, max_bytes: 20MiB}\n"
_WITHIN_SECONDS = 180.0


def ask(setting: Setting) -> Sample:
    """One round: each distance with a backlog of its own."""
    rates = [_drained(setting, distance) for distance in DISTANCES_MS]
    merged = {key: value for rate in rates for key, value in rate.items()}
    merged["rss_max_mb"] = max(rate["rss_max_mb"] for rate in rates)
    a_batch_each_trip = _MAX_EVENTS / (FAR_MS / 1000)
    merged["of_round_trips"] = merged[f"events_per_second_{FAR_MS}_ms"] / (
        a_batch_each_trip
    )
    near, far = (_drained(setting, distance, more=_LARGE) for distance in (0, FAR_MS))
    merged["large_near"] = near["events_per_second_0_ms"]
    merged["large_far"] = far[f"events_per_second_{FAR_MS}_ms"]
    merged["large_near_to_far"] = merged["large_near"] / merged["large_far"]
    merged["large_rss_max_mb"] = far["rss_max_mb"]
    return merged


def _drained(setting: Setting, distance_ms: int, *, more: str = "") -> dict[str, float]:
    with setting.fresh() as place:
        log = place / "children.log"
        port = upstream.free_port()
        with (
            relay.started(
                place, upstream=f"http://127.0.0.1:{port}", more=more
            ) as daemon,
            producer.ready("stream", daemon.socket, setting.events, log=log) as sender,
        ):
            sender.say("go")
            sent = sender.hear(within_seconds=_WITHIN_SECONDS)
            with upstream.started(
                sent["events"], log=log, port=port, delay_ms=distance_ms
            ) as (counter, _):
                before = daemon.usage()
                began = time.monotonic()
                daemon.flush()
                came = counter.hear(within_seconds=_WITHIN_SECONDS)
            usage = daemon.usage()
            return {
                f"events_per_second_{distance_ms}_ms": sent["events"]
                / (came["at"] - began),
                f"cpu_us_per_event_{distance_ms}_ms": usage.cpu_us_each(
                    sent["events"], since=before
                ),
                "rss_max_mb": usage.rss_max_mb,
                **(limits.measure(setting, place) if not (distance_ms or more) else {}),
            }


QUESTION = Question(
    "drain",
    ask,
    (
        Figure(
            "events_per_second_0_ms",
            "drained after an outage, upstream near",
            "events/s",
            None,
            {"inflate": "inflate alone", "gzip": "gzip alone"},
        ),
        Figure("events_per_second_20_ms", "  drained 20 ms away", "events/s"),
        Figure("events_per_second_100_ms", "  drained 100 ms away", "events/s"),
        Figure(
            "of_round_trips",
            "  of a batch each round trip",
            "times",
            at_least(0.7),
            is_ratio=True,
        ),
        Figure("cpu_us_per_event_0_ms", "  processor time of the relay", "µs/event"),
        memory(),
        Figure("large_near", "with batches of 50,000 events, near", "events/s"),
        Figure("large_far", "  batches of 50,000, 100 ms away", "events/s"),
        Figure("large_near_to_far", "  near to far", "times", at_most(2)),
        memory("large_rss_max_mb"),
    ),
)
