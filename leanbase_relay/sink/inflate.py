"""Unpacks gzip and deflate within a bound."""

import zlib
from typing import Literal

Packing = Literal["gzip", "zlib", "deflate"]

_WINDOW_BITS: dict[Packing, int] = {"gzip": 31, "zlib": 15, "deflate": -15}


class Damaged(ValueError):
    """These bytes are not what the packing says, or not all of it."""


class TooMuch(ValueError):
    """More comes out than is allowed."""


def inflate(payload: bytes, packing: Packing, *, max_bytes: int) -> bytes:
    """The bytes inside.

    Raises:
        Damaged: they are not packed so, or end too soon.
        TooMuch: found out before they fill the memory.
    """
    stream = zlib.decompressobj(_WINDOW_BITS[packing])
    try:
        plain = stream.decompress(payload, max_bytes + 1)
    except zlib.error as error:
        raise Damaged(str(error)) from error
    if len(plain) > max_bytes:
        raise TooMuch
    if not stream.eof:
        raise Damaged("the stream ends too soon")
    return plain
