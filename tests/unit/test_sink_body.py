import base64
import gzip
from collections.abc import Mapping
from urllib.parse import quote

import pytest

from leanbase_relay.sink.body import FORM, unwrap
from leanbase_relay.sink.limits import Limits, Refusal

EVENT = b'{"event":"e","distinct_id":"u","api_key":"phc_test"}'
PACKED = gzip.compress(EVENT)


def unwrapped(
    raw: bytes,
    *,
    path: str = "/batch",
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    limits: Limits | None = None,
) -> bytes:
    return unwrap(
        raw,
        path=path,
        query=query or {},
        headers=headers or {},
        limits=limits or Limits(),
    )


def test_plain_json_comes_through() -> None:
    assert unwrapped(EVENT) == EVENT


def test_gzip_is_seen_by_header_query_or_its_first_bytes() -> None:
    assert unwrapped(PACKED) == EVENT
    assert unwrapped(PACKED, headers={"content-encoding": "gzip"}) == EVENT
    assert unwrapped(PACKED, query={"compression": "GZIP-js"}) == EVENT
    assert unwrapped(PACKED, headers={"content-encoding": "br"}) == EVENT


def test_a_whole_body_of_base64_is_opened() -> None:
    assert unwrapped(base64.b64encode(EVENT)) == EVENT
    assert unwrapped(base64.b64encode(PACKED)) == EVENT


def test_a_second_layer_of_base64_is_opened_on_legacy_paths_only() -> None:
    packed = gzip.compress(base64.b64encode(EVENT))

    assert unwrapped(packed, path="/e") == EVENT
    assert unwrapped(packed, path="/batch") == base64.b64encode(EVENT)


def test_a_form_gives_its_data() -> None:
    raw = b"ver=1&data=" + quote(EVENT.decode()).encode()

    assert unwrapped(raw, headers={"content-type": FORM}) == EVENT


def test_base64_in_a_form_survives_pluses_that_became_blanks() -> None:
    event = b'{"event":"\xc3\xbe\xc3\xbe\xc3\xbe"}'.ljust(30)
    raw = b"data=" + base64.b64encode(event)
    assert b"+" in raw

    assert unwrapped(raw, path="/e", headers={"content-type": FORM}) == event


def test_data_of_the_query_comes_before_the_body() -> None:
    assert unwrapped(b"ignored", query={"data": EVENT.decode()}) == EVENT


@pytest.mark.parametrize(
    ("raw", "headers", "text"),
    [
        (b"", {}, "request missing data payload"),
        (b'{"\xff"}', {}, "failed to decode request: invalid UTF8"),
        (PACKED[:-9], {}, "failed to decode request: invalid GZIP"),
        (EVENT, {"content-encoding": "gzip"}, "failed to decode request: invalid GZIP"),
        (gzip.compress(b"\xff"), {}, "failed to decode request: invalid gzip"),
        (EVENT, {"content-type": FORM}, "failed to decode request: expected form"),
        (
            b"N4IgA",
            {"content-encoding": "lz64"},
            "failed to decode request: invalid lz64 data",
        ),
    ],
)
def test_what_cannot_be_decoded_is_400(
    raw: bytes, headers: Mapping[str, str], text: str
) -> None:
    with pytest.raises(Refusal, match=f"^{text}") as refused:
        unwrapped(raw, headers=headers)

    assert refused.value.status == 400


def test_a_gzip_bomb_is_413_before_it_fills_the_memory() -> None:
    bomb = gzip.compress(bytes(1000))

    assert unwrapped(bomb, limits=Limits(decompressed_bytes=1000)) == bytes(1000)
    with pytest.raises(Refusal, match=r"^maximum event size exceeded") as refused:
        unwrapped(bomb, limits=Limits(decompressed_bytes=999))

    assert refused.value.status == 413


def test_lz64_is_opened_in_a_form_as_old_browser_sdks_send_it() -> None:
    """`+` became a blank on the way; the text was made by lz-string 1.5.0."""
    packed = "N4IgpgbmB2AuIC5wgDQgCYEsDOtPQGNYB9TdREAV1RAEMAHTYgazAE8L6ALA42MXCAC+QA=="
    raw = b"compression=lz64&data=" + packed.replace("+", " ").encode()

    assert unwrapped(raw, path="/e", headers={"content-type": FORM}) == EVENT
    assert (
        unwrapped(
            b"data=" + quote(packed).encode(),
            path="/e",
            headers={"content-type": FORM},
            query={"compression": "LZ64"},
        )
        == EVENT
    )


def test_an_lz64_bomb_is_413() -> None:
    with pytest.raises(Refusal, match=r"^maximum event size exceeded") as refused:
        unwrapped(
            b"data=IY1/kA==&compression=lz64",
            headers={"content-type": FORM},
            limits=Limits(decompressed_bytes=19),
        )

    assert refused.value.status == 413
