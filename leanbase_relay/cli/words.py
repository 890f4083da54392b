"""Numbers as people read them, and strangers' text made harmless."""

_SIZES = ("KiB", "MiB", "GiB", "TiB")
_AGES = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def count(number: int, noun: str) -> str:
    """``1,200 events``."""
    return f"{number:,} {noun}" + "s" * (number != 1)


def size(number: int) -> str:
    """``1.2 MiB``."""
    if number < 1024:
        return f"{number} B"
    power = min((round(number * 1.00005).bit_length() - 1) // 10, len(_SIZES))
    return f"{number / 1024**power:.1f} {_SIZES[power - 1]}"


def age(seconds: float) -> str:
    """``3 min``; up to two hours in minutes, up to two days in hours."""
    for worth, unit in _AGES:
        if seconds >= 2 * worth or worth == 1:
            return f"{seconds // worth:.0f} {unit}"
    raise AssertionError("the last unit takes all")


def plain(text: str) -> str:
    """Without what a terminal might obey."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def cut(text: str, width: int) -> str:
    """The text, or its beginning and a mark that there was more."""
    return text if len(text) <= width else f"{text[: width - 1]}…"
