"""Presence: whether the files that are open still bear their names.

SQLite goes on with files that somebody removed, and the kernel with a lock upon one:
then all would be `stored`, and nothing of it kept.
"""

import os

from leanbase_relay.errors import StoreGone


class Presence:
    """Files as they are when it is made; those that are not there do not count."""

    def __init__(self, *paths: str) -> None:
        self._files = {path: look for path in paths if (look := _look(path))}

    def check(self) -> None:
        """See that they are still there.

        Raises:
            StoreGone: one is not, or another one is in its place.
        """
        for path, before in self._files.items():
            if _look(path) != before:
                raise StoreGone(
                    f"{path} was removed or replaced while the relay ran: what was in "
                    "it alone is gone. The relay ends; the next start goes on with "
                    "what is there"
                )


def _look(path: str) -> tuple[int, int] | None:
    """Which file it is; None if there is none."""
    try:
        look = os.stat(path)  # noqa: PTH116 - asked after each commit
    except FileNotFoundError:
        return None
    return look.st_dev, look.st_ino
