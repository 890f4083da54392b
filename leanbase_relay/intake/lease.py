"""Who still writes to a file: the one place that asks for leases.

The kernel grants a read lease on a file only while nobody has it open for writing. It
counts every descriptor: inherited, passed on, or left behind by a mapping. So asking
for a lease answers the question, and while we hold it nobody can begin to write:
an open for writing waits until we give it back. We hold it for the length of an
`unlink`, microseconds. (An opener that asked not to wait, `O_NONBLOCK`, gets EAGAIN.)
"""

import errno
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum, auto
from fcntl import F_RDLCK, F_SETLEASE, F_SETSIG, F_UNLCK, fcntl


class Writers(Enum):
    """Whether somebody has a file open for writing."""

    NONE = auto()
    SOME = auto()
    UNKNOWN = auto()
    """No lease can be had: a file of another user, and we lack CAP_LEASE, or a file
    system without leases."""


@contextmanager
def keep_writers_out(fd: int) -> Iterator[Writers]:
    """Ask, and if the answer is NONE, keep it so until the end of the block.

    Args:
        fd: open for reading only.
    """
    writers = _take_lease(fd)
    try:
        yield writers
    finally:
        if writers is Writers.NONE:
            # It fails if the kernel took the lease away: it does from a holder that
            # was stopped for 45 seconds while somebody waited.
            with suppress(OSError):
                fcntl(fd, F_SETLEASE, F_UNLCK)


def writers_of(fd: int) -> Writers:
    """Ask at this moment; the next one may be different."""
    with keep_writers_out(fd) as writers:
        return writers


def _take_lease(fd: int) -> Writers:
    try:
        # An opener who has to wait makes the kernel signal us. The default, SIGIO,
        # would end the process; SIGURG is ignored unless somebody asks for it.
        fcntl(fd, F_SETSIG, signal.SIGURG)
        fcntl(fd, F_SETLEASE, F_RDLCK)
    except OSError as no:
        return Writers.SOME if no.errno == errno.EAGAIN else Writers.UNKNOWN
    return Writers.NONE
