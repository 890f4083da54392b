"""SQLite's pages as we read them; against SQLite itself in `properties/test_pages`."""

import pytest

from leanbase_relay.store import pages
from leanbase_relay.store.pages import Row, Unreadable
from leanbase_relay.store.schema import PAGE_BYTES


@pytest.mark.parametrize(
    ("data", "number"),
    [
        (b"\x00", 0),
        (b"\x7f", 127),
        (b"\x81\x00", 128),
        (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff", 2**63 - 1),
        (b"\xff" * 9, -1),
        (b"\xc0\x80\x80\x80\x80\x80\x80\x80\x00", -(2**63)),
    ],
)
def test_a_number_has_one_to_nine_bytes(data: bytes, number: int) -> None:
    assert pages.varint(data + b"rest", 0) == (number, len(data))


def test_a_number_that_does_not_end_is_none() -> None:
    with pytest.raises(IndexError):
        pages.varint(b"\xff\xff", 0)


def test_a_row_is_taken_apart() -> None:
    row = b"\x07\x00\x01\x08\x09\x0f\x10" + b"\xfb" + b"a" + b"\x00\x01"

    assert pages.shape(row) == "niiitb"
    assert pages.values(row, 7) == Row(7, (None, -5, 0, 1, "a", b"\x00\x01"))


def test_a_row_that_is_cut_off_gives_what_it_has() -> None:
    row = b"\x03\x0f\x14" + b"a" + b"\x00\x01\x02\x03"

    assert pages.values(row[:-2]) == Row(None, ("a", b"\x00\x01"), whole=False)


@pytest.mark.parametrize(
    "row",
    [
        b"",
        b"\x05\x00",  # its head goes on beyond its end
        b"\x02\x0a",  # a type that SQLite keeps for itself
        b"\x02\x81\x00",  # the last type ends behind the head
        b"\x02\x07" + bytes(8),  # a float: we keep none
        b"\x02\x0f\xff",  # text that is no UTF-8
    ],
)
def test_what_is_no_row_is_not_taken_for_one(row: bytes) -> None:
    with pytest.raises(Unreadable):
        pages.values(row)


def test_a_page_that_says_it_has_more_rows_than_fit_is_unreadable() -> None:
    page = b"\x0d\x00\x00\xff\xff" + bytes(PAGE_BYTES - 5)

    with pytest.raises(Unreadable):
        list(pages.cells(page, 2))


def test_a_row_that_would_begin_or_end_outside_its_page_is_left_out() -> None:
    places = b"\x0f\xff" + b"\xff\xff" + b"\x0f\x00"
    page = bytearray(b"\x0d\x00\x00\x00\x03\x00\x00\x00" + places)
    page += bytes(PAGE_BYTES - len(page))
    page[0xF00:0xF05] = b"\x03\x01\x02\x00\x01"  # size 3, rowid 1, head, null, one byte
    page[0xFFF] = 0x7F

    assert [cell and cell.rowid for cell in pages.cells(bytes(page), 2)] == [
        None,
        None,
        1,
    ]


@pytest.mark.parametrize(("number", "is_map"), [(1, False), (2, True), (3, False)])
def test_a_page_for_the_map_comes_each_820(number: int, *, is_map: bool) -> None:
    assert pages.is_map(number) is is_map
    assert pages.is_map(number + 820) is (is_map if number > 1 else False)
    assert pages.map_of(821) == 2
    assert pages.map_of(823) == 822


@pytest.mark.parametrize(
    ("entry", "purpose"),
    [
        (b"\x02\x00\x00\x00\x00", pages.FREE),
        (b"\x02\x00\x00\x00\x01", None),  # what is free is below nothing
        (b"\x03\x00\x00\x00\x07", 3),
        (b"\x05\x00\x00\x00\x09", None),  # there are eight pages
        (b"\x04\x00\x00\x00\x00", None),
        (b"\x09\x00\x00\x00\x07", None),
    ],
)
def test_a_map_is_believed_where_it_can_be_right(
    entry: bytes, purpose: int | None
) -> None:
    page = (bytes(5) + entry).ljust(PAGE_BYTES, b"\0")

    assert pages.purpose(page, 4, last=8) == purpose
