"""Bodies unwrapped: which hint counts, and what is found out on the way."""

import base64
import gzip
import zlib
from collections.abc import Mapping
from urllib.parse import urlencode

import pytest

from leanbase_relay.intake.answer import Declined, TooMuch
from leanbase_relay.intake.body import (
    FORM,
    MAX_SLOW_BYTES,
    inflated,
    unwrapped,
)
from tests.support.lz64 import compressed

TEXT = b'{"event":"e"}'
PACKED = gzip.compress(TEXT)
BASED = base64.b64encode(TEXT)
LZ64 = compressed(TEXT.decode()).encode()


NOTHING: Mapping[str, str] = {}


def text_of(
    body: bytes,
    path: str = "/batch",
    query: Mapping[str, str] = NOTHING,
    headers: Mapping[str, str] = NOTHING,
) -> bytes:
    return unwrapped(body, path=path, query=query, headers=headers, max_bytes=1 << 20)


def status_of(body: bytes, query: Mapping[str, str] = NOTHING) -> int:
    with pytest.raises(Declined) as no:
        text_of(body, query=query)
    return no.value.status


@pytest.mark.parametrize("hint", ["gzip", "GZIP-js", "lz64", "base64", "b64", "x", ""])
def test_gzip_shows_whatever_is_said_of_it(hint: str) -> None:
    assert text_of(PACKED, query={"compression": hint}) == TEXT
    assert text_of(PACKED, headers={"content-encoding": hint}) == TEXT


def test_what_is_said_to_be_gzip_must_be() -> None:
    assert status_of(TEXT, query={"compression": "gzip"}) == 400
    with pytest.raises(Declined, match="invalid gzip data"):
        text_of(TEXT, headers={"content-encoding": "gzip"})


def test_the_header_is_exact_and_the_query_is_not() -> None:
    assert text_of(TEXT, headers={"content-encoding": "GZIP"}) == TEXT
    assert status_of(TEXT, query={"compression": "GZIP"}) == 400


def test_the_query_wins_over_the_form_and_that_over_the_header() -> None:
    form = {"content-type": FORM, "content-encoding": "gzip"}
    said = urlencode({"data": LZ64, "compression": "lz64"}).encode()

    assert text_of(said, headers=form) == TEXT
    with pytest.raises(Declined, match="invalid gzip data"):
        text_of(said, headers=form, query={"compression": "gzip"})


@pytest.mark.parametrize("body", [TEXT, PACKED])
def test_a_body_of_base64_is_undone_on_every_path(body: bytes) -> None:
    assert text_of(base64.b64encode(body)) == TEXT


def test_a_second_layer_only_on_the_legacy_paths() -> None:
    twice = gzip.compress(BASED)

    assert [
        text_of(twice, path) for path in ("/e", "/capture", "/track", "/engage")
    ] == [TEXT] * 4
    assert [text_of(twice, path) for path in ("/batch", "/i/v0/e")] == [BASED] * 2


@pytest.mark.parametrize("inside", [b"\xff\xfe\xff", b"abc"])
def test_a_second_layer_that_is_no_text_is_none(inside: bytes) -> None:
    based = base64.b64encode(inside)

    assert text_of(gzip.compress(based), "/e") in (based, inside)
    assert text_of(gzip.compress(base64.b64encode(b"\xff\xfe\xff")), "/e") == (
        base64.b64encode(b"\xff\xfe\xff")
    )


def test_what_looks_like_base64_and_is_none_stays() -> None:
    text = b"A" * 128 + b"{}{}"

    assert text_of(text) == text


def test_the_query_wins_over_the_body() -> None:
    assert text_of(b"body", query={"data": TEXT.decode()}) == TEXT


def test_nothing_at_all_is_400() -> None:
    assert status_of(b"") == 400
    assert status_of(b"", {"data": ""}) == 400


def test_a_form_is_one_by_its_type_and_its_beginning() -> None:
    said = urlencode({"data": TEXT}).encode()

    assert text_of(said, headers={"content-type": FORM}) == TEXT
    assert text_of(said, headers={"content-type": f"{FORM}; charset=utf-8"}) == said
    assert text_of(b"ver=1", headers={"content-type": FORM}) == b"ver=1"
    with pytest.raises(Declined, match="expected form data"):
        text_of(TEXT, headers={"content-type": FORM})
    with pytest.raises(Declined, match="more than 100 form fields"):
        text_of(b"data=&" * 101, headers={"content-type": FORM})


@pytest.mark.parametrize("bad", [b"IZ", b"\xff\xff"])
def test_lz64_that_is_none_is_400(bad: bytes) -> None:
    form = urlencode({"data": bad, "compression": "lz64"}).encode()

    with pytest.raises(Declined, match="invalid lz64 data"):
        text_of(form, headers={"content-type": FORM})


def test_bounds_are_of_what_comes_out() -> None:
    for body in (TEXT, PACKED, BASED):
        with pytest.raises(TooMuch):
            unwrapped(body, path="/e", query={}, headers={}, max_bytes=len(TEXT) - 1)
        assert (
            unwrapped(body, path="/e", query={}, headers={}, max_bytes=len(TEXT))
            == TEXT
        )
    with pytest.raises(TooMuch):
        unwrapped(
            urlencode({"data": LZ64, "compression": "lz64"}).encode(),
            path="/e",
            query={},
            headers={"content-type": FORM},
            max_bytes=len(TEXT) - 1,
        )


def test_what_is_slow_to_undo_has_a_smaller_one() -> None:
    large = b"data=" + b"A" * MAX_SLOW_BYTES

    with pytest.raises(Declined, match="form bodies may have") as no:
        text_of(large, headers={"content-type": FORM})

    assert no.value.status == 413
    assert status_of(b"!" * (MAX_SLOW_BYTES + 1), query={"compression": "lz64"}) == 413


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (TEXT, None),
        (PACKED, "gzip"),
        (zlib.compress(TEXT), "deflate"),
        (zlib.compress(TEXT)[2:-4], "deflate"),
    ],
)
def test_v1_says_how_a_body_is_packed(body: bytes, encoding: str | None) -> None:
    assert inflated(body, encoding, max_bytes=1000) == TEXT


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (b"", None, 400),
        (TEXT, "gzip", 400),
        (TEXT, "deflate", 400),
        (gzip.compress(bytes(1000)), "gzip", 413),
    ],
)
def test_v1_declines_what_is_not_so(
    body: bytes, encoding: str | None, status: int
) -> None:
    with pytest.raises(Declined) as no:
        inflated(body, encoding, max_bytes=999)

    assert no.value.status == status
