"""Delays: jittered between a floor and a ceiling, held ones slow, floors obeyed."""

import pytest
from tenacity import RetryCallState, Retrying

from leanbase_relay.forward.backoff import FLOOR_SECONDS, Delay, retrying
from leanbase_relay.forward.verdict import Judgement, Verdict

LATER = Judgement(Verdict.LATER)
HELD = Judgement(Verdict.HELD)
DELIVERED = Judgement(Verdict.DELIVERED)


def delay_after(attempt: int, judgement: Judgement) -> float:
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = attempt
    state.set_result(judgement)
    return Delay(first_seconds=1.0, max_seconds=300.0)(state)


@pytest.mark.parametrize(
    ("attempt", "ceiling"),
    [(1, 1.0), (2, 2.0), (5, 16.0), (10, 300.0), (10_000, 300.0)],
)
def test_a_delay_stays_between_floor_and_ceiling(attempt: int, ceiling: float) -> None:
    delays = [delay_after(attempt, LATER) for _ in range(300)]

    assert min(delays) >= FLOOR_SECONDS
    assert max(delays) <= ceiling
    assert max(delays) - min(delays) > ceiling / 3  # full jitter, not a fixed delay


def test_what_is_held_is_probed_slowly() -> None:
    assert delay_after(1, HELD) == 300.0


def test_retry_after_is_a_floor() -> None:
    assert delay_after(1, Judgement(Verdict.LATER, not_before_seconds=900)) == 900
    assert delay_after(1, Judgement(Verdict.HELD, not_before_seconds=900)) == 900


def attempts(answers: list[Judgement], max_attempts: int | None) -> int:
    """How many are made before the policy is done, or the answers are."""
    made = 0

    def attempt() -> Judgement:
        nonlocal made
        made += 1
        return answers[made - 1]

    retrying(
        first_seconds=1,
        max_seconds=2,
        max_attempts=max_attempts,
        sleep=lambda _: None,
        check_stop=lambda: None,
        on_delay=lambda *_: None,
    )(attempt)
    return made


def test_it_is_tried_until_there_is_a_decision() -> None:
    assert attempts([LATER, HELD, LATER, DELIVERED], None) == 4


def test_attempts_are_given_up_only_when_they_are_used_up() -> None:
    assert attempts([LATER] * 3, 3) == 3


def test_what_is_held_is_never_given_up() -> None:
    assert attempts([HELD] * 9 + [DELIVERED], 3) == 10
