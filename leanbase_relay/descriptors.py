"""Descriptors: how many files and connections may be open at once.

A process that may open no more can neither take events nor deliver them, nor say so.
So the limit is raised as far as it goes, and some are kept from whoever connects: what
the store, the spool and the upstreams need.
"""

import contextlib
import errno
import resource

MOST = 1 << 16
"""No more are asked for, whatever the system would give."""

NONE_LEFT = (errno.EMFILE, errno.ENFILE)
"""What a system says that gives no more, to this process or to anybody."""

_FOR_RELAY = 64
_FOR_OTHERS = 320  # connections by HTTP, for commands and for metrics have bounds, too
_FOR_NEWCOMERS = 100  # asyncio accepts so many before the first is looked at
_FOR_LANE = (
    6  # two of its reader, three of a connection that is being opened, one spare
)
_MOST_REMOVED = 256


def raise_limit() -> int:
    """Have as many as the system gives; how many that is.

    It is safe where nothing waits by select(2), which knows only the first 1024.
    """
    soft, hard = (
        MOST if limit == resource.RLIM_INFINITY else limit
        for limit in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    wanted = min(hard, MOST)
    if soft >= wanted:
        return soft
    with contextlib.suppress(OSError, ValueError):
        _, as_it_was = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, as_it_was))
        return wanted
    return soft


def for_removed_files(limit: int) -> int:
    """How many spool files may be kept open after their removal."""
    return min(_MOST_REMOVED, limit // 8)


def for_producers(limit: int, *, lanes: int) -> int:
    """How many connections of producers there may be, within a limit for all."""
    kept = _FOR_RELAY + _FOR_OTHERS + _FOR_NEWCOMERS + _FOR_LANE * lanes
    return max(limit - kept - for_removed_files(limit), limit // 4)
