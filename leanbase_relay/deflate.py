"""Deflate, for chunks and request bodies: ISA-L where there is a wheel, or zlib.

Both give the same format. ISA-L takes an eighth of zlib's time at level 1 on JSON like
ours, and neither holds the interpreter's lock meanwhile.
"""

import zlib

try:
    from isal import isal_zlib as library
except ImportError:
    import zlib as library  # type: ignore[no-redef]

_LEVEL = 1
_TIGHT_LEVEL = 6
_GZIP = 31  # window bits that ask zlib for a gzip header and trailer


class Corrupt(ValueError):
    """These bytes are not what `compress` wrote."""


def compress(data: bytes) -> bytes:
    """Deflate, with zlib's header."""
    return library.compress(data, _LEVEL)


def compress_tightly(data: bytes) -> bytes:
    """The same, a sixth smaller, at a tenth of the speed: for what lies for long."""
    return zlib.compress(data, _TIGHT_LEVEL)


def decompress(data: bytes) -> bytes:
    """Give back what `compress` was given.

    Raises:
        Corrupt: the bytes were changed.
    """
    try:
        return library.decompress(data)
    except Exception as error:
        raise Corrupt(str(error)) from error


def gzip(data: bytes) -> bytes:
    """Deflate, as `Content-Encoding: gzip` wants it."""
    return library.compress(data, _LEVEL, _GZIP)
