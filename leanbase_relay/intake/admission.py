"""Admission: who may connect to send events, and how many at once."""

import logging
import socket
import struct
from typing import NamedTuple

from leanbase_relay.clock import Clock
from leanbase_relay.seldom import Seldom

log = logging.getLogger(__name__)

_PEERCRED = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid


class Guest(NamedTuple):
    """Who has connected, and why that one has to go; None who may stay."""

    peer: str
    why_not: str | None


class Admission:
    """The door of the socket.

    Args:
        allow_uids: who may send, by the kernel's word; None = whoever can connect.
        max_connections: at once; more are turned away.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        allow_uids: tuple[int, ...] | None = None,
        max_connections: int = 1 << 16,
    ) -> None:
        self._allow_uids = allow_uids
        self._max_connections = max_connections
        self._inside = 0
        self._seldom_strangers = Seldom(clock)
        self._seldom_too_many = Seldom(clock)

    def enter(self, connection: socket.socket) -> Guest:
        """Somebody is there, until `leave`."""
        self._inside += 1
        credentials = connection.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size
        )
        pid, uid, _ = _PEERCRED.unpack(credentials)
        return Guest(f"socket uid={uid} pid={pid}", self._why_not(uid, pid))

    def leave(self) -> None:
        """Somebody is gone, whether let in or not."""
        self._inside -= 1

    def problems(self) -> list[str]:
        """A sentence while no more are let in."""
        if self._inside < self._max_connections:
            return []
        sentence = (
            f"{self._inside} producers are connected, as many as the limit on open "
            "files allows, and more are turned away. Have idle ones close their "
            "connections, or raise the limit (LimitNOFILE= of the service)."
        )
        return [sentence]

    def _why_not(self, uid: int, pid: int) -> str | None:
        if self._allow_uids is not None and uid not in self._allow_uids:
            if times := self._seldom_strangers.times():
                log.warning(
                    "connection_refused times=%d uid=%d pid=%d", times, uid, pid
                )
            return f"uid {uid} is not in socket.allow_uids"
        if self._inside > self._max_connections:
            if times := self._seldom_too_many.times():
                log.warning(
                    "too_many_connections times=%d max=%d", times, self._max_connections
                )
            return f"too many connections: {self._max_connections} are open"
        return None
