"""What the kernel knows of a process: memory and processor time, from /proc."""

import os
from dataclasses import dataclass
from pathlib import Path

_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
_MB = 1e6


@dataclass(frozen=True, slots=True)
class Usage:
    """A look at a process.

    Attributes:
        rss_mb: resident now, in 10^6 bytes.
        rss_max_mb: the most it ever was.
        cpu_seconds: user and system time of all threads that ever ran.
        fine_cpu_seconds: of the threads that live, to the nanosecond.
    """

    rss_mb: float
    rss_max_mb: float
    cpu_seconds: float
    fine_cpu_seconds: float

    def cpu_us_each(self, events: int, *, since: "Usage") -> float:
        """Processor time for each of so many events, in microseconds."""
        return (self.cpu_seconds - since.cpu_seconds) / events * 1e6


def look(pid: int) -> Usage:
    """Look at a process."""
    place = Path("/proc") / str(pid)
    sizes = dict(
        line.split(":", 1) for line in (place / "status").read_text().splitlines()
    )
    # The name in parentheses may hold spaces; the fields after it do not.
    fields = (place / "stat").read_text().rpartition(")")[2].split()
    return Usage(
        rss_mb=_bytes(sizes["VmRSS"]) / _MB,
        rss_max_mb=_bytes(sizes["VmHWM"]) / _MB,
        cpu_seconds=(int(fields[11]) + int(fields[12])) * _TICK_SECONDS,
        fine_cpu_seconds=sum(map(_thread_seconds, (place / "task").iterdir())),
    )


def busy_seconds() -> float:
    """Processor time that the whole machine has spent since it started, not idling."""
    user, nice, system, _, _, *interrupts = (
        int(ticks) for ticks in Path("/proc/stat").read_text().split(maxsplit=9)[1:8]
    )
    return (user + nice + system + sum(interrupts)) * _TICK_SECONDS


def own_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    times = os.times()
    return sum(times[:4])


def _thread_seconds(thread: Path) -> float:
    try:
        return int((thread / "schedstat").read_text().split(maxsplit=1)[0]) / 1e9
    except (FileNotFoundError, ProcessLookupError):
        return 0.0  # it ended meanwhile


def _bytes(text: str) -> int:
    return int(text.split(maxsplit=1)[0]) * 1024
