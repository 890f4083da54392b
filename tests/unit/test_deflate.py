import gzip
import zlib

import pytest

from leanbase_relay import deflate
from leanbase_relay.deflate import Packing

DATA = b'{"event":"order placed"},' * 50


def test_it_is_zlibs_format_both_ways() -> None:
    assert zlib.decompress(deflate.compress(DATA)) == DATA
    assert deflate.decompress(zlib.compress(DATA)) == DATA


def test_nothing_can_be_compressed_too() -> None:
    assert deflate.decompress(deflate.compress(b"")) == b""


def test_gzip_is_what_content_encoding_means() -> None:
    assert gzip.decompress(deflate.gzip(DATA)) == DATA
    assert gzip.decompress(deflate.gzip(b"", DATA, b"]")) == DATA + b"]"


@pytest.mark.parametrize(
    "data", [b"", b"x", b"no deflate", deflate.compress(DATA)[:-5]]
)
def test_what_was_not_compressed_is_corrupt(data: bytes) -> None:
    with pytest.raises(deflate.Corrupt):
        deflate.decompress(data)


@pytest.mark.parametrize(
    ("packing", "packed"),
    [
        ("gzip", gzip.compress(DATA)),
        ("zlib", zlib.compress(DATA)),
        ("raw", zlib.compress(DATA)[2:-4]),
        ("gzip", gzip.compress(DATA) + b"what follows is not looked at"),
    ],
)
def test_what_others_packed_is_inflated(packing: Packing, packed: bytes) -> None:
    assert deflate.inflate(packed, packing, max_bytes=len(DATA)) == DATA


@pytest.mark.parametrize(
    "packed", [b"", b"x", b"\x1f\x8b\x08junk", gzip.compress(DATA)[:-1]]
)
def test_what_breaks_off_or_is_none_is_corrupt(packed: bytes) -> None:
    with pytest.raises(deflate.Corrupt):
        deflate.inflate(packed, "gzip", max_bytes=len(DATA))


def test_a_wrong_checksum_is_corrupt() -> None:
    packed = bytearray(gzip.compress(DATA))
    packed[-5] ^= 1

    with pytest.raises(deflate.Corrupt):
        deflate.inflate(bytes(packed), "gzip", max_bytes=len(DATA))


def test_more_than_is_allowed_is_found_out_on_the_way() -> None:
    """Of 100 MB nothing but the first bytes come out."""
    bomb = gzip.compress(bytes(100_000_000))

    with pytest.raises(deflate.TooMuch):
        deflate.inflate(bomb, "gzip", max_bytes=1000)
    with pytest.raises(deflate.TooMuch):
        deflate.inflate(gzip.compress(DATA), "gzip", max_bytes=len(DATA) - 1)
