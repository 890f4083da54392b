"""How long does one event take? Idle, and while half of what can be stored streams in.

One connection, the next event after each `stored`. In turn with a bare `BEGIN
IMMEDIATE; INSERT; COMMIT` (WAL, synchronous=FULL) of the same event on the same disk: a
short series of the one, a short series of the other, so that what slows one slows both.
"""

import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median

from benchmarks import producer, relay
from benchmarks.child import Child
from benchmarks.limits import BareTable
from benchmarks.question import Figure, Question, Sample, Setting, at_most

_SERIES = 50
_EVENTS, _QUICK_EVENTS = 10_000, 2_000
_WITHIN_SECONDS = 60.0
_HALF = 0.5
_SETTLE_SECONDS = 1.0


def ask(setting: Setting) -> Sample:
    """One round."""
    lines = setting.first(_QUICK_EVENTS if setting.quick else _EVENTS)
    with (
        setting.fresh() as place,
        relay.started(place) as daemon,
        closing(BareTable(place)) as table,
    ):
        before = daemon.usage()
        idle = _asked(lines, daemon, table)
        used = daemon.usage()
        with _half_loaded(daemon, setting, place) as pace:
            loaded = _asked(lines, daemon, table)
    return {
        **idle,
        "cpu_us_per_event": used.cpu_us_each(len(lines), since=before),
        "load_events_per_second": pace,
        **{f"loaded_{name}": value for name, value in loaded.items()},
    }


def _asked(
    lines: list[bytes], daemon: relay.Relay, table: BareTable
) -> dict[str, float]:
    through_relay: list[float] = []
    bare: list[float] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(_WITHIN_SECONDS)
        sock.connect(str(daemon.socket))

        def send(line: bytes) -> None:
            sock.sendall(line)
            reply = sock.recv(4096)
            assert reply.startswith(b'{"stored":'), reply

        for first in range(0, len(lines), _SERIES):
            series = lines[first : first + _SERIES]
            through_relay += _times(send, series)
            bare += _times(table.store, series)
    return {
        "ratio": median(through_relay) / median(bare),
        "p99_ratio": _upto(through_relay, 99.0) / _upto(bare, 99.0),
        "median_us": median(through_relay) * 1e6,
        "p99_us": _upto(through_relay, 99.0) * 1e6,
        "p999_us": _upto(through_relay, 99.9) * 1e6,
        "bare_median_us": median(bare) * 1e6,
        "bare_p99_us": _upto(bare, 99.0) * 1e6,
        "bare_p999_us": _upto(bare, 99.9) * 1e6,
    }


@contextmanager
def _half_loaded(daemon: relay.Relay, setting: Setting, place: Path) -> Iterator[float]:
    """Have events stream in at half the rate at which this daemon stores them."""
    log = place / "load.log"
    way = (daemon.socket, setting.events)
    with producer.ready("stream", *way, log=log) as burst:
        rate = _rate(burst)
    with producer.ready("paced", *way, log=log, pace=rate * _HALF) as load:
        load.say("go")
        time.sleep(_SETTLE_SECONDS)
        yield rate * _HALF
        load.say("enough")
        load.hear(within_seconds=_WITHIN_SECONDS)


def _rate(burst: Child) -> float:
    burst.say("go")
    sent = burst.hear(within_seconds=_WITHIN_SECONDS)
    return float(sent["events"] / (sent["ended"] - sent["started"]))


def _times(step: Callable[[bytes], None], lines: Iterable[bytes]) -> list[float]:
    times = []
    for line in lines:
        started = time.perf_counter()
        step(line)
        times.append(time.perf_counter() - started)
    return times


def _upto(times: list[float], percent: float) -> float:
    """What so many of a hundred took at most."""
    return sorted(times)[int(len(times) * percent / 100)]


QUESTION = Question(
    "single",
    ask,
    (
        Figure(
            "ratio",
            "one event until `stored`, median",
            "x bare commit",
            at_most(1.8),
            is_ratio=True,
        ),
        Figure(
            "median_us", "  median", "µs", beside={"bare_median_us": "commit alone"}
        ),
        Figure("p99_us", "  p99", "µs", beside={"bare_p99_us": "commit alone"}),
        Figure("p999_us", "  p99.9", "µs", beside={"bare_p999_us": "commit alone"}),
        Figure("cpu_us_per_event", "  processor time of the relay", "µs/event"),
        Figure(
            "load_events_per_second",
            "while half of what it can store streams in",
            "events/s",
        ),
        Figure(
            "loaded_median_us",
            "  until `stored`, median",
            "µs",
            beside={"loaded_bare_median_us": "commit alone"},
        ),
        Figure(
            "loaded_p99_us",
            "  until `stored` under half load, p99",
            "µs",
            beside={"loaded_bare_p99_us": "commit alone"},
        ),
        Figure(
            "loaded_p99_ratio",
            "  p99 of one to the other",
            "times",
            at_most(5.0),
            is_ratio=True,
        ),
        Figure(
            "loaded_p999_us",
            "  p99.9",
            "µs",
            beside={"loaded_bare_p999_us": "commit alone"},
        ),
    ),
)
