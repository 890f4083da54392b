"""What systemd is told, and what it hands over; nothing where it did not start us."""

import contextlib
import os
import socket
from collections import defaultdict
from collections.abc import Mapping

from leanbase_relay.clock import Clock

_FIRST_PASSED_FD = 3  # SD_LISTEN_FDS_START


def notify(*assignments: str) -> None:
    """Send ``READY=1`` and the like to the service manager, sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
    ):
        sock.sendto("\n".join(assignments).encode(), address)


def notify_reloading(clock: Clock) -> None:
    """Say that the configuration is read again; ``READY=1`` ends it."""
    # The stamp is for Type=notify-reload: the reload that was asked for last is meant.
    notify("RELOADING=1", f"MONOTONIC_USEC={int(clock.monotonic() * 1e6)}")


def ask_for_time(seconds: float, doing: str) -> None:
    """Keep systemd from giving up on a start that takes long, for so long from now.

    To be called again and again while it goes on: a start that hangs is then noticed.

    Args:
        seconds: how long the next part may take.
        doing: what ``systemctl status`` is to show.
    """
    notify(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}", f"STATUS={doing}")


def is_there(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether somebody is to be told."""
    return bool(environ.get("NOTIFY_SOCKET"))


def watchdog_seconds(environ: Mapping[str, str] = os.environ) -> float | None:
    """How long we may say nothing before systemd ends us; None where it does not."""
    meant_for = environ.get("WATCHDOG_PID")
    if meant_for is not None and meant_for != str(os.getpid()):
        return None
    try:
        return int(environ["WATCHDOG_USEC"]) / 1e6 or None
    except (KeyError, ValueError):
        return None


def passed_sockets(
    environ: Mapping[str, str] = os.environ,
) -> dict[str, list[socket.socket]]:
    """The listening sockets of our socket units, by their ``FileDescriptorName=``.

    They are systemd's: closing our end is right, removing their files is not.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return {}  # meant for whoever started us
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    found = defaultdict(list)
    for at in range(int(environ.get("LISTEN_FDS", "0"))):
        sock = socket.socket(fileno=_FIRST_PASSED_FD + at)
        sock.setblocking(False)  # noqa: FBT003 - the library's
        os.set_inheritable(sock.fileno(), False)  # noqa: FBT003 - the library's
        found[names[at] if at < len(names) else "unknown"].append(sock)
    return dict(found)
