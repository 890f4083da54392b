import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanbase_relay import deflate
from leanbase_relay.deflate import Packing

DATA = b'{"event":"order placed"},' * 50


PACKERS = [deflate.compress, deflate.compress_tightly]


@pytest.mark.parametrize("pack", PACKERS)
def test_what_is_packed_is_one_plain_gzip(pack: Callable[[bytes], bytes]) -> None:
    packed = pack(DATA)

    strict = zlib.decompressobj(31)
    assert strict.decompress(packed) == DATA
    assert strict.eof
    assert strict.unused_data == b""
    assert deflate.decompress(packed) == DATA


def test_what_older_versions_packed_is_read() -> None:
    assert deflate.decompress(zlib.compress(DATA)) == DATA
    assert not deflate.can_be_joined(zlib.compress(DATA))
    assert not deflate.can_be_joined(gzip.compress(DATA))


@given(st.lists(st.tuples(st.binary(max_size=200), st.sampled_from(PACKERS))))
def test_texts_are_joined_without_unpacking_them(
    texts: list[tuple[bytes, Callable[[bytes], bytes]]],
) -> None:
    """One member, with the sums of the whole: a reader that checks is content."""
    whole = deflate.joined([pack(text) for text, pack in texts])

    strict = zlib.decompressobj(31)
    assert strict.decompress(whole) == b"".join(text for text, _ in texts)
    assert strict.eof
    assert strict.unused_data == b""


def test_they_are_joined_where_there_is_no_isal_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deflate, "library", zlib)

    whole = deflate.joined([deflate.compress(DATA), deflate.compress_tightly(DATA)])

    assert gzip.decompress(whole) == DATA * 2


def test_nothing_can_be_compressed_too() -> None:
    assert deflate.decompress(deflate.compress(b"")) == b""


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
