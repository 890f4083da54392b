"""Tables: which pages of an image hold whose rows, with a table's tree or without it.

From the root of a table down every page is found that its tree leads to. Pages that are
cut off, because one above them is damaged, are told by the shape of their rows; those
that the map calls free are left out, since what they hold left the store long ago.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from leanbase_relay.store import pages
from leanbase_relay.store.image import Image
from leanbase_relay.store.pages import Row, Unreadable

# As `pages.shape` spells the rows of our tables; columns may have been added.
_SHAPES = {
    "chunk": re.compile("ntiiiib[ntib]*"),
    "dead_letter": re.compile("ntt[tn]{3}[in]tt[in]ib[ntib]*"),
    "known_id": re.compile("n"),
    "project": re.compile("ti{11,}"),
    "spool_file": re.compile("iitiib[in][ntib]*"),
    "sqlite_sequence": re.compile("ti"),
}
_WITHOUT_ROWID = {"project", "spool_file"}

OURS = frozenset(_SHAPES) - {"sqlite_sequence"}
"""The tables that a store has."""

_WITH_ROWS = (pages.TABLE_LEAF, pages.INDEX_LEAF, pages.INDEX_INNER)
_INNER = (pages.TABLE_INNER, pages.INDEX_INNER)


@dataclass(frozen=True, slots=True)
class Table:
    """Where the rows of a table are.

    Attributes:
        reached: pages that its tree leads to, in the order of the rows.
        orphans: pages with rows of its shape that no tree leads to, in order too.
        whole: whether all of its tree could be read.
    """

    reached: list[int] = field(default_factory=list)
    orphans: list[int] = field(default_factory=list)
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Schema:
    """What the schema table says.

    Attributes:
        roots: the first page of the tree of each table and index.
        whole: whether all of it could be read.
    """

    roots: dict[str, int]
    whole: bool

    @property
    def is_ours(self) -> bool:
        """Whether it is a store's; one name may have become another."""
        return len(OURS & self.roots.keys()) >= 3


def read_schema(image: Image) -> Schema:
    """Where the tables begin."""
    tree = _Tree(image, set())
    roots: dict[str, int] = {}
    whole = True
    for number in tree.reached(1):
        for row in image.rows(number):
            match row:
                case Row(_, (str(), str(name), str(), int(root), *_)):
                    roots[name] = root
                case _:
                    whole = False
    return Schema(roots, whole and not tree.unreadable)


def find(image: Image) -> dict[str, Table]:
    """The pages of each of our tables.

    The other trees, of indexes and of names that nobody knows, claim no page: one of
    those names may be a damaged one of ours.
    """
    seen: set[int] = set()
    found = {name: Table() for name in _SHAPES}
    for _ in _Tree(image, seen).reached(1):
        pass  # the schema's own
    for name, root in read_schema(image).roots.items():
        if name in found:
            tree = _Tree(image, seen, name)
            reached = list(tree.reached(root))
            found[name] = Table(reached, whole=not tree.unreadable)
    for name, _, number in sorted(_orphans(image, seen)):
        found[name].orphans.append(number)
    return found


def reached(image: Image, root: int) -> Iterator[int]:
    """The pages with rows that a tree leads to."""
    return _Tree(image, set()).reached(root)


class _Tree:
    """Goes through the pages of a tree, each once at most, whatever they say.

    Args:
        image: has the pages.
        seen: the pages of which it is known whose they are.
        table: whose rows it has, where these can be told.
    """

    def __init__(self, image: Image, seen: set[int], table: str = "") -> None:
        self._image = image
        self._seen = seen
        self._table = table
        self.unreadable = 0

    def reached(self, root: int) -> Iterator[int]:
        """Its pages with rows, in the order of the rows."""
        waiting = [root]
        while waiting:
            number = waiting.pop()
            page = self._page(number)
            if page is None:
                self.unreadable += 1
                continue
            what = pages.kind(page, number)
            if what in _WITH_ROWS:
                yield number
            if what in _INNER:
                waiting += reversed(self._below(page, number))

    def _page(self, number: int) -> bytes | None:
        """A page of a tree; None if it is none, or another tree's."""
        page = None if number in self._seen else self._image.page(number)
        if page is None or pages.kind(page, number) not in (*_WITH_ROWS, *_INNER):
            return None
        if self._table in _SHAPES and _whose(page, number) not in (None, self._table):
            return None
        self._seen.add(number)
        return page

    def _below(self, page: bytes, number: int) -> list[int]:
        try:
            return pages.children(page, number)
        except Unreadable:
            self.unreadable += 1
            return []


def _orphans(image: Image, seen: set[int]) -> Iterator[tuple[str, int, int]]:
    """Of each such page the table, the id of its first row, and the number."""
    for number in image.numbers():
        if number in seen or pages.is_map(number):
            continue
        # One that the map calls the rest of a row may be a page of rows after all; what
        # is such a rest begins with a page's number, and never looks like one.
        if image.purpose(number) == pages.FREE:
            continue
        page = image.page(number)
        if page is not None and (name := _whose(page, number)):
            yield name, _first_id(page, number), number


def _whose(page: bytes, number: int) -> str | None:
    """The table whose rows a page has; None if it has none, or none of ours."""
    what = pages.kind(page, number)
    if what not in _WITH_ROWS:
        return None
    with suppress(Unreadable):
        for cell in pages.cells(page, number):
            name = _named(cell.local) if cell else None
            if name and (name in _WITHOUT_ROWID) == (what != pages.TABLE_LEAF):
                return name
    return None


def _first_id(page: bytes, number: int) -> int:
    return next((c.rowid for c in pages.cells(page, number) if c and c.rowid), 0)


def _named(local: bytes) -> str | None:
    """The table that has rows of this shape."""
    try:
        shape = pages.shape(local)
    except Unreadable:
        return None
    names = (name for name, ours in _SHAPES.items() if ours.fullmatch(shape))
    return next(names, None)
