"""Strangers' text made harmless; and numbers, as the rest of the house says them."""

from leanbase_relay.words import age, count, rate, size

__all__ = ["age", "count", "cut", "plain", "rate", "size"]


def plain(text: str) -> str:
    """Without what a terminal might obey."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def cut(text: str, width: int) -> str:
    """The text, or its beginning and a mark that there was more."""
    return text if len(text) <= width else f"{text[: width - 1]}…"
