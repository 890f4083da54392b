"""Splicing: JSON objects, taken apart and put together again, their values untouched.

What an app wrote inside a value, down to the spelling of a number, is carried as it is:
nothing is decoded but the names. Pure.
"""

from collections.abc import Mapping

import msgspec

_raw_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_name = msgspec.json.encode


def members_of(text: bytes) -> dict[str, bytes]:
    """The members of an object, by their decoded names; of repeated ones the last.

    Raises:
        msgspec.DecodeError: the text is no JSON object.
    """
    return {name: bytes(value) for name, value in _raw_members(text).items()}


def inside(members: Mapping[str, bytes]) -> bytes:
    """What stands between the braces of an object with these members."""
    return b",".join([b"%b:%b" % (_name(name), members[name]) for name in members])


def object_of(members: Mapping[str, bytes]) -> bytes:
    """An object with these members."""
    return b"{%b}" % inside(members)
