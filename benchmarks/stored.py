"""How fast are events stored? By one connection and by 64, streamed; and by the spool.

Until the last `stored`, or until the store has the last event of fifty files that were
written aside and renamed together. The upstream refuses every connection: this is
intake alone.
"""

import os
import time
from itertools import islice
from pathlib import Path

from benchmarks import limits, producer, relay
from benchmarks.question import (
    Figure,
    Question,
    Sample,
    Setting,
    at_least,
    at_most,
    memory_figure,
)

CLIENTS = 64
FILES = 50
_WITHIN_SECONDS = 180.0


def ask(setting: Setting) -> Sample:
    """One round."""
    with setting.fresh() as place:
        bare = limits.measure(setting, place)
    one = _streamed(setting, clients=1)
    spool = _spooled(setting)
    many = _streamed(setting, clients=CLIENTS)
    rate = one["events_per_second"]
    return {
        **bare,
        **one,
        "of_limit": rate / bare["decode_and_commit"],
        "many_events_per_second": many["events_per_second"],
        "many_to_one": many["events_per_second"] / rate,
        "many_rss_max_mb": many["rss_max_mb"],
        "spool_events_per_second": spool["events_per_second"],
        "spool_to_socket": spool["events_per_second"] / rate,
        "spool_rss_max_mb": spool["rss_max_mb"],
        "spool_cpu_us_per_event": spool["cpu_us_per_event"],
    }


def _streamed(setting: Setting, *, clients: int) -> Sample:
    with setting.fresh() as place:
        log = place / "producer.log"
        with (
            relay.started(place) as daemon,
            producer.ready(
                "stream", daemon.socket, setting.events, log=log, clients=clients
            ) as sender,
        ):
            before = daemon.usage()
            sender.say("go")
            sent = sender.hear(within_seconds=_WITHIN_SECONDS)
            usage = daemon.usage()
            seconds = sent["ended"] - sent["started"]
            return {
                "events_per_second": sent["events"] / seconds,
                "rss_max_mb": usage.rss_max_mb,
                "cpu_us_per_event": usage.cpu_us_each(sent["events"], since=before),
                "producer_cpu_share": sent["cpu_seconds"] / seconds,
                "disk_bytes_per_event": daemon.store_bytes() / sent["events"],
            }


def _spooled(setting: Setting) -> Sample:
    with setting.fresh() as place, relay.started(place) as daemon:
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
    "stored",
    ask,
    (
        Figure(
            "events_per_second",
            "stored, one connection, streamed",
            "events/s",
            beside=limits.BESIDE,
        ),
        Figure(
            "of_limit",
            "  of judging and committing, in turn, alone",
            "times",
            at_least(0.75),
            is_ratio=True,
        ),
        memory_figure(),
        Figure("cpu_us_per_event", "  processor time of the relay", "µs/event"),
        Figure(
            "disk_bytes_per_event",
            "  on the disk",
            "bytes/event",
            at_most(60),
            is_ratio=True,
        ),
        Figure("many_events_per_second", f"stored, {CLIENTS} connections", "events/s"),
        Figure(
            "many_to_one", "  of one connection", "times", at_least(0.75), is_ratio=True
        ),
        memory_figure("many_rss_max_mb"),
        Figure("spool_events_per_second", f"spool, {FILES} renamed files", "events/s"),
        Figure(
            "spool_to_socket",
            "  of the socket",
            "times",
            at_least(1.0),
            is_ratio=True,
        ),
        memory_figure("spool_rss_max_mb"),
        Figure("spool_cpu_us_per_event", "  processor time of the relay", "µs/event"),
    ),
)
