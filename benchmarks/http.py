"""How fast is the capture API? Batches from one SDK, and single events from many.

Beside them, in the same round, what the JSON Lines socket stores of the same events:
the way behind both is the same, so the difference is HTTP.
"""

from pathlib import Path

from benchmarks import http_producer, producer, relay, upstream
from benchmarks.question import Figure, Question, Sample, Setting, at_least, at_most
from benchmarks.question import memory_figure as memory

BATCH = 100
CLIENTS = 50
_EVENTS, _QUICK_EVENTS = 300_000, 50_000
_SINGLES, _QUICK_SINGLES = 40_000, 10_000
_WITHIN_SECONDS = 120.0


def ask(setting: Setting) -> Sample:
    """One round."""
    lines = setting.first(_QUICK_EVENTS if setting.quick else _EVENTS)
    singles = lines[: _QUICK_SINGLES if setting.quick else _SINGLES]
    batches = _sent(setting, lines, clients=1, batch=BATCH)
    single = _sent(setting, singles, clients=CLIENTS, batch=1)
    stored = _streamed(setting, lines)
    return {
        "stored": stored,
        "batches_to_socket": batches["events_per_second"] / stored,
        "singles_to_socket": single["events_per_second"] / stored,
        **{f"batches_{name}": value for name, value in batches.items()},
        **{f"singles_{name}": value for name, value in single.items()},
    }


def _sent(setting: Setting, lines: list[bytes], *, clients: int, batch: int) -> Sample:
    """What comes of them by HTTP."""
    with setting.fresh() as place:
        events = _written(place, lines)
        log, port = place / "producer.log", upstream.free_port()
        with (
            relay.started(place, http_port=port) as daemon,
            http_producer.ready(
                port, events, log=log, clients=clients, batch=batch
            ) as sender,
        ):
            before = daemon.usage()
            sender.say("go")
            sent = sender.hear(within_seconds=_WITHIN_SECONDS)
            usage = daemon.usage()
    seconds = sent["ended"] - sent["started"]
    return {
        "events_per_second": sent["events"] / seconds,
        "requests_per_second": sent["requests"] / seconds,
        "p50_ms": sent["p50"] * 1e3,
        "p99_ms": sent["p99"] * 1e3,
        "rss_max_mb": usage.rss_max_mb,
        "cpu_us_per_request": usage.cpu_us_each(sent["requests"], since=before),
        "clients_cpu_share": sent["cpu_seconds"] / seconds,
    }


def _streamed(setting: Setting, lines: list[bytes]) -> float:
    """Events a second by the JSON Lines socket."""
    with setting.fresh() as place:
        events = _written(place, lines)
        log = place / "producer.log"
        with (
            relay.started(place) as daemon,
            producer.ready("stream", daemon.socket, events, log=log) as sender,
        ):
            sender.say("go")
            sent = sender.hear(within_seconds=_WITHIN_SECONDS)
            return float(sent["events"] / (sent["ended"] - sent["started"]))


def _written(place: Path, lines: list[bytes]) -> Path:
    events = place / "events.jsonl"
    events.write_bytes(b"".join(lines))
    return events


QUESTION = Question(
    "http",
    ask,
    (
        Figure(
            "batches_events_per_second",
            f"HTTP, one client, {BATCH} gzipped events a request",
            "events/s",
            at_least(60_000),
            {"stored": "the socket stores"},
        ),
        Figure(
            "batches_to_socket",
            "  of the socket",
            "times",
            at_least(0.3),
            is_ratio=True,
        ),
        Figure("batches_p99_ms", "  until 200, p99", "ms"),
        memory("batches_rss_max_mb"),
        Figure("batches_cpu_us_per_request", "  processor time", "µs/request"),
        Figure(
            "singles_requests_per_second",
            f"HTTP, {CLIENTS} clients, an event a request",
            "requests/s",
            at_least(4_000),
            {"stored": "the socket stores"},
        ),
        Figure(
            "singles_to_socket",
            "  of the socket",
            "times",
            at_least(0.02),
            is_ratio=True,
        ),
        Figure("singles_p50_ms", "  until 200, median", "ms"),
        Figure("singles_p99_ms", "  until 200, p99", "ms", at_most(50)),
        memory("singles_rss_max_mb"),
        Figure("singles_cpu_us_per_request", "  processor time", "µs/request"),
        Figure("singles_clients_cpu_share", "  processors that the clients take", ""),
    ),
)
