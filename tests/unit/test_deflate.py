import gzip
import zlib

import pytest

from leanbase_relay import deflate

DATA = b'{"event":"order placed"},' * 50


def test_it_is_zlibs_format_both_ways() -> None:
    assert zlib.decompress(deflate.compress(DATA)) == DATA
    assert deflate.decompress(zlib.compress(DATA)) == DATA


def test_nothing_can_be_compressed_too() -> None:
    assert deflate.decompress(deflate.compress(b"")) == b""


def test_gzip_is_what_content_encoding_means() -> None:
    assert gzip.decompress(deflate.gzip(DATA)) == DATA


@pytest.mark.parametrize(
    "data", [b"", b"x", b"no deflate", deflate.compress(DATA)[:-5]]
)
def test_what_was_not_compressed_is_corrupt(data: bytes) -> None:
    with pytest.raises(deflate.Corrupt):
        deflate.decompress(data)
