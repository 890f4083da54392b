"""Lines of files, as runs of bytes that a socket can take. Pure but for reading.

Everything works on whole blocks: a Python step for each line would be the slowest
part of all the way upstream.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator

BLOCK_BYTES = 1 << 20
MAX_HELD_BYTES = 32 << 20
"""Of a line whose end has not come; the relay takes none that is longer than 20 MiB."""

_OPENING = re.compile(rb"(?m)^([ \t]*\{)(?=[ \t]*\")")


def runs(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """Runs of whole lines; a last line without its newline gets one.

    Args:
        read: gives the next bytes, at most so many; none at the end.
    """
    held: list[bytes] = []
    held_bytes = 0
    skipping = False
    while block := read(BLOCK_BYTES):
        if skipping:
            _, newline, block = block.partition(b"\n")
            skipping = not newline
        end = block.rfind(b"\n") + 1
        if end:
            yield b"".join([*held, block[:end]])
            held, held_bytes = [], 0
        held.append(block[end:])
        held_bytes += len(block) - end
        if held_bytes > MAX_HELD_BYTES:
            skipping = True
            yield b"".join(held) + b"\n"
            held, held_bytes = [], 0
    if held_bytes:
        yield b"".join(held) + b"\n"


def filled(run: bytes) -> int:
    """How many lines of a run are not blank."""
    lines = run.count(b"\n")
    if run[:1] == b"{" and run.count(b"\n{") == lines - 1:
        return lines
    return sum(1 for line in run.split(b"\n") if line.strip())


def head(*, project: str | None, historical: bool) -> bytes:
    """What `with_head` puts before an event's own members; empty if there is nothing.

    The relay knows this spelling and takes it off at once for a whole run.
    """
    members = b'"historical_migration":true,' if historical else b""
    if project is not None:
        members += b'"project":%b,' % json.dumps(project).encode()
    return members


def with_head(run: bytes, members: bytes) -> bytes:
    """The run with these members at the head of each event; once, if they are there."""
    opening = b"{" + members
    run = (b"\n" + run).replace(b"\n" + opening, b"\n{")
    plain = run.count(b'\n{"')
    if plain == run.count(b"\n") - 1:
        return run.replace(b'\n{"', b"\n" + opening + b'"')[1:]
    return _OPENING.sub(lambda found: found[1][:-1] + opening, run)[1:]


class Places:
    """Which line of which file a line of the connection was."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._names: list[str] = []

    def begin(self, name: str, first: int) -> None:
        """The connection's line `first` is this file's first."""
        self._firsts.append(first)
        self._names.append(name)

    def of(self, line: int) -> str:
        """Such as ``events.jsonl:17``."""
        place = bisect_right(self._firsts, line) - 1
        return f"{self._names[place]}:{line - self._firsts[place] + 1}"
