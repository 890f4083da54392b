"""Listening sockets on the file system: bound with the right mode from birth.

Here is the rule that a socket left behind by a crash is cleaned up, and one that
somebody still listens on is never stolen.
"""

import errno
import logging
import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from leanbase_relay.errors import RelayError

log = logging.getLogger(__name__)

MAX_PATH_BYTES = 107  # sun_path of unix(7), less its final zero
_BACKLOG = 1024


class SocketInUse(RelayError):
    """Somebody listens there already."""


def listen(path: Path, *, mode: int, group: str | None = None) -> socket.socket:
    """Listen on a Unix stream socket.

    Args:
        path: where; its directory is made if it is missing.
        mode: who may connect.
        group: the group that the socket file is given to.

    Raises:
        SocketInUse: another process listens there.
        RelayError: the path, mode or group cannot be had.
    """
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _remove_if_dead(path)
        sock = _bound(path)
        try:
            if group is not None:
                shutil.chown(path, group=group)
            path.chmod(mode)
            sock.listen(_BACKLOG)
        except BaseException:
            sock.close()
            path.unlink()
            raise
    except (OSError, LookupError) as error:
        raise RelayError(f"cannot listen on {path}: {error}") from error
    sock.setblocking(False)  # noqa: FBT003 - the library's
    return sock


class Passed:
    """Listening sockets that systemd handed over, until each is taken by its name."""

    def __init__(self, by_name: Mapping[str, list[socket.socket]]) -> None:
        self._left = dict(by_name)

    def take(self, name: str) -> list[socket.socket]:
        """Those of that name; whoever takes them serves them and never unlinks them."""
        return self._left.pop(name, [])

    def take_unix(self, name: str, path: Path) -> socket.socket | None:
        """The one of that name, if there is one.

        Args:
            name: its ``FileDescriptorName=``.
            path: where the configuration has it; clients look there.
        """
        socks = self.take(name)
        for extra in socks[1:]:
            log.warning("socket_unused name=%s address=%s", name, extra.getsockname())
            extra.close()
        if socks and socks[0].getsockname() != os.fspath(path):
            log.warning(
                "socket_elsewhere name=%s passed=%s configured=%s",
                name,
                socks[0].getsockname(),
                path,
            )
        return socks[0] if socks else None

    def close_rest(self) -> None:
        """Let go of what nobody serves: its connections would wait for ever."""
        for name, socks in self._left.items():
            for sock in socks:
                log.warning(
                    "socket_unused name=%s address=%s", name, sock.getsockname()
                )
                sock.close()


def unlink(path: Path) -> None:
    """Take the socket file away; nothing happens if it is gone."""
    path.unlink(missing_ok=True)


def _bound(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # For an instant between bind and chmod nobody but us may connect.
    before = os.umask(0o177)
    try:
        sock.bind(os.fspath(path))
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(before)
    return sock


def _remove_if_dead(path: Path) -> None:
    """Clean up after a crash; leave a living listener alone."""
    if not path.is_socket():
        return  # nothing there, or something that bind will refuse to replace
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        answer = probe.connect_ex(os.fspath(path))
    if answer == errno.ECONNREFUSED:
        path.unlink()
    elif answer != errno.ENOENT:
        raise SocketInUse(
            f"another process listens on {path}; stop it, or give this relay a path "
            "of its own"
        )
