"""Pages: SQLite's file format, as far as rows can be found without SQLite. Pure.

For a file that SQLite gives up on as a whole because of one bad page. What is read here
may be anything, so that every length and every place is doubted: what cannot be is
`Unreadable`. After https://www.sqlite.org/fileformat2.html, for what our schema makes:
pages of 4 KiB with nothing reserved, text in UTF-8, `auto_vacuum`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from leanbase_relay.store.schema import PAGE_BYTES

TABLE_LEAF, TABLE_INNER = 0x0D, 0x05
INDEX_LEAF, INDEX_INNER = 0x0A, 0x02
_INNER = (TABLE_INNER, INDEX_INNER)

MAX_ROW_BYTES = 64 << 20
"""No row of ours is longer; a length beyond it is damage, and is not waited for."""

FILE_HEADER_BYTES = 100
OVERFLOW_BYTES = PAGE_BYTES - 4
"""What an overflow page carries, behind the number of the next one."""

_MAX_LOCAL_TABLE = PAGE_BYTES - 35
_MAX_LOCAL_INDEX = (PAGE_BYTES - 12) * 64 // 255 - 23
_MIN_LOCAL = (PAGE_BYTES - 12) * 32 // 255 - 23

# A map page says what each of the pages behind it is for.
_MAP_ENTRY_BYTES = 5
_MAPPED = PAGE_BYTES // _MAP_ENTRY_BYTES
_ROOT = 1
FREE = 2
"""In the map: a page that holds nothing any more."""
_OVERFLOW = (3, 4)
"""In the map: a page with the rest of a row."""
_BELOW_ROOT = 5

# By the type of a value: its letter, and how many bytes it takes.
_LETTERS = "niiiiiifii"
_BYTES = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)

Value = int | str | bytes | None


class Unreadable(ValueError):
    """These bytes are not what SQLite writes in that place."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A row, as far as its page has it.

    Attributes:
        rowid: of a table's row; None in an index.
        size: bytes of the whole row.
        local: its beginning, or all of it.
        overflow: the page on which it goes on; 0 = none.
    """

    rowid: int | None
    size: int
    local: bytes
    overflow: int = 0


class Row(NamedTuple):
    """A row's values, in the order of its columns.

    Attributes:
        whole: False if its end is missing; then the last value may be cut off.
    """

    rowid: int | None
    values: tuple[Value, ...]
    whole: bool = True


def kind(page: bytes, number: int) -> int:
    """Which of the four kinds of page it is; any other number is none of them."""
    return page[_start(number)]


def cells(page: bytes, number: int) -> Iterator[Cell | None]:
    """The rows that a page has; None for each that cannot be read.

    Raises:
        Unreadable: it is no page with rows.
    """
    what = kind(page, number)
    if what == TABLE_INNER:
        return
    for at in _places(page, number):
        try:
            yield _cell(page, at, what)
        except (Unreadable, IndexError):
            yield None


def children(page: bytes, number: int) -> list[int]:
    """The pages below an inner page, in order.

    Raises:
        Unreadable: it is no inner page.
    """
    start = _start(number)
    if page[start] not in _INNER:
        raise Unreadable("no inner page")
    places = [*_places(page, number), start + 8]
    return [int.from_bytes(page[at : at + 4]) for at in places]


def shape(local: bytes) -> str:
    """A letter for the type of each value: null, integer, float, text, blob.

    Raises:
        Unreadable: it is no row.
    """
    types, _ = _types(local)
    return "".join(map(_letter, types))


def values(payload: bytes, rowid: int | None = None) -> Row:
    """Take a row apart; one that is cut off gives what it has.

    Raises:
        Unreadable: it is no row.
    """
    types, at = _types(payload)
    found: list[Value] = []
    for each in types:
        size = (each - 12) // 2 if each >= 12 else _BYTES[each]
        part = payload[at : at + size]
        if len(part) < size:
            if _letter(each) == "b":
                found.append(part)
            return Row(rowid, tuple(found), whole=False)
        found.append(_value(each, part))
        at += size
    return Row(rowid, tuple(found))


def is_map(number: int) -> bool:
    """Whether a page is one that tells what others are for."""
    return number >= 2 and (number - 2) % (_MAPPED + 1) == 0


def map_of(number: int) -> int:
    """Which page tells what this one is for."""
    return number - (number - 2) % (_MAPPED + 1)


def purpose(map_page: bytes, number: int, last: int) -> int | None:
    """What a page is for, by its map; None if the entry cannot be one.

    Args:
        map_page: the page of `map_of` this one.
        number: of the page.
        last: the highest number that a page may have.
    """
    at = _MAP_ENTRY_BYTES * (number - map_of(number) - 1)
    what, parent = map_page[at], int.from_bytes(map_page[at + 1 : at + 5])
    has_parent = what in (*_OVERFLOW, _BELOW_ROOT)
    if has_parent:
        return what if 0 < parent <= last else None
    return what if what in (_ROOT, FREE) and parent == 0 else None


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where it ends.

    Raises:
        IndexError: it goes on beyond the data.
    """
    number = 0
    for place in range(at, at + 8):
        byte = data[place]
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            return number, place + 1
    number = number << 8 | data[at + 8]
    return number - (1 << 64 if number >= 1 << 63 else 0), at + 9


def _start(number: int) -> int:
    """The first page begins with the header of the file."""
    return FILE_HEADER_BYTES if number == 1 else 0


def _places(page: bytes, number: int) -> list[int]:
    """Where the cells of a page begin."""
    start = _start(number)
    what = page[start]
    if what not in (TABLE_LEAF, TABLE_INNER, INDEX_LEAF, INDEX_INNER):
        raise Unreadable("no page with rows")
    first = start + (12 if what in _INNER else 8)
    count = int.from_bytes(page[start + 3 : start + 5])
    end = first + 2 * count
    if end > PAGE_BYTES:
        raise Unreadable("more rows than a page can have")
    return [int.from_bytes(page[at : at + 2]) for at in range(first, end, 2)]


def _cell(page: bytes, at: int, what: int) -> Cell:
    if what in _INNER:
        at += 4  # the page before it
    size, at = varint(page, at)
    if not 0 < size <= MAX_ROW_BYTES:
        raise Unreadable("no row has this size")
    rowid = None
    if what == TABLE_LEAF:
        rowid, at = varint(page, at)
    here = _local_bytes(size, what)
    if at + here + (4 if here < size else 0) > PAGE_BYTES:
        raise Unreadable("it would end beyond its page")
    local = page[at : at + here]
    if here == size:
        return Cell(rowid, size, local)
    return Cell(rowid, size, local, int.from_bytes(page[at + here : at + here + 4]))


def _local_bytes(size: int, what: int) -> int:
    """How much of a row stands on its page."""
    most = _MAX_LOCAL_TABLE if what == TABLE_LEAF else _MAX_LOCAL_INDEX
    if size <= most:
        return size
    fitting = _MIN_LOCAL + (size - _MIN_LOCAL) % OVERFLOW_BYTES
    return fitting if fitting <= most else _MIN_LOCAL


def _types(payload: bytes) -> tuple[list[int], int]:
    """What the values are, and where they begin."""
    try:
        end, at = varint(payload, 0)
        types = []
        while at < end:
            each = payload[at]
            if each < 0x80:  # nearly all of them
                at += 1
            else:
                each, at = varint(payload, at)
            types.append(each)
    except IndexError:
        raise Unreadable("its head is cut off") from None
    if at != end or 10 in types or 11 in types or min(types, default=0) < 0:
        raise Unreadable("its head is not one")
    return types, end


def _letter(each: int) -> str:
    if each >= 12:
        return "t" if each % 2 else "b"
    return _LETTERS[each]


def _value(each: int, part: bytes) -> Value:
    """A value of ours; we keep no floats."""
    if each == 0:
        return None
    if each < 7:
        return int.from_bytes(part, signed=True)
    if each == 7:
        raise Unreadable("a value that is not ours")
    if each < 10:
        return each - 8
    if each % 2 == 0:
        return part
    try:
        return part.decode()
    except UnicodeDecodeError:
        raise Unreadable("its text is no text") from None
