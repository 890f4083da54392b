"""Pieces: a JSON text taken apart where its commas are, be it broken inside. Pure.

msgspec takes a request apart much faster, but all or nothing: one `NaN`, which
Python's own `json.dumps` writes, and none of its neighbours would be found. Here only
strings and brackets are looked at; what a piece is worth is for others to judge.
"""

import re
from collections.abc import Iterator

import msgspec

_WHOLE_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_STRING = re.compile(_WHOLE_STRING, re.DOTALL)
_TOKEN = re.compile(rb'%b|[\[\]{},]|"' % _WHOLE_STRING, re.DOTALL)
_MEMBER = re.compile(rb"\s*(%b)\s*:\s*(.*)" % _WHOLE_STRING, re.DOTALL)
_SPOILED = bytes.maketrans(b"\r\n", b"\0\0")
_DEEPER = frozenset(b"[{")
_HIGHER = frozenset(b"]}")
_COMMA, _QUOTE = b",", b'"'

_name = msgspec.json.Decoder(str).decode


class TooMany(ValueError):
    """There are more pieces than anybody wants."""


class Torn(ValueError):
    """The text ends where it should not, or goes on where it should end."""


def elements(text: bytes, *, at_most: int) -> list[bytes]:
    """What an array's text has between its commas, without the blanks around it.

    The text begins with its bracket.

    Raises:
        Torn: it cannot be told what belongs together.
        TooMany: found out on the way.
    """
    return list(_counted(_pieces(text), at_most))


def members(text: bytes, *, at_most: int) -> dict[str, bytes]:
    """The members of an object's text, each with the bytes of its value.

    The text begins with its bracket.

    Raises:
        Torn: it cannot be told what belongs together.
        TooMany: found out on the way.
    """
    found = {}
    for piece in _counted(_pieces(text), at_most):
        member = _MEMBER.fullmatch(piece)
        if member is None:
            raise Torn("a member has no name")
        try:
            found[_name(member[1])] = member[2]
        except (msgspec.DecodeError, UnicodeDecodeError) as bad:
            raise Torn(f"a member's name is none: {bad}") from None
    return found


def _counted(pieces: Iterator[bytes], at_most: int) -> Iterator[bytes]:
    for number, piece in enumerate(pieces):
        if number == at_most:
            raise TooMany
        yield piece


def _pieces(text: bytes) -> Iterator[bytes]:
    """The text between the commas of the outermost level."""
    start, depth = 1, 0  # behind the first bracket
    for token in _TOKEN.finditer(text):
        mark, at = token[0], token.start()
        if mark == _QUOTE:
            raise Torn("a string has no end")
        if mark[0] in _DEEPER:
            depth += 1
        elif mark[0] in _HIGHER:
            depth -= 1
            if depth == 0:
                yield from _last_piece(text, start, at)
                return
        elif mark == _COMMA and depth == 1:
            yield _some(text[start:at])
            start = at + 1
    raise Torn("it ends too soon")


def _last_piece(text: bytes, start: int, end: int) -> Iterator[bytes]:
    if text[end + 1 :].strip():
        raise Torn("it goes on after its end")
    if start > 1 or text[start:end].strip():
        yield _some(text[start:end])


def _some(piece: bytes) -> bytes:
    piece = piece.strip()
    if not piece:
        raise Torn("nothing stands beside a comma")
    if b"\n" in piece or b"\r" in piece:
        # No string of JSON goes over the end of a line, and none shall seem to be one
        # when the piece is brought onto a single line.
        piece = _STRING.sub(lambda string: string[0].translate(_SPOILED), piece)
    return piece
