from leanbase_relay.intake.unfinished import (
    MAX_BYTES_TOGETHER,
    SMALL_BYTES,
    Unfinished,
)
from tests.support.clock import FakeClock

THIRD = MAX_BYTES_TOGETHER // 3


class Holder:
    """Notes in a list that it was to give up."""

    def __init__(self, peer: str, lines: Unfinished, given_up: list[str]) -> None:
        self.peer = peer
        self._lines = lines
        self._given_up = given_up

    def give_up_line(self) -> None:
        self._given_up.append(self.peer)
        self._lines.note(self, 0)


class Crowd:
    """Holders by their names."""

    def __init__(self, clock: FakeClock, *, max_line_bytes: int = 1 << 20) -> None:
        self.given_up: list[str] = []
        self._lines = Unfinished(clock, max_line_bytes=max_line_bytes)
        self._holders: dict[str, Holder] = {}

    def hold(self, name: str, size: int) -> None:
        new = Holder(name, self._lines, self.given_up)
        self._lines.note(self._holders.setdefault(name, new), size)


def test_while_there_is_room_nobody_has_to_give_up(clock: FakeClock) -> None:
    crowd = Crowd(clock)
    for name in "abc":
        crowd.hold(name, THIRD)

    assert crowd.given_up == []


def test_who_stood_still_for_longest_gives_up_first(clock: FakeClock) -> None:
    crowd = Crowd(clock)
    for name in "abca":
        crowd.hold(name, THIRD)

    crowd.hold("d", THIRD)
    crowd.hold("e", 2 * THIRD)

    assert crowd.given_up == ["b", "c", "a"]


def test_what_is_finished_makes_room(clock: FakeClock) -> None:
    crowd = Crowd(clock)
    crowd.hold("a", MAX_BYTES_TOGETHER)
    crowd.hold("a", 0)
    crowd.hold("b", MAX_BYTES_TOGETHER)

    assert crowd.given_up == []


def test_small_ones_are_nobodys_fault(clock: FakeClock) -> None:
    crowd = Crowd(clock)
    for number in range(3000):
        crowd.hold(str(number), SMALL_BYTES)

    assert crowd.given_up == []


def test_two_of_the_longest_find_room_however_long_they_may_be(
    clock: FakeClock,
) -> None:
    crowd = Crowd(clock, max_line_bytes=MAX_BYTES_TOGETHER)
    crowd.hold("a", MAX_BYTES_TOGETHER)
    crowd.hold("b", MAX_BYTES_TOGETHER)

    assert crowd.given_up == []
