"""JSON taken apart where its commas are, be it broken inside."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanbase_relay.intake import pieces
from leanbase_relay.intake.pieces import TooMany, Torn


def elements(text: bytes, at_most: int = 1000) -> list[bytes]:
    return pieces.elements(text, at_most=at_most)


def members(text: bytes, at_most: int = 1000) -> dict[str, bytes]:
    return pieces.members(text, at_most=at_most)


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.lists(values, max_size=5), st.sampled_from([None, 1]))
def test_the_elements_are_those_of_json(given: list[Any], indent: int | None) -> None:
    text = json.dumps(given, indent=indent).encode()

    assert [repr(json.loads(one)) for one in elements(text)] == [
        repr(json.loads(json.dumps(one))) for one in given
    ]


@given(st.dictionaries(st.text(max_size=5), values, max_size=5))
def test_the_members_are_those_of_json(given: dict[str, Any]) -> None:
    text = json.dumps(given, ensure_ascii=False).encode(errors="replace")

    found = {name: repr(json.loads(value)) for name, value in members(text).items()}

    assert found == {name: repr(value) for name, value in json.loads(text).items()}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"[]", []),
        (b"[ \n ]", []),
        (b"[1]", [b"1"]),
        (b'["]", "a\\"b,",{"c":[1,2]}]', [b'"]"', b'"a\\"b,"', b'{"c":[1,2]}']),
        (b"[NaN, tru, {\xff}, [}]", [b"NaN", b"tru", b"{\xff}", b"[}"]),
        (b"[" + b"[" * 5000 + b"]" * 5000 + b",2]", [b"[" * 5000 + b"]" * 5000, b"2"]),
    ],
)
def test_what_stands_between_commas_is_an_element(
    text: bytes, found: list[bytes]
) -> None:
    assert elements(text) == found


@pytest.mark.parametrize("text", [b"[1", b'["a]', b"[1]]", b"[1] 2", b"[1,]", b"[,1]"])
def test_what_does_not_hold_together_is_torn(text: bytes) -> None:
    with pytest.raises(Torn):
        elements(text)


@pytest.mark.parametrize("text", [b'{"a"}', b"{1:2}", b'{"\\x":1}', b'{"\xff":1}'])
def test_a_member_without_a_name_is_torn(text: bytes) -> None:
    with pytest.raises(Torn):
        members(text)


def test_of_a_member_given_twice_the_last_counts() -> None:
    assert members(b'{"a":1,"\\u0061":2}') == {"a": b"2"}


def test_the_end_of_a_line_inside_a_string_stays_wrong() -> None:
    """Else it would be mended when the event is brought onto one line."""
    (piece,) = elements(b'[{"a":\n"b\r\nc"}]')

    assert piece == b'{"a":\n"b\0\0c"}'


def test_no_more_are_taken_than_are_wanted() -> None:
    assert elements(b"[1,2,3]", 3) == [b"1", b"2", b"3"]
    with pytest.raises(TooMany):
        elements(b"[1,2,3" + b",]" * 10, 2)
    with pytest.raises(TooMany):
        members(b'{"a":1,"b":2}', 1)
