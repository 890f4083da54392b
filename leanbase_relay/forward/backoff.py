"""Backoff: when to try again. The one place where retries live.

Full jitter between a floor and a ceiling that doubles with each attempt, so that a
thousand relays do not come back in the same second; `Retry-After` is a further floor.
What is held is probed slowly instead, at the longest delay.
"""

from collections.abc import Callable

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_result,
    wait_random_exponential,
)
from tenacity.wait import wait_base

from leanbase_relay.forward.verdict import Judgement, Verdict

FLOOR_SECONDS = 0.1


class Delay(wait_base):
    """The delay after an attempt, from its judgement."""

    def __init__(self, *, first_seconds: float, max_seconds: float) -> None:
        self._max_seconds = max_seconds
        self._jittered = wait_random_exponential(
            multiplier=first_seconds, max=max_seconds
        )

    def __call__(self, retry_state: RetryCallState) -> float:
        judgement = _judgement(retry_state)
        if judgement.verdict is Verdict.HELD:
            return max(self._max_seconds, judgement.not_before_seconds)
        return max(
            FLOOR_SECONDS, self._jittered(retry_state), judgement.not_before_seconds
        )


def retrying(
    *,
    first_seconds: float,
    max_seconds: float,
    attempts_before: int,
    sleep: Callable[[float], None],
    check_stop: Callable[[], None],
    on_delay: Callable[[Judgement, float], None],
) -> Retrying:
    """The policy of a lane: call it with an attempt that returns a `Judgement`.

    Args:
        first_seconds: the ceiling of the first delay.
        max_seconds: the ceiling that it doubles up to.
        attempts_before: of another batch, which was in vain too: the ceiling goes on
            from there, or an upstream that is down would hear of each new one at once.
        sleep: the clock's wait.
        check_stop: raises when the relay is stopping. It runs before each attempt,
            because a wait that a stop cut short would otherwise be followed by one
            more.
        on_delay: told the judgement and the delay before each.
    """

    def before(retry_state: RetryCallState) -> None:
        check_stop()
        if retry_state.attempt_number == 1:
            retry_state.attempt_number += attempts_before

    def before_sleep(retry_state: RetryCallState) -> None:
        on_delay(_judgement(retry_state), retry_state.upcoming_sleep)

    return Retrying(
        retry=retry_if_result(lambda j: j.verdict in (Verdict.LATER, Verdict.HELD)),
        wait=Delay(first_seconds=first_seconds, max_seconds=max_seconds),
        sleep=sleep,
        before=before,
        before_sleep=before_sleep,
    )


def _judgement(retry_state: RetryCallState) -> Judgement:
    assert retry_state.outcome is not None, "asked before the first attempt ended"
    judgement = retry_state.outcome.result()
    assert isinstance(judgement, Judgement), "an attempt returns a judgement"
    return judgement
