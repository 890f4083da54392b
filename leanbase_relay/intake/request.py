"""A request as intake sees it, whoever speaks HTTP for it; and how long it may take."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from leanbase_relay.intake.answer import Answer


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a connection is waited for, and how many there may be.

    Attributes:
        connections: beyond it the longest idle one goes, and if none is, the new one.
        idle_seconds: between requests, and until one's headers are complete.
        body_seconds: for a body to arrive, and to find room for it.
        disk_seconds: for room among what waits for the disk.
    """

    connections: int = 256
    idle_seconds: float = 75.0
    body_seconds: float = 30.0
    disk_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Portion:
    """How much of a request may be taken in one way.

    Attributes:
        bytes: of the text inside the body. The upstream takes 100 MiB, but has
            more memory; and no SDK writes nearly as much.
        events: a text of the smallest of them would fill the memory many times over.
    """

    bytes: int = 20 << 20
    events: int = 50_000


@dataclass(frozen=True, slots=True)
class Head:
    """A request but for its body.

    Attributes:
        method, path, query: as they were sent.
        headers: found by their names in any case.
        peer: whose it is, for people.
        on_port: whether it came by TCP.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    peer: str
    on_port: bool


Read = Callable[[int], Awaitable[bytes]]
"""Reads the body, at most so many bytes of it; raises `Declined`."""
Serve = Callable[[Head, Read], Awaitable[Answer]]
"""Answers one request."""
