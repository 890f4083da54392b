"""What happens when everything becomes ten, a hundred, a thousand times as much?

The processor time of an event, since that is what can be compared while the machine
does other things too: against the backlog, the connections and the projects. Flat is
good; a line that rises is a fault that a larger installation would meet.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from benchmarks import process, producer, relay, upstream
from benchmarks.asking import setting
from benchmarks.child import Child
from benchmarks.plot import Chart, Series
from benchmarks.question import Setting

BACKLOGS = (10_000, 100_000, 1_000_000, 10_000_000)
CONNECTIONS = (1, 10, 100, 1_000)
PROJECTS = (1, 3, 10, 30, 100)

_STEP = 100_000  # events whose cost is taken at a backlog of as many or more
_STREAMED, _WAITED = 300_000, 30_000
_WITHIN_SECONDS = 600.0
_MOST_EVENTS = 500_000  # in memory of the producer; more is the same again

Points = Mapping[str, Mapping[int, float]]
"""Microseconds an event, by series and by how much there was."""


def measure(directory: Path | None) -> dict[str, dict[str, dict[int, float]]]:
    """All of it, one after the other."""
    found = {}
    with setting(directory, quick=False) as where:
        for name, ask in ASKS.items():
            print(f"growth: {name}", file=sys.stderr)
            found[name] = ask(where)
    return found


def charts(found: Mapping[str, Points]) -> dict[str, Chart]:
    """A drawing of each, by the name of its file."""
    return {
        f"growth-{name}": Chart(
            title=f"Processor time of an event against {_AXES[name].lower()}",
            across=_AXES[name],
            up="µs of processor time an event",
            series=[
                Series(label, sorted(_numbers(points).items()))
                for label, points in found[name].items()
            ],
        )
        for name in ASKS
        if name in found
    }


def _numbers(points: Mapping[int, float]) -> dict[int, float]:
    return {int(much): cost for much, cost in points.items()}  # JSON has texts


def _backlogs(where: Setting) -> dict[str, dict[int, float]]:
    """Storing on top of a backlog, and then sending all of it."""
    storing, sending = {}, {}
    for backlog in BACKLOGS:
        with where.fresh() as place:
            log = place / "children.log"
            port = upstream.free_port()
            with relay.started(place, upstream=f"http://127.0.0.1:{port}") as daemon:
                full, _ = _stream(daemon, where, backlog, log=log)
                more, storing[backlog] = _stream(
                    daemon, where, min(backlog, _STEP), log=log
                )
                full += more
                with upstream.started(full, log=log, port=port) as (counter, _):
                    before = daemon.usage()
                    daemon.flush()
                    counter.hear(within_seconds=_WITHIN_SECONDS)
                    sending[backlog] = _us_each(before, daemon.usage(), full)
    return {"storing": storing, "sending": sending}


def _sent_by(mode: str, count: int) -> Callable[[Setting], dict[str, dict[int, float]]]:
    """So many events by each number of connections; `mode` is the producer's."""

    def ask(where: Setting) -> dict[str, dict[int, float]]:
        costs = {}
        for connections in CONNECTIONS:
            with where.fresh() as place, relay.started(place) as daemon:
                events = _written(place, where.first(count))
                costs[connections] = _cost(daemon, events, mode, clients=connections)
        return {"storing": costs}

    return ask


def _projects(where: Setting) -> dict[str, dict[int, float]]:
    """End to end, a connection for each project."""
    costs = {}
    for count in PROJECTS:
        names = [f"p{number}" for number in range(count)]
        heads = [b'{"project":"%b",' % name.encode() for name in names]
        lines = [
            heads[number % count] + line[1:]
            for number, line in enumerate(where.first(_STREAMED))
        ]
        with where.fresh() as place:
            log = place / "upstream.log"
            events = _written(place, lines)
            with (
                upstream.started(len(lines), log=log) as (counter, url),
                relay.started(place, upstream=url, projects=names) as daemon,
            ):
                costs[count] = _cost(
                    daemon, events, "stream", clients=count, until=counter
                )
    return {"end to end": costs}


def _cost(
    daemon: relay.Relay,
    events: Path,
    mode: str,
    *,
    clients: int,
    until: Child | None = None,
) -> float:
    log = events.with_name("producer.log")
    with producer.ready(mode, daemon.socket, events, log=log, clients=clients) as child:
        before = daemon.usage()
        child.say("go")
        sent = child.hear(within_seconds=_WITHIN_SECONDS)
        if until is not None:
            until.hear(within_seconds=_WITHIN_SECONDS)
            daemon.wait_for(
                lambda: daemon.delivered() == sent["events"], within_seconds=10
            )
        return _us_each(before, daemon.usage(), sent["events"])


def _us_each(before: process.Usage, after: process.Usage, events: int) -> float:
    """By the threads' own clocks; that of the process goes in steps of 10 ms."""
    return (after.fine_cpu_seconds - before.fine_cpu_seconds) / events * 1e6


def _stream(
    daemon: relay.Relay, where: Setting, count: int, *, log: Path
) -> tuple[int, float]:
    """Store so many events; how many, and what each cost."""
    once = min(count, _MOST_EVENTS)
    events = _written(log.parent, where.first(once))
    with producer.ready(
        "stream", daemon.socket, events, log=log, times=count // once
    ) as child:
        before = daemon.usage()
        child.say("go")
        sent = child.hear(within_seconds=_WITHIN_SECONDS)
        return sent["events"], _us_each(before, daemon.usage(), sent["events"])


def _written(place: Path, lines: Iterable[bytes]) -> Path:
    events = place / "events.jsonl"
    events.write_bytes(b"".join(lines))
    return events


ASKS: Mapping[str, Callable[[Setting], dict[str, dict[int, float]]]] = {
    "backlog": _backlogs,
    "connections": _sent_by("stream", _STREAMED),
    "clients": _sent_by("clients", _WAITED),  # each event waits for its `stored`
    "projects": _projects,
}
_AXES = {
    "backlog": "Events of backlog",
    "connections": "Connections that stream",
    "clients": "Clients that wait for each reply",
    "projects": "Projects",
}
