"""lz-string's `compressToBase64`, for what old browser SDKs send."""

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


class _Writer:
    """The state of lz-string's compressor, which its decoder follows step by step."""

    def __init__(self) -> None:
        self.bits: list[int] = []
        self._codes: dict[str, int] = {}
        self._unsaid: set[str] = set()  # characters that have a code, and no code sent
        self._width = 2
        self._left = 2

    def knows(self, text: str) -> bool:
        return text in self._codes

    def learn(self, text: str) -> None:
        self._codes[text] = len(self._codes) + 3
        if len(text) == 1:
            self._unsaid.add(text)

    def say(self, text: str) -> None:
        if text in self._unsaid:
            self._unsaid.remove(text)
            wide = ord(text) > 0xFF
            self.put(int(wide), self._width)
            self.put(ord(text), 16 if wide else 8)
            self._count()
        else:
            self.put(self._codes[text], self._width)
        self._count()

    def end(self) -> None:
        self.put(2, self._width)

    def put(self, value: int, width: int) -> None:
        self.bits += [value >> place & 1 for place in range(width)]

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._left = 1 << self._width
            self._width += 1


def compressed(text: str) -> str:
    """The text as lz64."""
    writer = _Writer()
    units = text.encode("utf-16-le", "surrogatepass")
    said = ""
    for at in range(0, len(units), 2):
        unit = chr(units[at] | units[at + 1] << 8)
        if not writer.knows(unit):
            writer.learn(unit)
        if writer.knows(said + unit):
            said += unit
            continue
        writer.say(said)
        writer.learn(said + unit)
        said = unit
    if said:
        writer.say(said)
    writer.end()
    bits = [*writer.bits, *[0] * (-len(writer.bits) % 6)]
    digits = [
        _ALPHABET[int("".join(map(str, bits[at : at + 6])), 2)]
        for at in range(0, len(bits), 6)
    ]
    return "".join(digits) + "=" * (-len(digits) % 4)
