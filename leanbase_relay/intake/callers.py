"""Callers: whose requests are served on a port. Pure.

A port of the loopback interface is open to every program of this machine, and so to
the browser in it, which any page of the internet can ask to send requests there. Such
a page is kept out in three ways that a browser does not let it lie about: the name that
it asked for (a name of the internet's can be made to lead here), its origin, and the
browser's own word on how request and page are related.

Nothing of this is asked on a Unix socket: no browser reaches it, and a reverse proxy
that does has its own rules.
"""

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

_HOST = (
    "the relay answers to its address only (such as 127.0.0.1 or localhost), not to "
    "the name in this request's Host; point the SDK at the address in http.listen"
)
_PAGE = (
    "the relay takes events from pages of this machine only; for pages of the internet "
    "put a reverse proxy before a Unix socket in http.listen"
)


def kept_out(headers: Mapping[str, str]) -> str | None:
    """Why a caller is not served on a port; None for one who is.

    Args:
        headers: of the request.
    """
    host = headers.get("Host")
    if host is not None and not _is_address(host):
        return _HOST
    origin = headers.get("Origin")
    if origin is not None:
        return None if is_here(origin) else _PAGE
    # Without an origin it is no script's request, but an image's or a link's may be.
    referer = headers.get("Referer")
    if referer is not None and not is_here(referer):
        return _PAGE
    if headers.get("Sec-Fetch-Site") == "cross-site":
        return _PAGE
    return None


def for_page(headers: Mapping[str, str]) -> Mapping[str, str]:
    """What a browser wants to read in an answer before a page may have it.

    Args:
        headers: of a request that was not kept out.
    """
    origin = headers.get("Origin")
    if origin is None:
        return {}
    said = {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Credentials": "true",
        "Vary": "Origin",
    }
    if "Access-Control-Request-Method" in headers:
        wanted = headers.get("Access-Control-Request-Headers", "Content-Type")
        said["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
        said["Access-Control-Allow-Headers"] = wanted
    return said


@lru_cache(maxsize=256)
def is_here(url: str) -> bool:
    """Whether a page has this machine's loopback interface as its host."""
    try:
        parts = urlsplit(url)
        name = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme not in ("http", "https"):
        return False
    address = _address(name)
    return _is_local_name(name) if address is None else address.is_loopback


@lru_cache(maxsize=256)
def _is_address(host: str) -> bool:
    """Whether a Host names an address, or this machine: neither can be led astray."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return _is_local_name(name) or _address(name) is not None


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _is_local_name(name: str) -> bool:
    name = name.removesuffix(".")
    return name == "localhost" or name.endswith(".localhost")
