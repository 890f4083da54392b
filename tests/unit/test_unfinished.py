from leanbase_relay.intake.unfinished import SMALL_BYTES, Unfinished

MIB = 1 << 20


class Lines:
    """Owners by their names; who is given up is written down."""

    def __init__(self, max_bytes: int) -> None:
        self.given_up: list[str] = []
        self.account = Unfinished(max_bytes, self._give_up)

    def _give_up(self, owner: str) -> None:
        self.given_up.append(owner)
        self.account.note(owner, 0)


def test_while_there_is_room_nobody_has_to_give_up() -> None:
    lines = Lines(3 * MIB)
    for owner in "abc":
        lines.account.note(owner, MIB)

    assert lines.given_up == []


def test_who_stood_still_for_longest_gives_up_first() -> None:
    lines = Lines(3 * MIB)
    for owner in "abca":
        lines.account.note(owner, MIB)

    lines.account.note("d", MIB)
    lines.account.note("e", 2 * MIB)

    assert lines.given_up == ["b", "c", "a"]


def test_what_is_finished_makes_room() -> None:
    lines = Lines(MIB)
    lines.account.note("a", MIB)
    lines.account.note("a", 0)
    lines.account.note("b", MIB)

    assert lines.given_up == []


def test_small_ones_are_nobodys_fault() -> None:
    lines = Lines(MIB)
    for owner in range(1000):
        lines.account.note(str(owner), SMALL_BYTES)

    assert lines.given_up == []
