"""Listening sockets: on the file system with the right mode from birth, or on TCP.

Here is the rule that a socket left behind by a crash is cleaned up, and one that
somebody still listens on is never stolen.
"""

import errno
import os
import shutil
import socket
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from leanbase_relay.errors import RelayError
from leanbase_relay.settings import place_of

MAX_PATH_BYTES = 107  # sun_path of unix(7), less its final zero
BACKLOG = 4096  # what waits while we are busy; net.core.somaxconn bounds it too


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
            sock.listen(BACKLOG)
        except BaseException:
            sock.close()
            path.unlink()
            raise
    except (OSError, LookupError) as error:
        raise RelayError(f"cannot listen on {path}: {error}") from error
    sock.setblocking(False)  # noqa: FBT003 - the library's
    return sock


def listen_at(
    addresses: Iterable[str], house: ExitStack, *, mode: int, group: str | None
) -> list[socket.socket]:
    """Listen on several addresses, as `settings.Addresses` has them.

    Args:
        addresses: ``host:port`` or ``unix:/path``.
        house: takes socket files away when it closes.
        mode: of socket files.
        group: of socket files.
    """
    socks = []
    for address in addresses:
        place = place_of(address)
        if isinstance(place, Path):
            socks.append(listen(place, mode=mode, group=group))
            house.callback(unlink, place)
        else:
            socks += listen_tcp(*place)
    return socks


def listen_tcp(host: str, port: int) -> list[socket.socket]:
    """Listen on a port of this machine.

    Args:
        host: an address; or `localhost`, which is this machine's in both families,
            as far as it has them.
        port: which, or 0 for any free one.

    Raises:
        SocketInUse: another process listens there.
        RelayError: the address cannot be had.
    """
    if host != "localhost":
        return [_bound_tcp(host, port)]
    first = _bound_tcp("127.0.0.1", port)
    try:
        return [first, _bound_tcp("::1", first.getsockname()[1])]
    except SocketInUse:
        first.close()
        raise  # else half of the producers would reach somebody else
    except RelayError:
        return [first]  # a machine without IPv6


def _bound_tcp(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if error.errno == errno.EADDRINUSE:
            raise SocketInUse(
                f"another process listens on {at}; stop it, or give this relay a "
                "port of its own"
            ) from error
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise RelayError(f"cannot listen on {at}: {reason}") from error
    sock.setblocking(False)  # noqa: FBT003 - the library's
    return sock


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
