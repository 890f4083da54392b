"""Whatever an upstream says and however often it fails, a delay stays reasonable."""

import math

from hypothesis import given
from hypothesis import strategies as st
from tenacity import RetryCallState, Retrying

from leanbase_relay.forward.backoff import FLOOR_SECONDS, Delay
from leanbase_relay.forward.verdict import (
    MAX_RETRY_AFTER_SECONDS,
    Answer,
    Verdict,
    judge,
    retry_after_seconds,
)

DATES = st.builds(
    "{}, {} {} {} {}:{}:{} {}".format,
    st.sampled_from(["Mon", "Fri", "", "Freitag"]),
    st.integers(-1, 40),
    st.sampled_from(["Jan", "Feb", "Dec", "Mai", ""]),
    st.integers(-1, 99_999),
    st.integers(-1, 30),
    st.integers(-1, 70),
    st.integers(-1, 70),
    st.sampled_from(["GMT", "+0000", "-2359", "+9999", "-99999999999", "EST", ""]),
)
NUMBERS = st.one_of(st.integers(), st.floats()).map(str)
HOSTILE = st.one_of(st.text(max_size=60), DATES, NUMBERS)
WALL = st.floats(0, 4e9)


@given(text=HOSTILE, now=WALL)
def test_any_retry_after_is_between_nothing_and_an_hour(text: str, now: float) -> None:
    seconds = retry_after_seconds(text, now=now)

    assert 0 <= seconds <= MAX_RETRY_AFTER_SECONDS


@given(
    status=st.sampled_from([408, 425, 429, 500, 503, 504, 599, 401, 302]),
    retry_after=st.none() | HOSTILE,
    attempt=st.one_of(st.integers(1, 50), st.sampled_from([10_000, 1_000_000])),
    first=st.floats(0.001, 100),
    longest=st.floats(0.001, 100_000),
    now=WALL,
)
def test_any_delay_lies_between_floor_and_ceiling(
    status: int,
    retry_after: str | None,
    *,
    attempt: int,
    first: float,
    longest: float,
    now: float,
) -> None:
    judgement = judge(Answer(status=status, retry_after=retry_after), now=now)
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = attempt
    state.set_result(judgement)

    delay = Delay(first_seconds=first, max_seconds=longest)(state)

    assert math.isfinite(delay)
    assert delay >= judgement.not_before_seconds
    assert delay >= (longest if judgement.verdict is Verdict.HELD else FLOOR_SECONDS)
    assert delay <= max(FLOOR_SECONDS, longest, judgement.not_before_seconds)
