"""How fast do events go through? From the first byte until the upstream has them all.

The relay and its peers in turn: the same events by one Unix socket, the same upstream,
a child on the same machine that reads and counts; producer and upstream share the
processors with who is measured. The relay syncs every commit, judges every event and
packs what it sends; each peer does what its row says.
"""

import time

from benchmarks import limits, producer, relay, upstream
from benchmarks.peers import PEERS, Peer
from benchmarks.question import (
    Figure,
    Question,
    Sample,
    Setting,
    at_least,
    memory_figure,
)

_WITHIN_SECONDS = 180.0
_CALM_SECONDS = 3.0
_AIMS = {"syslog_ng": 5.0, "fluent_bit": 8.0, "rsyslog": 1.0}


def ask(setting: Setting) -> Sample:
    """One round."""
    with setting.fresh() as place:
        bare = limits.measure(setting, place)
    sample = {**bare, **_relayed(setting)}
    for peer in PEERS:
        if peer.program is None:
            continue
        theirs = _through(peer, setting)
        sample |= {f"{peer.key}_{name}": value for name, value in theirs.items()}
        rate = theirs["events_per_second"]
        sample[f"to_{peer.key}"] = sample["events_per_second"] / rate
    return sample


def _relayed(setting: Setting) -> dict[str, float]:
    with setting.fresh() as place:
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
                "events_per_second": sent["events"] / seconds,
                "stored_per_second": sent["events"] / (sent["ended"] - sent["started"]),
                "rss_max_mb": usage.rss_max_mb,
                "rss_after_mb": daemon.usage().rss_mb,
                "cpu_us_per_event": usage.cpu_us_each(sent["events"], since=before),
                "upstream_cpu_share": came["cpu_seconds"] / seconds,
                "producer_cpu_share": sent["cpu_seconds"] / seconds,
                "events_per_request": came["events"] / came["requests"],
            }


def _through(peer: Peer, setting: Setting) -> dict[str, float]:
    with setting.fresh() as place:
        log = place / "children.log"
        with (
            upstream.started(setting.count, log=log, speaks=peer.speaks) as served,
            peer.started(place, port=_port(served[1])) as rival,
            producer.ready("pour", rival.socket, setting.events, log=log) as sender,
        ):
            before = rival.usage()
            sender.say("go")
            sent = sender.hear(within_seconds=_WITHIN_SECONDS)
            came = served[0].hear(within_seconds=_WITHIN_SECONDS)
            usage = rival.usage()
            return {
                "events_per_second": sent["events"] / (came["at"] - sent["started"]),
                "rss_max_mb": usage.rss_max_mb,
                "cpu_us_per_event": usage.cpu_us_each(sent["events"], since=before),
            }


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


def _figures(peer: Peer) -> tuple[Figure, ...]:
    key = peer.key
    rate = Figure(f"{key}_events_per_second", peer.name, "events/s", absent=peer.absent)
    return (
        rate,
        Figure(
            f"to_{key}",
            "  the relay beside it",
            "times",
            at_least(_AIMS[key]),
            is_ratio=True,
        ),
        Figure(f"{key}_rss_max_mb", "  memory, the most", "MB"),
        Figure(f"{key}_cpu_us_per_event", "  processor time of it", "µs/event"),
    )


QUESTION = Question(
    "end-to-end",
    ask,
    (
        Figure(
            "events_per_second",
            "end to end, until the upstream has all",
            "events/s",
            beside={**limits.BESIDE, "inflate": "inflate alone", "gzip": "gzip alone"},
        ),
        Figure("stored_per_second", "  stored meanwhile", "events/s"),
        memory_figure(),
        Figure("rss_after_mb", "  memory afterwards", "MB"),
        Figure("cpu_us_per_event", "  processor time of the relay", "µs/event"),
        Figure("events_per_request", "  size of a request", "events"),
        *(figure for peer in PEERS for figure in _figures(peer)),
    ),
)
