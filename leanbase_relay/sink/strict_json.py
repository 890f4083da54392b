"""JSON as strict as the service's parser, and the texts that it makes of values.

Python's own parser takes NaN, lone surrogates, any depth and any number; the
service refuses a whole batch for each of them.
"""

import json
import math
import re
from collections import Counter
from decimal import Decimal
from typing import Any, NoReturn

from leanbase_relay.sink.limits import Refusal

MAX_DEPTH = 127  # containers within each other, the envelope counted
LONGEST_PLAIN_INTEGER = 18  # digits that fit in 64 bits whatever they are

# Every backslash of valid JSON begins an escape inside a string, so reading them one
# after the other needs no other context. A group holds what has no partner.
_ESCAPES = re.compile(
    r"\\(?:u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}"
    r"|(u[dD][89a-fA-F][\da-fA-F]{2})|.)"
)


class RepeatedNames(dict[str, Any]):
    """An object in which some names came more than once; the last value counts."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        count = Counter(name for name, _ in pairs)
        self.names = frozenset(name for name in count if count[name] > 1)


def repeated_names(parsed: dict[str, Any]) -> frozenset[str]:
    """The names that came more than once in this object."""
    return parsed.names if isinstance(parsed, RepeatedNames) else frozenset()


def parse(body: bytes) -> Any:
    """The value that the body spells, or the service's 400."""
    text = body.decode()  # UTF-8: who unpacked the body has seen to it
    value = _decoded(_QUICK, text)
    if _has_lone_surrogate(text):
        raise _refusal("lone surrogate in hex escape")
    members = _count_members(value)
    if members is None:
        raise _refusal("recursion limit exceeded")
    return value if _surely_has(members, text) else _decoded(_THOROUGH, text)


def _decoded(decoder: json.JSONDecoder, text: str) -> Any:
    try:
        return decoder.decode(text)
    except RecursionError:
        raise _refusal("recursion limit exceeded") from None
    except ValueError as wrong:
        raise _refusal(str(wrong)) from None


def _surely_has(members: int, text: str) -> bool:
    """True if that many members are all that the text has: no name came twice.

    A member's colon follows a quote, or blanks. Where no blank stands before a colon,
    there are at least as many quotes before one as there are members.
    """
    if "\n" in text or "\r" in text or "\t" in text or " :" in text:
        return False
    return text.count('":') == members


def compact(value: Any) -> str:
    """The text that the service makes of a value: no blanks, names sorted."""
    match value:
        case None | bool() | str():
            return json.dumps(value, ensure_ascii=False)
        case dict():
            members = (f"{compact(k)}:{compact(value[k])}" for k in sorted(value))
            return "{" + ",".join(members) + "}"
        case list():
            return "[" + ",".join(map(compact, value)) + "]"
        case int() if -(2**63) <= value < 2**64:
            return str(value)
        case _:  # integers beyond 64 bits are doubles to the service
            return _double(float(value))


def _double(value: float) -> str:
    """As Rust spells it: 1e16 and 0.00001, where Python has 1e+16 and 1e-05."""
    digits, _, exponent = repr(value).partition("e")
    if not exponent:
        return digits
    if int(exponent) == -5:
        return format(Decimal(repr(value)), "f")
    return f"{digits}e{int(exponent)}"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    return plain if len(plain) == len(pairs) else RepeatedNames(pairs)


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"number out of range: {digits[:20]}")
    return value


def _integer(digits: str) -> int | float:
    if len(digits) > LONGEST_PLAIN_INTEGER:
        _float(digits)
    return -0.0 if digits == "-0" else int(digits)


def _constant(name: str) -> NoReturn:
    raise ValueError(f"expected value, found {name}")


def _refusal(what: str) -> Refusal:
    return Refusal(400, f"failed to parse request: {what}")


def _has_lone_surrogate(text: str) -> bool:
    if "\\" not in text or ("\\ud" not in text and "\\uD" not in text):
        return False
    return any(escape[1] for escape in _ESCAPES.finditer(text))


def _count_members(value: Any) -> int | None:
    """How many members all objects have together; None if they nest too deep."""
    level = [value] if type(value) in _CONTAINERS else []
    members = 0
    for _ in range(MAX_DEPTH):
        members += sum([len(each) for each in level if type(each) is dict])
        level = [
            child
            for parent in level
            for child in (parent if type(parent) is list else parent.values())
            if type(child) in _CONTAINERS
        ]
        if not level:
            return members
    return None


_CONTAINERS = frozenset({dict, list})
_QUICK = json.JSONDecoder(
    parse_float=_float, parse_int=_integer, parse_constant=_constant
)
_THOROUGH = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_float=_float,
    parse_int=_integer,
    parse_constant=_constant,
)
