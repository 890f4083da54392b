"""Answers: what the listener for metrics says, path by path. Pure.

A port of the loopback interface is open to every program of this machine, and so to its
browser, which a page of the internet can send there by a name that leads here. So a
port answers to its own address only. Nobody can change anything here: all is `GET`.
"""

import base64
import hashlib
import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from importlib import resources
from typing import Any

from leanbase_relay.errors import RelayError
from leanbase_relay.observe.metrics import CONTENT_TYPE

Look = Callable[[], dict[str, Any]]

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Asked:
    """The head of a request, as far as it matters."""

    method: str
    path: str
    host: str | None


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered."""

    body: bytes
    content_type: str = _TEXT
    status: HTTPStatus = HTTPStatus.OK
    headers: tuple[tuple[str, str], ...] = ()

    def encode(self, *, with_body: bool = True) -> bytes:
        """As it goes over the wire; one answer a connection."""
        headers = (
            ("Content-Type", self.content_type),
            ("Content-Length", str(len(self.body))),
            ("Connection", "close"),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            *self.headers,
        )
        head = f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers)
        return head.encode() + b"\r\n" + (self.body if with_body else b"")


def asked(head: bytes) -> Asked | None:
    """The request that this head makes; None if it is none of HTTP/1."""
    line, *fields = head.decode("latin-1").split("\r\n")
    match = re.fullmatch(r"([A-Z]{1,20}) (/[!-~]*) HTTP/1\.[01]", line)
    if match is None:
        return None
    names = [field.partition(":") for field in fields]
    hosts = [value.strip() for name, _, value in names if name.lower() == "host"]
    if len(hosts) > 1:
        return None
    return Asked(match[1], match[2].partition("?")[0], hosts[0] if hosts else None)


class Answers:
    """What each path answers.

    Args:
        look: the status, with rates and history.
        metrics: the text for Prometheus.
    """

    def __init__(self, look: Look, metrics: Callable[[], str]) -> None:
        self._look = look
        self._metrics = metrics
        self._pages: Mapping[str, Callable[[], Reply]] = {
            "/": page,
            "/status.json": self._status,
            "/metrics": lambda: Reply(self._metrics().encode(), CONTENT_TYPE),
            "/healthz": lambda: Reply(b"ok\n"),
            "/readyz": self._ready,
        }

    def to(self, request: Asked | None, *, on_port: bool) -> Reply:
        """The answer to a request.

        Args:
            request: None where it could not be read.
            on_port: of TCP, which a browser can reach, other than a Unix socket.
        """
        if request is None:
            return _no(HTTPStatus.BAD_REQUEST, "this is not HTTP/1.1")
        if on_port and not is_address(request.host):
            return _no(
                HTTPStatus.FORBIDDEN,
                "ask by the address in metrics.listen (127.0.0.1, localhost); behind a "
                "reverse proxy use a Unix socket there",
            )
        if request.method not in ("GET", "HEAD"):
            return _no(
                HTTPStatus.METHOD_NOT_ALLOWED, "GET only", ("Allow", "GET, HEAD")
            )
        found = self._pages.get(request.path)
        if found is None:
            return _no(HTTPStatus.NOT_FOUND, f"there is {', '.join(self._pages)}")
        try:
            return found()
        except RelayError as error:
            return _no(HTTPStatus.SERVICE_UNAVAILABLE, str(error))

    def _status(self) -> Reply:
        return Reply(json.dumps(self._look()).encode(), _JSON)

    def _ready(self) -> Reply:
        """Whether events are taken; where they go is another matter."""
        look = self._look()
        if look["state"] == "degraded":
            return _no(HTTPStatus.SERVICE_UNAVAILABLE, " ".join(look["problems"]))
        return Reply(b"ready\n")


def is_address(host: str | None) -> bool:
    """Whether a Host names the loopback interface, with or without a port."""
    name = re.sub(r":[0-9]{1,5}$", "", host or "").strip("[]").lower()
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


@cache
def page() -> Reply:
    """The page: nothing in it comes from elsewhere, nor could it."""
    text = resources.files(__package__).joinpath("page.html").read_text("utf-8")
    script, style = (_hashed(text, tag) for tag in ("script", "style"))
    policy = (
        f"default-src 'none'; script-src '{script}'; style-src '{style}'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return Reply(
        text.encode(),
        "text/html; charset=utf-8",
        headers=(
            ("Content-Security-Policy", policy),
            ("Referrer-Policy", "no-referrer"),
        ),
    )


def _hashed(text: str, tag: str) -> str:
    """The one script, or style, by the name that a browser's policy knows it by."""
    inside = text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
    digest = hashlib.sha256(inside.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _no(status: HTTPStatus, why: str, *headers: tuple[str, str]) -> Reply:
    return Reply(f"{why}\n".encode(), status=status, headers=headers)
