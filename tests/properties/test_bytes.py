"""Bytes through: what the app spelled is what arrives, but for what must be mended."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from leanbase_relay.intake.event import Judge
from leanbase_relay.store.chunk import pack, split, unpack

MEMBERS = (
    ("event", '"order placed"'),
    ("distinct_id", '"user-1"'),
    ("uuid", '"01890a5d-ac96-774b-bcce-b302099a8057"'),
    ("timestamp", '"2026-03-01T12:00:00.120Z"'),
)
FREE = {"$cookieless_mode", "$process_person_profile", "$ip", "$geoip_disable"}

blanks = st.sampled_from(["", "", " ", "\t", "  \t "])
integers = st.integers().map(str) | st.sampled_from(["-0", "1" * 300])
fractions = st.builds(
    lambda sign, whole, tail, exponent: f"{sign}{whole}{tail}{exponent}",
    st.sampled_from(["", "-"]),
    st.integers(0, 10**20),
    st.sampled_from([".0", ".10", ".1234567890123456789", ""]),
    st.sampled_from(["", "e0", "E+2", "e-400", "E-05", "e250"]),
)


@st.composite
def spelled_text(draw: st.DrawFn, text: str) -> str:
    """A JSON string that spells the text: raw, or with any legal escape."""
    pieces = []
    for character in text:
        legal = [f"\\u{ord(character):04x}"] if ord(character) < 0x10000 else []
        if ord(character) >= 0x10000:
            high, low = divmod(ord(character) - 0x10000, 0x400)
            legal.append(f"\\u{0xD800 + high:04X}\\u{0xDC00 + low:04x}")
        if character not in '"\\' and ord(character) >= 0x20:
            legal.append(character)
        if character in '"\\/':
            legal.append("\\" + character)
        if character in "\b\f\n\r\t":
            legal.append("\\" + "bfnrt"["\b\f\n\r\t".index(character)])
        pieces.append(draw(st.sampled_from(legal)))
    return '"' + "".join(pieces) + '"'


texts = st.text(max_size=8).flatmap(spelled_text)
names = st.text(max_size=6).filter(lambda name: name not in FREE).flatmap(spelled_text)


def lists_of(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    items = st.tuples(blanks, inner, blanks).map("".join)
    return st.lists(items, max_size=4).map(lambda them: "[" + ",".join(them) + "]")


def objects_of(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.tuples(blanks, names, blanks, st.just(":"), blanks, inner, blanks)
    return st.lists(members.map("".join), max_size=4).map(
        lambda them: "{" + ",".join(them) + "}"
    )


values = st.recursive(
    st.sampled_from(["null", "true", "false", "[]", "{}", '"\\u0000"'])
    | integers
    | fractions
    | texts,
    lambda inner: lists_of(inner) | objects_of(inner),
    max_leaves=12,
)
properties = objects_of(values)


def through(line: str, *, disable_geoip: bool = False) -> bytes:
    """Out of the store again."""
    judge = Judge(
        max_bytes=1 << 20, projects=frozenset({"default"}), disable_geoip=disable_geoip
    )
    judged = judge.judge(line.encode() + b"\n", project="default", now_ms=0)
    assert judged.refusals == ()
    (chunk,) = judged.chunks
    (event,) = split(unpack(pack(chunk.event_bytes)))
    return event


def raw_members(text: bytes) -> list[tuple[str, str]]:
    """An object's members in order, each value as it is spelled.

    Without the library that the relay uses: values are found by parsing each prefix.
    """
    source = text.decode()
    decoder = json.JSONDecoder(parse_int=str, parse_float=str)
    found = []
    at = source.index("{") + 1
    while source[at:].lstrip(" \t,")[:1] != "}":
        at += len(source[at:]) - len(source[at:].lstrip(" \t,"))
        name, at = decoder.raw_decode(source, at)
        at += len(source[at:]) - len(source[at:].lstrip(" \t:"))
        _, end = decoder.raw_decode(source, at)
        found.append((name, source[at:end]))
        at = end
    return found


@settings(deadline=None)
@given(properties, blanks, st.permutations([*MEMBERS, ("properties", "")]))
def test_an_event_in_order_is_stored_as_it_came(
    properties: str, blank: str, members: list[tuple[str, str]]
) -> None:
    line = (f"{blank},{blank}").join(
        f'"{name}"{blank}:{blank}{value or properties}' for name, value in members
    )
    line = f"{{{blank}{line}{blank}}}"

    assert through(f"{blank}{line}{blank}") == line.encode()


@settings(deadline=None)
@given(properties, st.sets(st.sampled_from(["uuid", "timestamp"]), min_size=1))
def test_what_is_absent_is_added_behind_what_came(
    properties: str, absent: set[str]
) -> None:
    members = [*MEMBERS, ("properties", properties)]
    line = ",".join(
        f'"{name}": {value}' for name, value in members if name not in absent
    )

    event = through(f"{{{line} }}")

    kept = f"{{{line} ,".encode()
    assert event.startswith(kept)
    added = raw_members(b"{" + event.removeprefix(kept))
    assert {name for name, _ in added} == absent


@settings(deadline=None)
@given(
    properties,
    st.sampled_from(
        [
            {"distinct_id": "7"},
            {"timestamp": '"2026-03-01T14:00:00.120+02:00"'},
            {"uuid": '""'},
            {"offset": "0"},
            {"token": '"phc_secret"'},
            {"$set": "[ ]"},
        ]
    ),
)
def test_mending_a_member_leaves_the_others_spelled_as_they_were(
    properties: str, odd: dict[str, str]
) -> None:
    members = {**dict(MEMBERS), "properties": properties, "x": "[1.10, 1E2]", **odd}
    line = ", ".join(f'"{name}" : {value}' for name, value in members.items())

    event = dict(raw_members(through(f"{{{line}}}")))

    untouched = members.keys() - odd.keys() - {"timestamp" if "offset" in odd else ""}
    assert {name: event[name] for name in untouched} == {
        name: members[name] for name in untouched
    }
    assert event["properties"] == properties


@settings(deadline=None)
@given(properties)
def test_adding_to_properties_leaves_every_value_as_it_was(properties: str) -> None:
    line = ",".join(
        f'"{name}":{value}' for name, value in [*MEMBERS, ("properties", properties)]
    )

    event = dict(raw_members(through(f"{{{line}}}", disable_geoip=True)))

    assert dict(raw_members(event["properties"].encode())) == {
        **dict(raw_members(properties.encode())),
        "$geoip_disable": "true",
    }


@settings(deadline=None)
@given(st.lists(properties, min_size=1, max_size=6))
def test_neighbours_do_not_touch_each_other(many: list[str]) -> None:
    start = ",".join(f'"{name}":{value}' for name, value in MEMBERS)
    lines = [f'{{{start},"properties":{one}}}' for one in many]
    judge = Judge(max_bytes=1 << 20, projects=frozenset({"default"}))

    run = "\n".join(lines).encode()
    (chunk,) = judge.judge(run, project="default", now_ms=0).chunks

    assert split(chunk.event_bytes) == [line.encode() for line in lines]


def test_values_that_parsers_like_to_change_arrive_unchanged() -> None:
    kept: dict[str, Any] = {
        "price": "1.10",
        "big": "123456789012345678901234567890",
        "small": "1e-400",
        "zero": "-0",
        "text": '"\\u00e9\\/\\ud83d\\ude00"',
    }
    properties = "{" + ", ".join(f'"{name}": {kept[name]}' for name in kept) + "}"
    line = ",".join(
        f'"{name}":{value}' for name, value in [*MEMBERS, ("properties", properties)]
    )

    assert through(f"{{{line}}}").endswith(properties.encode() + b"}")
