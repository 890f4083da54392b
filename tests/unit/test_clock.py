import threading

import pytest

from leanbase_relay.clock import Moment, Poke, SystemClock
from tests.support.clock import FakeClock


def test_a_poke_spares_the_next_wait_and_only_that() -> None:
    poke = Poke()
    poke.set()
    poke.set()

    assert poke.take(0)
    assert not poke.take(0)


def test_a_wait_ends_by_itself() -> None:
    clock = SystemClock()
    before = clock.monotonic()

    assert not clock.wait(0.002, clock.poke())
    assert clock.monotonic() - before >= 0.002


def test_a_poke_ends_a_wait() -> None:
    clock = SystemClock()
    poke = clock.poke()
    poke.set()

    assert not clock.wait(20, poke)


def test_a_stop_ends_every_wait_and_all_that_follow() -> None:
    clock = SystemClock()
    pokes = [clock.poke(), clock.poke()]
    ended: list[bool] = []
    waiting = [
        threading.Thread(target=lambda p=poke: ended.append(clock.wait(20, p)))
        for poke in pokes
    ]
    for thread in waiting:
        thread.start()

    clock.stop()
    for thread in waiting:
        thread.join()

    assert clock.stopping
    assert ended == [True, True]
    assert clock.wait(20, pokes[0])


def test_a_poke_made_after_the_stop_is_set() -> None:
    clock = SystemClock()
    clock.stop()

    assert clock.poke().take(0)


@pytest.mark.parametrize("seconds", [1e12, float(10**15)])
def test_a_wait_may_be_longer_than_the_platform_can(seconds: float) -> None:
    clock = SystemClock()
    poke = clock.poke()
    poke.set()

    assert not clock.wait(seconds, poke)


def test_a_moment_is_told_right_after_the_clock_was_set(clock: FakeClock) -> None:
    clock.wall_offset -= clock.wall()  # it is 1970
    moment = Moment.now(clock)
    clock.now += 60
    assert moment.told(clock) == pytest.approx(0)

    clock.wall_offset += 1_800_000_000

    assert clock.wall() - moment.told(clock) == pytest.approx(60)


def test_a_moment_is_not_moved_by_small_corrections(clock: FakeClock) -> None:
    moment = Moment.now(clock)
    clock.now += 3600
    clock.wall_offset += 0.9

    assert moment.told(clock) == moment.wall
