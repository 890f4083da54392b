"""How fast does a backlog go out when the outage ends? At 0, 20 and 100 ms away.

All events are stored while nobody listens on the upstream's port. Then it appears there
and the relay is told by `flush`, so that no backoff is measured. A distance is a wait
of the upstream's before each answer: one round trip a request, as on a connection that
is warm; what TCP does on a lossy link is not modelled.
"""

import socket
import time
from contextlib import closing

from benchmarks import limits, producer, relay, upstream
from benchmarks.question import Figure, Question, Sample, Setting, at_most
from benchmarks.question import memory_figure as memory

DISTANCES_MS = (0, 20, 100)
_WITHIN_SECONDS = 180.0


def ask(setting: Setting) -> Sample:
    """One round: each distance with a backlog of its own."""
    rates = [_drained(setting, distance) for distance in DISTANCES_MS]
    merged = {key: value for rate in rates for key, value in rate.items()}
    merged["rss_max_mb"] = max(rate["rss_max_mb"] for rate in rates)
    near = merged["events_per_second_0_ms"]
    merged["near_to_far"] = near / merged["events_per_second_100_ms"]
    return merged


def _drained(setting: Setting, distance_ms: int) -> dict[str, float]:
    with setting.fresh() as place:
        log = place / "children.log"
        port = _free_port()
        with (
            relay.started(place, upstream=f"http://127.0.0.1:{port}") as daemon,
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
                **(limits.measure(setting, place) if not distance_ms else {}),
            }


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


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
        Figure("events_per_second_20_ms", "  20 ms away", "events/s"),
        Figure("events_per_second_100_ms", "  100 ms away", "events/s"),
        Figure(
            "near_to_far", "  near to 100 ms away", "times", at_most(2), is_ratio=True
        ),
        Figure("cpu_us_per_event_0_ms", "  processor time of the relay", "µs/event"),
        memory(),
    ),
)
