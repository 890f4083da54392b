"""Runs that are judged together come to what each comes to alone."""

from collections.abc import Callable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from leanbase_relay.intake.event import Judge, Judged
from leanbase_relay.intake.turn import TOGETHER_BYTES, Share, Turn

EVENT = b'{"event":"e","distinct_id":"u","uuid":"0189%04d-ac96-774b-bcce-b302099a8057"}'
LINES = (
    *(EVENT % number for number in range(4)),
    b"",
    b"  ",
    b"no event",
    b'{"event":"e"}',
    b'{"event":"","distinct_id":"u"}',
    b'{"project":"shop","event":"e","distinct_id":"u"}',
    b'{"project":"unknown","event":"e","distinct_id":"u"}',
    b"\xff",
    b'{"event":"e","distinct_id":"u"}{"event":"e","distinct_id":"u"}',
)
JUDGE = Judge(max_bytes=900 << 10, projects=frozenset({"default", "shop"}))

run = st.builds(
    lambda lines, end: b"\n".join(lines) + end,
    st.lists(st.sampled_from(LINES), min_size=1, max_size=6),
    st.sampled_from([b"\n", b"\r\n", b""]),
).filter(bool)


def judge(lines: bytes) -> Judged:
    return JUDGE.judge(lines, project="default", now_ms=0)


class Told:
    """What a turn tells, and when it asks to be ended."""

    def __init__(self) -> None:
        self.shares: list[tuple[int, Share]] = []
        self.judged: list[Judged] = []
        self.soon: list[Callable[[], None]] = []
        self.turn: Turn[int] = Turn(judge, self._taken, self.soon.append)

    def _taken(self, judged: Judged, shares: Sequence[tuple[int, Share]]) -> None:
        self.judged.append(judged)
        self.shares += shares


@given(runs=st.lists(run, min_size=1, max_size=8))
def test_each_gets_what_its_lines_alone_would_come_to(runs: list[bytes]) -> None:
    told = Told()

    for owner, one in enumerate(runs):
        told.turn.add(owner, one)
    for end in told.soon:
        end()

    assert [owner for owner, _ in told.shares] == list(range(len(runs)))
    for (_, share), one in zip(told.shares, runs, strict=True):
        alone = judge(one)
        assert share.lines == alone.lines
        assert share.events == alone.events
        assert share.blanks == alone.blanks
        assert share.refusals == alone.refusals
        assert share.size == len(one)
    (together,) = told.judged
    assert together.events == sum(share.events for _, share in told.shares)


def test_a_turn_asks_once_to_be_ended() -> None:
    told = Told()

    told.turn.add(1, LINES[0] + b"\n")
    told.turn.add(2, LINES[1] + b"\n")

    assert not told.judged
    (end,) = told.soon
    end()
    end()
    assert [one.events for one in told.judged] == [2]


def test_who_writes_much_goes_alone_and_after_those_before() -> None:
    told = Told()
    much = (LINES[0] + b"\n") * (TOGETHER_BYTES // len(LINES[0]))

    told.turn.add(1, LINES[1] + b"\n")
    told.turn.add(2, much)

    assert [owner for owner, _ in told.shares] == [1, 2]
    assert [judged.lines for judged in told.judged] == [1, much.count(b"\n")]


def test_no_more_than_so_much_is_held_back() -> None:
    told = Told()
    a_third = (LINES[0] + b"\n") * (TOGETHER_BYTES // 3 // len(LINES[0]) + 1)

    for owner in range(3):
        told.turn.add(owner, a_third)

    assert [owner for owner, _ in told.shares] == [0, 1, 2]
    assert len(told.judged) == 1
