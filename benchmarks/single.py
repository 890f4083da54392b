"""How long does one event take? One connection, the next event after each `stored`.

In turn with a bare `BEGIN IMMEDIATE; INSERT; COMMIT` (WAL, synchronous=FULL) of the
same event on the same disk: a short series of the one, a short series of the other.
"""

import socket
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from statistics import median

from benchmarks import relay
from benchmarks.limits import BareTable
from benchmarks.question import Figure, Question, Sample, Setting, at_most

_SERIES = 50
_EVENTS = 4_000
_QUICK_EVENTS = 1_000
_WITHIN_SECONDS = 10.0


def ask(setting: Setting) -> Sample:
    """One round."""
    lines = setting.first(_QUICK_EVENTS if setting.quick else _EVENTS)
    through_relay: list[float] = []
    bare: list[float] = []
    with (
        setting.fresh() as place,
        relay.started(place) as daemon,
        closing(BareTable(place)) as table,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock,
    ):
        sock.settimeout(_WITHIN_SECONDS)
        sock.connect(str(daemon.socket))

        def send(line: bytes) -> None:
            sock.sendall(line)
            reply = sock.recv(4096)
            assert reply.startswith(b'{"stored":'), reply

        before = daemon.usage()
        for first in range(0, len(lines), _SERIES):
            series = lines[first : first + _SERIES]
            through_relay += _times(send, series)
            bare += _times(table.store, series)
        used = daemon.usage()
    return {
        "ratio": median(through_relay) / median(bare),
        "p99_ratio": _p99(through_relay) / _p99(bare),
        "median_us": median(through_relay) * 1e6,
        "p99_us": _p99(through_relay) * 1e6,
        "bare_median_us": median(bare) * 1e6,
        "bare_p99_us": _p99(bare) * 1e6,
        "cpu_us_per_event": used.cpu_us_each(len(lines), since=before),
    }


def _times(step: Callable[[bytes], None], lines: Iterable[bytes]) -> list[float]:
    times = []
    for line in lines:
        started = time.perf_counter()
        step(line)
        times.append(time.perf_counter() - started)
    return times


def _p99(times: list[float]) -> float:
    return sorted(times)[len(times) * 99 // 100]


QUESTION = Question(
    "single",
    ask,
    (
        Figure(
            "ratio",
            "one event until `stored`, median",
            "x bare commit",
            at_most(2.5),
        ),
        Figure(
            "median_us", "  median", "µs", beside={"bare_median_us": "commit alone"}
        ),
        Figure("p99_us", "  p99", "µs", beside={"bare_p99_us": "commit alone"}),
        Figure("cpu_us_per_event", "  processor time of the relay", "µs/event"),
    ),
)
