"""The compressed texts are lz-string 1.5.0's own: `LZString.compressToBase64`."""

import pytest

from leanbase_relay.lz64 import Broken, TooLong, decompress

VECTORS = [
    ("", "Q==="),
    ("a", "IZA="),
    ("aaaaaaaaaaaaaaaaaaaa", "IY1/kA=="),
    ("abcabcabcabc", "IYIwxqHpQ==="),
    (
        "žluťoučký kůň 漢字 😀😀 é",
        "n6ABsK6KaAD2aLCADWBfgBPQ9oCAlAZgie0OrazBeDcAA945AS6A",
    ),
    ("\u0000\u0001ÿĀ", "AAQA/4AIBA=="),
    (
        '{"event":"e","distinct_id":"u","api_key":"phc_test"}',
        "N4IgpgbmB2AuIC5wgDQgCYEsDOtPQGNYB9TdREAV1RAEMAHTYgazAE8L6ALA42MXCAC+QA==",
    ),
]
GROWING = "".join(f"{number:x};" for number in range(120))

GROWING_PACKED = (
    "AwbgjCBMIMwgLCArCAbCA7CAHCAnCAIYgBGIAxiACYgCmIAZuKGBGNGHGImCmOmCxhcYAmGJgyYS"
    "mBph6YJpFCQIkaJDiREkFJHSQskXJAKRikMpEqQakepCYxQMCDGgw4MRDBQx0MFgwuDAEMMQwZDC"
    "UMDQw9DBM8KDwEPDQ8HDwiPAo8OjwWPC48ATwxPBk8JTwNPD08ExIoEgQSNBIcEiISChI6EhYSLh"
    "IBEjESGRIlEg0SPRITKigqBCo0KhwqIioKKjoqFiouKgEqMSoZKiUqDSo9KhMGKAYEBjQGHAYiBg"
    "oGOgYLBAA==="
)
BOMB = (
    "IY18ZXTt/DFOS1b0c17Pd/wYUcSaWeRZVdTbXfQ408y62+x519z73/wMFDhI0WPETJU6TNlz5CxU"
    "uUrVa9Rs1btO3Xv0HDR4ydNnzFy1es3bd+w8dPnL12/cfPX7z99//AYFBwSGhYeERkVHRMbFxIUA"
)
HALF = "B6Xg2g=="


@pytest.mark.parametrize(("plain", "packed"), VECTORS)
def test_what_lz_string_compressed_comes_back(plain: str, packed: str) -> None:
    assert decompress(packed, max_characters=100_000) == plain


def test_codes_get_wider_as_the_dictionary_grows() -> None:
    assert decompress(GROWING_PACKED, max_characters=1000) == GROWING


def test_what_is_not_of_the_alphabet_is_skipped_as_lz_string_does() -> None:
    plain, packed = VECTORS[-1]

    assert decompress(packed[:4] + " \n" + packed[4:], max_characters=1000) == plain


@pytest.mark.parametrize("packed", ["A", "IZ", "/" * 400, GROWING_PACKED[:-6]])
def test_what_breaks_off_or_means_nothing_is_refused(packed: str) -> None:
    with pytest.raises(Broken):
        decompress(packed, max_characters=1000)


def test_half_a_character_is_refused() -> None:
    with pytest.raises(Broken, match="half a character"):
        decompress(HALF, max_characters=1000)


def test_a_bomb_is_found_out_before_it_fills_the_memory() -> None:
    """10,000 times the same letter, in 200 characters."""
    assert len(BOMB) < 200
    assert decompress(BOMB, max_characters=10_000) == "a" * 10_000
    with pytest.raises(TooLong):
        decompress(BOMB, max_characters=9_999)


def test_a_bomb_is_found_out_before_its_end_is_looked_for() -> None:
    with pytest.raises(TooLong):
        decompress(BOMB[:-8], max_characters=100)


def test_the_bound_is_of_bytes_too() -> None:
    plain, packed = next(vector for vector in VECTORS if "漢字" in vector[0])
    n_bytes = len(plain.encode())

    assert decompress(packed, max_characters=n_bytes) == plain
    with pytest.raises(TooLong):
        decompress(packed, max_characters=n_bytes - 1)
