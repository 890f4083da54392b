"""Numbers as people read them: in `status`, in problem sentences, on the page."""

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


def rate(per_second: float) -> str:
    """``1,200/s``; what is slow is told by the minute: ``6/min``."""
    if per_second >= 9.95:
        return f"{per_second:,.0f}/s"
    if per_second >= 0.95:
        return f"{per_second:.1f}/s"
    return f"{per_second * 60:.0f}/min"
