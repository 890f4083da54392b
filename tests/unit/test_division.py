"""Halving: the order is kept, the guilty is found, and few requests are made for it."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from leanbase_relay.forward.division import Outcome, divide
from leanbase_relay.forward.sending import BatchSending, Sending
from leanbase_relay.forward.verdict import Verdict
from tests.support.batch import batch_of


def sending(events: int) -> BatchSending:
    return BatchSending(batch_of(*(b"%d" % number for number in range(events))))


def numbers(one: Sending) -> list[int]:
    return [int(text) for text in one.batch.event_bytes.split(b",")]


def playing(
    verdict: Verdict, refuses: Callable[[list[int]], bool]
) -> tuple[Callable[[Sending], Outcome], list[list[int]], list[int]]:
    """What delivers as a lane does; its requests; and the order of what is decided."""
    asked: list[list[int]] = []
    decided: list[int] = []

    def deliver(one: Sending) -> Outcome:
        asked.append(numbers(one))
        if not refuses(asked[-1]):
            decided.extend(asked[-1])
            return Outcome(whole=True, largest=one.size)
        if one.undecided > 1:
            return divide(one, verdict, deliver)
        decided.extend(asked[-1])
        return Outcome(fat=verdict is Verdict.TOO_BIG)

    return deliver, asked, decided


@given(st.integers(2, 200), st.data())
def test_one_guilty_costs_two_requests_a_halving(
    events: int, data: st.DataObject
) -> None:
    guilty = data.draw(st.integers(0, events - 1))
    deliver, asked, decided = playing(Verdict.REFUSED, lambda n: guilty in n)

    divide(sending(events), Verdict.REFUSED, deliver)

    assert decided == list(range(events))
    assert 2 ** len(asked) <= events**2


@given(st.integers(2, 200), st.frozensets(st.integers(0, 199), max_size=9))
def test_whoever_is_guilty_everything_is_decided_once_and_in_order(
    events: int, guilty: frozenset[int]
) -> None:
    deliver, _, decided = playing(Verdict.REFUSED, lambda n: bool(guilty & set(n)))

    if guilty & set(range(events)):
        divide(sending(events), Verdict.REFUSED, deliver)
        assert decided == list(range(events))


@given(st.integers(2, 200), st.integers(1, 100))
def test_what_is_too_big_is_sent_in_parts_that_fit(events: int, most: int) -> None:
    deliver, asked, decided = playing(Verdict.TOO_BIG, lambda n: len(n) > most)

    outcome = divide(sending(events), Verdict.TOO_BIG, deliver)

    assert decided == list(range(events))
    assert not outcome.whole
    assert not outcome.fat
    taken = [one for one in asked if len(one) <= most]
    assert outcome.largest == max(
        len(b",".join(b"%d" % n for n in one)) for one in taken
    )
