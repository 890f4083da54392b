"""What a question is: something to run, and the figures that come out of it."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

Sample = Mapping[str, float]
"""One round's figures, by key."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a question is given.

    Attributes:
        root: a directory on a real disk.
        events: a file of `count` events, one a line.
        count: how many events go through in the large runs.
        quick: whether to be short rather than precise.
    """

    root: Path
    events: Path
    count: int
    quick: bool

    @contextmanager
    def fresh(self) -> Iterator[Path]:
        """An empty directory for one run; its path is short enough for sockets."""
        with tempfile.TemporaryDirectory(prefix="run", dir=self.root) as place:
            yield Path(place)

    @contextmanager
    def kept(self, name: str, make: Callable[[Path], None]) -> Iterator[Path]:
        """A directory that is made once in a run, and kept for its later rounds."""
        place = self.root / name
        if not place.exists():
            place.mkdir()
            make(place)
        yield place

    def first(self, count: int) -> list[bytes]:
        """The first events, a line each with its newline."""
        with self.events.open("rb") as file:
            return list(islice(file, count))


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure is to be at least, or at most."""

    bound: float
    at_least: bool

    def met(self, value: float) -> bool:
        """Whether a figure is good enough."""
        return value >= self.bound if self.at_least else value <= self.bound


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        key: in the sample.
        label, unit: for people.
        target: what is asked of it, if anything is.
        beside: keys of the bare limits that are printed next to it, with their names.
        is_ratio: whether it can be compared between machines; such a figure has a
            target, which says which way is better. `check` holds it to the kept one.
        absent: what is said where the sample has no such figure; else it has no line.
    """

    key: str
    label: str
    unit: str
    target: Target | None = None
    beside: Mapping[str, str] | None = None
    is_ratio: bool = False
    absent: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """A question: `ask` runs one round of it."""

    name: str
    ask: Callable[[Setting], Sample]
    figures: tuple[Figure, ...]


def at_least(bound: float) -> Target:
    """A target from below."""
    return Target(bound, at_least=True)


def at_most(bound: float) -> Target:
    """A target from above."""
    return Target(bound, at_least=False)


def memory_figure(key: str = "rss_max_mb") -> Figure:
    """The most memory that the daemon took, which every large run shows."""
    return Figure(key, "  memory, the most", "MB", at_most(120), is_ratio=True)
