"""Bodies: the JSON text of a request, out of whatever it is wrapped in. Pure.

Protocol v0 has grown for years, and old SDKs still speak all of it: `?data=`, forms,
base64, gzip, lz64, in an order that matters. Whatever comes out is bounded while it
comes out, so that a small body cannot fill the memory.
"""

import base64
import binascii
from collections.abc import Mapping
from urllib.parse import parse_qsl

from leanbase_relay import deflate, lz64
from leanbase_relay.deflate import Packing
from leanbase_relay.intake.answer import Declined, TooMuch

MAX_BODY_BYTES = 20 << 20
"""Of a body as it comes over the wire: the upstream's own bound."""
MAX_SLOW_BYTES = 2 << 20
"""Of forms and lz64, which are slow and take much memory to undo, and which only
browsers ever send."""
_MAX_LZ64_PLAIN_BYTES = 8 << 20

FORM = "application/x-www-form-urlencoded"  # exactly: with a charset it is no form
LEGACY_PATHS = frozenset({"/e", "/capture", "/engage", "/track"})

_PACKINGS = {
    "gzip": "gzip",
    "gzip-js": "gzip",
    "lz64": "lz64",
    "lz-string": "lz64",
    "base64": "",  # undone before anybody asks
    "b64": "",
}
_GZIP_MAGIC = b"\x1f\x8b\x08"
_ZLIB_START = b"\x78"
_FORM_STARTS = (b"data=", b"ver=", b"_=", b"ip=", b"compression=")
_MAX_FORM_FIELDS = 100
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_LOOKED_AT_BYTES = 128


def unwrapped(
    body: bytes,
    *,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    max_bytes: int,
) -> bytes:
    """The text inside a body of protocol v0.

    Args:
        body: as it came.
        path: without a final slash.
        query: decoded.
        headers: found by names in small letters.
        max_bytes: of the text.

    Raises:
        Declined: it is not what it says, or too much comes out.
    """
    body = query.get("data", "").encode() or body
    if not body:
        raise Declined(400, "request missing data payload")
    if _looks_base64(body) and not body.startswith(_FORM_STARTS):
        body = _from_base64(body) or body
    form: Mapping[str, str] = {}
    if headers.get("content-type") == FORM:
        form = _read_form(body)
        body = form["data"].encode() if "data" in form else body
    hints = (query.get("compression", ""), form.get("compression", ""))
    text = _unpacked(body, hints, headers.get("content-encoding", ""), max_bytes)
    if path in LEGACY_PATHS and _looks_base64(text):
        text = _second_layer(text)
    return text


def inflated(body: bytes, encoding: str | None, *, max_bytes: int) -> bytes:
    """The text inside a body of protocol v1.

    Args:
        body: as it came.
        encoding: gzip, deflate or none.
        max_bytes: of the text.

    Raises:
        Declined: it is not packed as it says, or too much comes out.
    """
    if not body:
        raise Declined(400, "request body is empty", tag="empty_body")
    if encoding is None:
        return body
    packing: Packing = "gzip"
    if encoding == "deflate":
        packing = "zlib" if body.startswith(_ZLIB_START) else "raw"
    return _inflated(body, packing, max_bytes)


def _looks_base64(body: bytes, also: bytes = b"") -> bool:
    start = body[:_LOOKED_AT_BYTES]
    return len(body) % 4 == 0 and not start.translate(None, _BASE64 + also)


def _from_base64(body: bytes) -> bytes | None:
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        return None


def _second_layer(text: bytes) -> bytes:
    """What is below it, if that is text."""
    inside = _from_base64(text)
    try:
        (inside or b"").decode()
    except UnicodeDecodeError:
        return text
    return text if inside is None else inside


def _read_form(body: bytes) -> Mapping[str, str]:
    if not body.startswith(_FORM_STARTS):
        raise _undecodable(
            "expected form data in POST request payload; send JSON with Content-Type: "
            "application/json"
        )
    _check_slow("form", body)
    try:
        fields = parse_qsl(
            body.decode(errors="replace"),
            keep_blank_values=True,
            max_num_fields=_MAX_FORM_FIELDS,
        )
    except ValueError:
        raise _undecodable(f"more than {_MAX_FORM_FIELDS} form fields") from None
    form = dict(fields)
    # A plus sign that was not encoded has become a blank.
    if "data" in form and _looks_base64(form["data"].encode(), also=b" "):
        form["data"] = form["data"].replace(" ", "+")
    return form


def _unpacked(
    body: bytes, hints: tuple[str, ...], encoding: str, max_bytes: int
) -> bytes:
    """By the first hint that is known; the header alone must be spelled exactly."""
    said = [*(hint.lower() for hint in hints), encoding]
    packing = next((_PACKINGS[word] for word in said if word in _PACKINGS), None)
    if body.startswith(_GZIP_MAGIC) or packing == "gzip":
        return _inflated(body, "gzip", max_bytes)
    if packing == "lz64":
        return _from_lz64(body, max_bytes)
    if len(body) > max_bytes:
        raise _too_much(max_bytes)
    return body


def _inflated(body: bytes, packing: Packing, max_bytes: int) -> bytes:
    try:
        return deflate.inflate(body, packing, max_bytes=max_bytes)
    except deflate.Corrupt:
        name = "gzip" if packing == "gzip" else "deflate"
        raise _undecodable(f"invalid {name} data") from None
    except deflate.TooMuch:
        raise _too_much(max_bytes) from None


def _from_lz64(body: bytes, max_bytes: int) -> bytes:
    _check_slow("lz64", body)
    max_bytes = min(max_bytes, _MAX_LZ64_PLAIN_BYTES)
    try:
        return lz64.decompress(body.decode("ascii"), max_characters=max_bytes).encode()
    except (UnicodeError, lz64.Broken):
        raise _undecodable("invalid lz64 data") from None
    except lz64.TooLong:
        raise _too_much(max_bytes) from None


def _check_slow(kind: str, body: bytes) -> None:
    if len(body) > MAX_SLOW_BYTES:
        raise TooMuch(
            f"{kind} bodies may have {MAX_SLOW_BYTES} bytes here, plain JSON and gzip "
            f"more; this one has {len(body)}"
        )


def _too_much(max_bytes: int) -> TooMuch:
    return TooMuch(f"more than {max_bytes} bytes come out of this body")


def _undecodable(what: str) -> Declined:
    return Declined(
        400, f"failed to decode request: {what}", tag="request_decoding_error"
    )
