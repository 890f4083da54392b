"""Unwraps a request: ``?data=``, form body, base64, gzip, lz64. Pure.

The order is the service's own and matters: a whole body of base64 is opened before
a form is looked for, and on the legacy paths what comes out may be base64 again.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Literal
from urllib.parse import parse_qsl

from leanbase_relay.lz64 import Broken, TooLong, decompress
from leanbase_relay.sink.inflate import Damaged, TooMuch, inflate
from leanbase_relay.sink.limits import Limits, Refusal

Compression = Literal["gzip", "lz64", "base64"]

FORM = "application/x-www-form-urlencoded"  # exactly: with a charset it is no form
LEGACY_PATHS = frozenset({"/e", "/capture", "/engage", "/track"})

_HINTS: Mapping[str, Compression] = {
    "gzip": "gzip",
    "gzip-js": "gzip",
    "lz64": "lz64",
    "lz-string": "lz64",
    "base64": "base64",
    "b64": "base64",
}
_GZIP_MAGIC = b"\x1f\x8b\x08"
_FORM_STARTS = (b"data=", b"ver=", b"_=", b"ip=", b"compression=")
_BASE64 = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
)
_BASE64_LOOKED_AT_BYTES = 128


def unwrap(
    raw: bytes,
    *,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    limits: Limits,
) -> bytes:
    """The JSON text inside, as UTF-8; or the service's refusal."""
    payload = query.get("data", "").encode() or raw
    if not payload:
        raise Refusal(400, "request missing data payload")
    if not payload.startswith(_FORM_STARTS) and _looks_base64(payload):
        payload = _from_base64(payload) or payload
    form: Mapping[str, str] = {}
    if headers.get("content-type") == FORM:
        form = _read_form(payload)
        payload = form["data"].encode() if "data" in form else payload
    payload = _decompress(payload, _hint(query, form, headers), limits)
    if path in LEGACY_PATHS and _looks_base64(payload):
        payload = _second_layer(payload)
    return payload


def _looks_base64(payload: bytes, *, also: bytes = b"") -> bool:
    start = payload[:_BASE64_LOOKED_AT_BYTES]
    return len(payload) % 4 == 0 and _BASE64.union(also).issuperset(start)


def _from_base64(payload: bytes) -> bytes | None:
    try:
        return base64.b64decode(payload, validate=True)
    except binascii.Error:
        return None


def _second_layer(payload: bytes) -> bytes:
    inner = _from_base64(payload)
    try:
        return payload if inner is None else _utf8(inner, "")
    except Refusal:
        return payload


def _read_form(payload: bytes) -> Mapping[str, str]:
    if not payload.startswith(_FORM_STARTS):
        raise _undecodable("expected form data in POST request payload")
    form = dict(parse_qsl(payload.decode(errors="replace"), keep_blank_values=True))
    if _looks_base64(form.get("data", "").encode(), also=b" "):
        form["data"] = form.get("data", "").replace(" ", "+")
    return form


def _hint(
    query: Mapping[str, str], form: Mapping[str, str], headers: Mapping[str, str]
) -> Compression | None:
    """What the sender says; the header alone must be spelled exactly."""
    return (
        _HINTS.get(query.get("compression", "").lower())
        or _HINTS.get(form.get("compression", "").lower())
        or _HINTS.get(headers.get("content-encoding", ""))
    )


def _decompress(payload: bytes, hint: Compression | None, limits: Limits) -> bytes:
    if hint == "gzip" or payload.startswith(_GZIP_MAGIC):
        return _utf8(_gunzip(payload, limits.decompressed_bytes), "invalid gzip data")
    if hint == "lz64":
        return _unlz64(payload, limits.decompressed_bytes)
    return _utf8(payload, "invalid UTF8 in request payload")


def _gunzip(payload: bytes, max_bytes: int) -> bytes:
    try:
        return inflate(payload, "gzip", max_bytes=max_bytes)
    except Damaged:
        raise _undecodable("invalid GZIP data") from None
    except TooMuch:
        raise _too_much(max_bytes) from None


def _unlz64(payload: bytes, max_bytes: int) -> bytes:
    try:
        return decompress(payload.decode("ascii"), max_characters=max_bytes).encode()
    except (UnicodeError, Broken):
        raise _undecodable("invalid lz64 data") from None
    except TooLong:
        raise _too_much(max_bytes) from None


def _too_much(max_bytes: int) -> Refusal:
    return Refusal(
        413,
        "maximum event size exceeded: "
        f"Decompressed payload would exceed {max_bytes} bytes",
    )


def _utf8(payload: bytes, complaint: str) -> bytes:
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise _undecodable(complaint) from None
    return payload


def _undecodable(what: str) -> Refusal:
    return Refusal(400, f"failed to decode request: {what}")
