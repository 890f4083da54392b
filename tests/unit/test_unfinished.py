from leanbase_relay.intake.unfinished import SMALL_BYTES, Unfinished

MIB = 1 << 20


def test_while_there_is_room_nobody_has_to_give_up() -> None:
    lines: Unfinished[str] = Unfinished(3 * MIB)
    for owner in "abc":
        lines.note(owner, MIB)

    assert lines.surplus() is None


def test_who_stood_still_for_longest_gives_up_first() -> None:
    lines: Unfinished[str] = Unfinished(3 * MIB)
    for owner in "abca":
        lines.note(owner, MIB)
    lines.note("d", MIB)

    assert lines.surplus() == "b"
    lines.note("b", 0)
    assert lines.surplus() is None


def test_what_is_finished_makes_room() -> None:
    lines: Unfinished[str] = Unfinished(MIB)
    lines.note("a", MIB)
    lines.note("a", 0)
    lines.note("b", MIB)

    assert lines.surplus() is None


def test_small_ones_are_nobodys_fault() -> None:
    lines: Unfinished[int] = Unfinished(MIB)
    for owner in range(1000):
        lines.note(owner, SMALL_BYTES)

    assert lines.surplus() is None
