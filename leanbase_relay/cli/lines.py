"""Lines of files, as runs of bytes that a socket can take. Pure but for reading.

Everything works on whole blocks: a Python step for each line would be the slowest
part of all the way upstream.
"""

import json
import re
from array import array
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


def from_line(found: Iterator[bytes], first: int) -> Iterator[bytes]:
    """The runs without the lines before `first`, which counts from 1."""
    before = first - 1
    for run in found:
        lines = run.count(b"\n")
        if before >= lines:
            before -= lines
        elif before:
            yield run.split(b"\n", before)[before]
            before = 0
        else:
            yield run


class Places:
    """Which line of which file a line of the connection was; and where to go on."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._numbers: list[int] = []
        self._names: list[str] = []
        self._blanks = array("Q")  # lines of the connection that the relay passes over
        self._lines = 0

    def begin(self, name: str, number: int = 1) -> None:
        """The next line is this one of this file."""
        self._firsts.append(self._lines + 1)
        self._numbers.append(number)
        self._names.append(name)

    def add(self, run: bytes) -> None:
        """These lines are sent."""
        lines = run.count(b"\n")
        if filled(run) != lines:
            self._blanks.extend(
                self._lines + number
                for number, line in enumerate(run.split(b"\n")[:-1], 1)
                if not line.strip()
            )
        self._lines += lines

    @property
    def filled(self) -> int:
        """How many lines were sent that are not blank."""
        return self._lines - len(self._blanks)

    def of(self, line: int) -> str:
        """Such as ``events.jsonl:17``."""
        file, number = self.at(line)
        return f"{self._names[file]}:{number}"

    def at(self, line: int) -> tuple[int, int]:
        """Which file it was, counted from 0, and which line of that."""
        place = max(bisect_right(self._firsts, line) - 1, 0)
        return place, line - self._firsts[place] + self._numbers[place]

    def after(self, settled: int) -> int:
        """The first line that is not settled, where so many are that are not blank."""
        blanks = bisect_right(
            range(len(self._blanks)),
            settled,
            # Before a blank there are as many filled lines as lines that are no blanks.
            key=lambda place: self._blanks[place] - place - 1,
        )
        return settled + blanks + 1
