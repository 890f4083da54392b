import pytest

from leanbase_relay.sink.limits import Refusal
from leanbase_relay.sink.strict_json import compact, parse, repeated_names


@pytest.mark.parametrize(
    "body",
    [
        b"NaN",
        b'{"x":NaN}',
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e999]",
        b"[" + b"9" * 400 + b"]",
        b"[" + b"9" * 5000 + b"]",
        rb'["\ud83d"]',
        rb'["\ude00"]',
        rb'["\ud83dx\ude00"]',
        rb'["\\\uD83D"]',
        b'["\x01"]',
        b"\xef\xbb\xbf{}",
        b'{"a":1} x',
        b"{'a':1}",
        b'{"a":',
        b"",
        b"[" * 128 + b"]" * 128,
        b"[" * 100_000,
    ],
)
def test_what_the_service_cannot_parse_is_refused(body: bytes) -> None:
    with pytest.raises(Refusal, match=r"^failed to parse request: ") as refused:
        parse(body)

    assert refused.value.status == 400


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 127 + b"]" * 127,
        rb'["\ud83d\ude00"]',
        rb'["\\ud83d"]',
        b"[123456789012345678901234567890]",
        b"[1e308]",
        b' \n{"a": [0.1, -0, "\xc3\xa9"]}\t',
    ],
)
def test_what_is_merely_unusual_is_taken(body: bytes) -> None:
    parse(body)


def test_big_integers_keep_the_digits_that_came() -> None:
    assert parse(b"[123456789012345678901]") == [123456789012345678901]


def test_the_last_of_repeated_names_wins_and_the_repetition_is_known() -> None:
    parsed = parse(b'{"a":1,"b":2,"a":3}')

    assert parsed == {"a": 3, "b": 2}
    assert repeated_names(parsed) == {"a"}
    assert repeated_names(parse(b'{"a":1}')) == frozenset()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"string":"a","number":3}', '{"number":3,"string":"a"}'),
        (b'[ "a", null, true, "\xc3\xa9" ]', '["a",null,true,"é"]'),
        (b"23.40", "23.4"),
        (b"1e16", "1e16"),
        (b"1e-5", "0.00001"),
        (b"1e-7", "1e-7"),
        (b"-0", "-0.0"),
        (b"18446744073709551615", "18446744073709551615"),
        (b"18446744073709551616", "1.8446744073709552e19"),
    ],
)
def test_a_value_becomes_the_text_that_the_service_makes(
    body: bytes, text: str
) -> None:
    assert compact(parse(body)) == text
