"""Decodes lz64: lz-string's ``compressToBase64``, which old browser SDKs send. Pure.

The text is base64 of a bit stream. In it stand codes, lowest bit first, of a width
that grows with the dictionary: 0 and 1 announce a new character of 8 or 16 bits, 2
ends the stream, and every other number is what the dictionary has for it. The
dictionary grows with each code by what came last and the first character of what
comes now (LZW). Characters are units of UTF-16.
"""

import base64
import re

_NEW_8_BITS, _NEW_16_BITS, _END = range(3)
_CODES_BEFORE_ENTRIES = 3
_FIRST_WIDTH = 2
_WINDOW_BYTES = 8  # more than the widest code needs, wherever it begins

_OTHER = re.compile(r"[^A-Za-z0-9+/]+")
_BITS_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Broken(ValueError):
    """The text is no lz64, or not all of it."""


class TooLong(ValueError):
    """More comes out than is allowed."""


def decompress(text: str, *, max_characters: int) -> str:
    """What was compressed, found out before it is too long to keep.

    Raises:
        Broken: no end in it, a code for nothing, or half a character.
        TooLong: it has more characters, or bytes of UTF-8.
    """
    units = "".join(_Decoder(text).entries(max_characters))
    try:
        plain = units.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        raise Broken("half a character") from None
    if len(plain.encode()) > max_characters:
        raise TooLong
    return plain


class _Decoder:
    def __init__(self, text: str) -> None:
        text = _OTHER.sub("", text)  # padding too, which lz-string does in its own way
        packed = base64.b64decode(text + "A" * (-len(text) % 4))
        # Reversed, so that the lowest bit of a code is the lowest of its window.
        self._bits = packed.translate(_BITS_REVERSED)
        self._at = 0
        self._end = 6 * len(text)
        self._entries: list[str] = []

    def entries(self, max_characters: int) -> list[str]:
        """The pieces of the whole, in order.

        They bound the memory: the dictionary has each of them and a character more.
        """
        pieces: list[str] = []
        length = 0
        last = ""
        while self._at < self._end:
            piece = self._next(last)
            if piece is None:
                return pieces
            length += len(piece)
            if length > max_characters:
                raise TooLong
            pieces.append(piece)
            if last:
                self._entries.append(last + piece[0])
            last = piece
        if self._end:
            raise Broken("it has no end")
        return pieces

    def _next(self, last: str) -> str | None:
        """What the next code stands for; None at the end."""
        code = self._read(self._width(last))
        if code == _END:
            return None
        if code in (_NEW_8_BITS, _NEW_16_BITS):
            piece = chr(self._read(8 if code == _NEW_8_BITS else 16))
            self._entries.append(piece)
            return piece
        index = code - _CODES_BEFORE_ENTRIES
        if index < len(self._entries):
            return self._entries[index]
        if index == len(self._entries) and last:
            return last + last[0]  # the entry that this very code completes
        raise Broken(f"nothing has the code {code}")

    def _width(self, last: str) -> int:
        """Wide enough for the entry that this code completes, and one more."""
        if not last:
            return _FIRST_WIDTH
        return (_CODES_BEFORE_ENTRIES + len(self._entries)).bit_length()

    def _read(self, width: int) -> int:
        start, shift = divmod(self._at, 8)
        window = int.from_bytes(self._bits[start : start + _WINDOW_BYTES], "little")
        self._at += width
        if self._at > self._end:
            raise Broken("it ends in the middle of a code")
        return window >> shift & ((1 << width) - 1)
