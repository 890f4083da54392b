"""Seldom: single changes are said at once, a bad night in a few lines."""

from leanbase_relay.seldom import AT_ONCE, EVERY_SECONDS, Seldom
from tests.support.clock import FakeClock


def test_the_first_times_are_said_one_by_one(clock: FakeClock) -> None:
    seldom = Seldom(clock)

    assert [seldom.times() for _ in range(AT_ONCE + 1)] == [1] * AT_ONCE + [0]


def test_what_goes_on_is_said_now_and_then_and_loses_no_count(clock: FakeClock) -> None:
    seldom, said = Seldom(clock), []
    for _ in range(3600):
        clock.now += 1
        said.append(seldom.times())
    clock.now += EVERY_SECONDS
    said.append(seldom.times())

    assert sum(said) == 3601
    assert sum(times > 0 for times in said) <= AT_ONCE + 3600 / EVERY_SECONDS + 1


def test_after_a_quiet_time_it_is_as_at_first(clock: FakeClock) -> None:
    seldom = Seldom(clock)
    for _ in range(100):
        seldom.times()
    clock.now += AT_ONCE * EVERY_SECONDS
    seldom.times()

    assert seldom.times() == 1
