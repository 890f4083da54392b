"""How many events do many clients store that each wait for their `stored`?

All clients live in one child, on one selector; its share of a processor is shown, so
that one sees when the child is the limit rather than the relay.
"""

import time
from contextlib import closing
from pathlib import Path

from benchmarks import limits, producer, relay
from benchmarks.question import Figure, Question, Sample, Setting, at_least
from benchmarks.question import memory_figure as memory

CLIENTS = 64
_EVENTS = 100_000
_QUICK_EVENTS = 20_000
_WITHIN_SECONDS = 120.0
_BARE_COMMITS = 500


def ask(setting: Setting) -> Sample:
    """One round."""
    lines = setting.first(_QUICK_EVENTS if setting.quick else _EVENTS)
    with setting.fresh() as place:
        bare = _bare(lines, place)
        events, log = place / "events.jsonl", place / "producer.log"
        events.write_bytes(b"".join(lines))
        with (
            relay.started(place) as daemon,
            producer.ready(
                "clients", daemon.socket, events, log=log, clients=CLIENTS
            ) as clients,
        ):
            before = daemon.usage()
            clients.say("go")
            sent = clients.hear(within_seconds=_WITHIN_SECONDS)
            usage = daemon.usage()
            seconds = sent["ended"] - sent["started"]
            return {
                **bare,
                "events_per_second": sent["events"] / seconds,
                "of_limit": sent["events"] / seconds / bare["commit"],
                "p50_ms": sent["p50"] * 1e3,
                "p99_ms": sent["p99"] * 1e3,
                "rss_max_mb": usage.rss_max_mb,
                "cpu_us_per_event": usage.cpu_us_each(sent["events"], since=before),
                "clients_cpu_share": sent["cpu_seconds"] / seconds,
            }


def _bare(lines: list[bytes], place: Path) -> Sample:
    """Decoding line by line, and commits of as many events as there are clients."""
    judge = limits.a_judge()
    started = time.perf_counter()
    for line in lines[:10_000]:
        judge.judge(line, project="default", now_ms=0)
    decoded = time.perf_counter() - started
    groups = [
        b"".join(lines[first : first + CLIENTS])
        for first in range(0, len(lines), CLIENTS)
    ][:_BARE_COMMITS]
    with closing(limits.BareTable(place)) as table:
        started = time.perf_counter()
        for group in groups:
            table.store(group)
        committed = time.perf_counter() - started
    return {
        "decode": 10_000 / decoded,
        "commit": len(groups) * CLIENTS / committed,
    }


QUESTION = Question(
    "many",
    ask,
    (
        Figure(
            "events_per_second",
            f"{CLIENTS} clients, each waits for `stored`",
            "events/s",
            at_least(40_000),
            {"decode": "decode one by one", "commit": f"commit {CLIENTS} at a time"},
        ),
        Figure(
            "of_limit",
            "  of that commit",
            "times",
            at_least(0.2),
            is_ratio=True,
        ),
        Figure("p50_ms", "  until `stored`, median", "ms"),
        Figure("p99_ms", "  until `stored`, p99", "ms"),
        memory(),
        Figure("cpu_us_per_event", "  processor time of the relay", "µs/event"),
        Figure("clients_cpu_share", "  processors that the clients take", ""),
    ),
)
