import pytest

from leanbase_relay.store.chunk import Damaged, Packed, join, pack, split, unpack

EVENTS = [
    b'{"event":"e","properties":{"price":1.10,"big":123456789012345678901234567890}}',
    b'{ "event" : "with, comma", "properties": {"a": [1, {"b": "}],[{"}]} }',
    '{"event":"é€😀","properties":{"escaped":"\\u00e9\\ud83d\\ude00"}}'.encode(),
]


def test_a_packed_chunk_gives_its_bytes_back() -> None:
    event_bytes = join(EVENTS)

    assert unpack(pack(event_bytes)) == event_bytes


def test_a_chunk_is_packed_smaller() -> None:
    event_bytes = join(EVENTS * 100)

    assert len(pack(event_bytes).data) < len(event_bytes) / 10


def test_what_is_joined_is_split_into_the_same_bytes() -> None:
    assert split(join(EVENTS)) == EVENTS
    assert split(join(EVENTS[:1])) == EVENTS[:1]


@pytest.mark.parametrize("place", range(0, 60, 7))
def test_a_flipped_bit_is_noticed_wherever_it_is(place: int) -> None:
    packed = pack(join(EVENTS))
    flipped = bytearray(packed.data)
    flipped[place] ^= 0x10

    with pytest.raises(Damaged, match="checksum"):
        unpack(Packed(bytes(flipped), packed.checksum))


def test_a_chunk_that_was_cut_is_noticed() -> None:
    packed = pack(join(EVENTS))

    with pytest.raises(Damaged):
        unpack(Packed(packed.data[:-1], packed.checksum))


def test_bytes_that_were_never_packed_are_damaged_too() -> None:
    """Their checksum is right: they were written so, by whatever mistake."""
    import zlib

    data = b"no deflate stream"

    with pytest.raises(Damaged, match="inflated"):
        unpack(Packed(data, zlib.crc32(data)))
