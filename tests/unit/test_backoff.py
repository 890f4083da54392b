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


def delays(answers: list[Judgement], *, attempts_before: int = 0) -> list[float]:
    """The delays between the attempts that are made until the policy is done."""
    waited: list[float] = []
    policy = retrying(
        first_seconds=1,
        max_seconds=300,
        attempts_before=attempts_before,
        sleep=waited.append,
        check_stop=lambda: None,
        on_delay=lambda *_: None,
    )
    left = iter(answers)
    policy(lambda: next(left))
    assert list(left) == []
    return waited


def test_it_is_tried_until_there_is_a_decision() -> None:
    assert len(delays([LATER, HELD, LATER, DELIVERED])) == 3


def test_what_was_tried_in_vain_before_counts_for_the_ceiling() -> None:
    """A batch that is begun anew again and again must not hurry a sick upstream."""
    fresh = [delays([LATER, DELIVERED])[0] for _ in range(100)]
    later = [delays([LATER, DELIVERED], attempts_before=8)[0] for _ in range(100)]

    assert max(fresh) <= 1
    assert max(later) > 30
    assert max(later) <= 256
