import threading

import pytest

from leanbase_relay.clock import Poke, SystemClock


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
