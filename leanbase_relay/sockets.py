"""The sockets that the relay listens on: systemd's where it has them, else its own.

What systemd passed is known by its `FileDescriptorName=`: ``socket`` for JSON Lines,
``http`` for the capture API. It stays when the relay stops, so that apps can connect
until the next one starts. The control socket is always the relay's own: asking how a
stopped relay is must not start it.
"""

import logging
import os
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from leanbase_relay import listener, systemd
from leanbase_relay.config import Config
from leanbase_relay.settings import place_of

log = logging.getLogger(__name__)

Place = Path | tuple[str, int]


@dataclass(frozen=True, slots=True)
class Sockets:
    """All of them, listening."""

    intake: socket.socket
    control: socket.socket
    http: list[socket.socket]
    metrics: list[socket.socket]


def opened(config: Config, house: ExitStack) -> Sockets:
    """Listen wherever the configuration or systemd wants it.

    Args:
        config: says where.
        house: unlinks, at its end, the files that are ours.

    Raises:
        RelayError: an address cannot be had.
    """
    passed = systemd.passed_sockets()
    intake = _passed_intake(passed, config.socket.path)
    sockets = Sockets(
        intake=intake or _own(config, config.socket.path, house),
        control=_own(config, config.control.path, house),
        http=_http(config, passed.pop("http", []), house),
        metrics=listener.listen_at(
            config.metrics.listen,
            house,
            mode=config.socket.mode,
            group=config.socket.group,
        ),
    )
    # Whoever connects to what nobody serves would wait for ever.
    for name, unused in passed.items():
        _close(name, unused)
    return sockets


def _passed_intake(
    passed: dict[str, list[socket.socket]], path: Path
) -> socket.socket | None:
    ours = passed.pop("socket", [])
    if not ours:
        return None
    _close("socket", ours[1:])
    address = _place(ours[0])
    if address != path:
        log.warning("socket_elsewhere passed=%s configured=%s", address, path)
    return ours[0]


def _http(
    config: Config, passed: list[socket.socket], house: ExitStack
) -> list[socket.socket]:
    """Those of systemd, and those of the configuration that are not among them."""
    socks = list(passed)
    had = {_place(sock) for sock in passed}
    for address in config.http.listen:
        where = place_of(address)
        if where in had:
            continue
        if isinstance(where, Path):
            socks.append(_own(config, where, house))
        else:
            socks += listener.listen_tcp(*where)
    return socks


def _own(config: Config, path: Path, house: ExitStack) -> socket.socket:
    mode, group = config.socket.mode, config.socket.group
    sock = listener.listen(path, mode=mode, group=group)
    house.callback(listener.unlink, path)
    return sock


def _place(sock: socket.socket) -> Place:
    """Where it listens, as `place_of` says it."""
    if sock.family == socket.AF_UNIX:
        return Path(os.fsdecode(sock.getsockname()))
    host, port = sock.getsockname()[:2]
    return host, port


def _close(name: str, socks: list[socket.socket]) -> None:
    for sock in socks:
        log.warning("socket_unused name=%s address=%s", name, _place(sock))
        sock.close()
