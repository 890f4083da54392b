"""The shortcuts that make the sink quick change no answer."""

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from leanbase_relay.sink import envelope, strict_json, v1_batch
from leanbase_relay.sink.limits import Refusal
from leanbase_relay.sink.strict_json import RepeatedNames

NAMES = ["event", "uuid", "a", 'q"', "c:", '":', "t\t", " :", "\\"]
BLANKS = st.sampled_from(["", "", "", " ", "\n", "\t", "\r"])
UUID = "01890a5d-ac96-774b-bcce-b302099a8057"


@st.composite
def spelled(draw: st.DrawFn, depth: int = 3) -> str:
    """JSON with names that come twice, and blanks and colons in odd places."""
    if depth == 0 or draw(st.booleans()):
        return json.dumps(draw(st.sampled_from([None, 1, -0.0, 1e300, *NAMES])))
    if draw(st.booleans()):
        items = [draw(spelled(depth - 1)) for _ in range(draw(st.integers(0, 3)))]
        return "[" + ",".join(items) + "]"
    members = [
        json.dumps(draw(st.sampled_from(NAMES)))
        + draw(BLANKS)
        + ":"
        + draw(BLANKS)
        + draw(spelled(depth - 1))
        for _ in range(draw(st.integers(0, 4)))
    ]
    return "{" + ",".join(members) + "}"


def tree(value: Any) -> Any:
    """The value, with what came twice in it."""
    if isinstance(value, dict):
        names = sorted(value.names) if isinstance(value, RepeatedNames) else []
        return names, {name: tree(value[name]) for name in value}
    if isinstance(value, list):
        return [tree(each) for each in value]
    return repr(value)


@given(spelled())
@example('{"a" :1,"a":2}')
@example('{"a\\n:":{"a"\n:1,"a":1}}')
@example('{"a":"\\":","a":1}')
def test_the_quick_parser_sees_every_repeated_name(text: str) -> None:
    thorough = strict_json._THOROUGH.decode(text)

    assert tree(strict_json.parse(text.encode())) == tree(thorough)


def values() -> st.SearchStrategy[Any]:
    odd: list[Any] = [
        None,
        True,
        1,
        2**63,
        "",
        "x",
        " ",
        [],
        {},
        UUID,
        UUID.upper(),
        {"a": 1},
    ]
    return st.sampled_from(odd)


def events(names: list[str]) -> st.SearchStrategy[Any]:
    right = {
        "event": "e",
        "uuid": UUID,
        "distinct_id": "u",
        "timestamp": "2026-03-01T12:00:00Z",
        "properties": {},
    }
    changed = st.dictionaries(st.sampled_from(names), values(), max_size=3)
    removed = st.sets(st.sampled_from(sorted(right)), max_size=2)
    objects = st.builds(
        lambda changes, gone: {
            name: value
            for name, value in {**right, **changes}.items()
            if name not in gone
        },
        changed,
        removed,
    )
    repeated = objects.map(lambda event: RepeatedNames([*event.items()] * 2))
    return st.one_of(objects, repeated, values())


@given(events([*envelope.KNOWN_MEMBERS, "unknown"]))
def test_what_is_plainly_right_on_v0_is_right(event: Any) -> None:
    if not envelope._is_plainly_right(event):
        return

    assert isinstance(event["event"], str)
    assert envelope._complaint(event, envelope._MEMBERS) == ""


@given(events([*v1_batch._EVENT_MEMBERS, "properties", "unknown"]))
def test_what_is_plainly_right_on_v1_is_right(event: Any) -> None:
    if not v1_batch._is_plainly_right(event):
        return

    members, required = v1_batch._EVENT_MEMBERS, v1_batch._EVENT_REQUIRED
    assert v1_batch._complaint(event, members, required) == ""


@given(st.text(st.sampled_from('[]{}":, 1a'), max_size=30))
def test_nothing_but_json_is_parsed(text: str) -> None:
    try:
        strict_json._THOROUGH.decode(text)
        is_json = True
    except ValueError:
        is_json = False

    try:
        strict_json.parse(text.encode())
    except Refusal:
        assert not is_json
    else:
        assert is_json
