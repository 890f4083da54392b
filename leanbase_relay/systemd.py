"""What systemd is told; nothing at all where it did not start us."""

import contextlib
import os
import socket


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
