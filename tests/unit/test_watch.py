import asyncio
import signal
import threading

import pytest

from leanbase_relay import systemd, watch
from leanbase_relay.watch import Failure, LoopPulse, Pulse, Watch
from tests.support.clock import FakeClock

LATE_SECONDS = 30.0
BUSY_SECONDS = 300.0


@pytest.fixture
def pulse(clock: FakeClock) -> Pulse:
    return Pulse(clock, late_seconds=LATE_SECONDS, busy_seconds=lambda: BUSY_SECONDS)


class Asleep(FakeClock):
    """A clock in whose waits a test may look around."""

    def __init__(self, seen: list[bool]) -> None:
        super().__init__()
        self.seen = seen
        self.look = self.sees_all_well

    def sees_all_well(self) -> bool:
        return True

    def wait(self, seconds: float, poke: object) -> bool:  # noqa: ARG002 - a stand-in
        self.seen.append(self.look())
        return False


# One thread.


def test_a_thread_at_work_moves_for_so_long(clock: FakeClock, pulse: Pulse) -> None:
    assert not pulse.stopping
    clock.now += BUSY_SECONDS
    assert pulse.moves()
    clock.now += 1
    assert not pulse.moves()

    assert not pulse.stopping  # it looked at the clock again
    assert pulse.moves()


def test_a_thread_that_waits_for_what_has_not_come_is_well_for_ever() -> None:
    seen: list[bool] = []
    clock = Asleep(seen)
    pulse = Pulse(clock, late_seconds=LATE_SECONDS, busy_seconds=lambda: BUSY_SECONDS)

    def look() -> bool:
        clock.now += 1e6
        return pulse.moves()

    clock.look = look
    pulse.wait(1e9, clock.poke())

    assert seen == [True]


def test_a_thread_that_does_not_notice_its_poke_is_still() -> None:
    seen: list[bool] = []
    clock = Asleep(seen)
    pulse = Pulse(clock, late_seconds=LATE_SECONDS, busy_seconds=lambda: BUSY_SECONDS)
    poke = clock.poke()

    def look() -> bool:
        clock.now += 1e6
        assert pulse.moves()
        poke.set()
        clock.now += LATE_SECONDS
        assert pulse.moves()
        clock.now += 1
        return pulse.moves()

    clock.look = look
    pulse.wait(1e9, poke)

    assert seen == [False]
    assert pulse.moves()  # it came back


def test_a_thread_that_does_not_notice_that_its_wait_is_over_is_still() -> None:
    seen: list[bool] = []
    clock = Asleep(seen)
    pulse = Pulse(clock, late_seconds=LATE_SECONDS, busy_seconds=lambda: BUSY_SECONDS)

    def look() -> bool:
        clock.now += 10 + LATE_SECONDS + 1
        return pulse.moves()

    clock.look = look
    pulse.wait(10, clock.poke())

    assert seen == [False]


def test_a_pulse_is_a_clock(clock: FakeClock, pulse: Pulse) -> None:
    assert pulse.monotonic() == clock.monotonic()
    assert pulse.wall() == clock.wall()
    assert pulse.since_boot() == clock.since_boot()
    assert pulse.boot_id == clock.boot_id
    assert not pulse.wait(5, pulse.poke())
    pulse.stop()
    assert clock.stopping
    assert pulse.wait(5, pulse.poke())


# The loop.


def test_a_loop_has_to_answer(clock: FakeClock) -> None:
    loop = asyncio.new_event_loop()
    pulse = LoopPulse(loop, clock, late_seconds=LATE_SECONDS)
    try:
        assert pulse.moves()
        clock.now += LATE_SECONDS + 1
        assert not pulse.moves()

        loop.call_soon(loop.stop)
        loop.run_forever()
        assert pulse.moves()
    finally:
        loop.close()


# All of them.


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(systemd, "notify", lambda *words: said.extend(words))
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    return said


def test_all_is_well_while_every_thread_moves(
    clock: FakeClock, told: list[str]
) -> None:
    hangs: list[bool] = []
    still = threading.Event()
    watched = Watch(clock, on_hang=lambda: hangs.append(True))
    watched.add("one", lambda: True)
    watched.add("other", lambda: not still.is_set())

    watched.step(lambda: "idle")
    assert told == ["STATUS=idle", "WATCHDOG=1"]

    still.set()
    for _ in range(3):
        clock.now += 60
        watched.step(lambda: "idle")
    assert told[2:] == ["STATUS=silent: other"]
    assert hangs == [True]

    still.clear()
    clock.now += 60
    watched.step(lambda: "idle")
    assert told[3:] == ["STATUS=idle", "WATCHDOG=1"]


def test_systemd_is_told_no_oftener_than_it_wants(
    clock: FakeClock, told: list[str]
) -> None:
    watched = Watch(clock, on_hang=lambda: None)
    for _ in range(100):
        watched.step(lambda: f"{clock.now} events")
        clock.now += 0.1

    assert told.count("WATCHDOG=1") == 2
    assert watched.late_seconds == 30


def test_a_thread_that_steps_every_few_seconds_may_be_so_late(
    clock: FakeClock, told: list[str]
) -> None:
    watched = Watch(clock, on_hang=lambda: None)
    began = clock.now
    watched.add_steps("writer", lambda: began, every_seconds=5)
    clock.now += 35
    watched.step(lambda: "idle")
    assert told[-1] == "WATCHDOG=1"

    clock.now += 6
    watched.step(lambda: "idle")
    assert told[-1] == "STATUS=silent: writer"


def test_without_systemd_nobody_looks(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    watched = Watch(clock, on_hang=lambda: None)

    assert watched.every_seconds is None
    watched.step(lambda: pytest.fail("nobody is to be told"))


def test_only_the_first_fall_counts() -> None:
    failure = Failure()
    failure.leaving = True
    first = OSError("first")
    failure.record("one", first)
    failure.record("other", OSError("second"))

    assert failure.error is first


def test_a_signal_is_waited_for_so_long() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        assert watch.next_signal({signal.SIGUSR2}, 0) is None
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
        assert watch.next_signal({signal.SIGUSR2}, 5) == signal.SIGUSR2
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
        assert watch.next_signal({signal.SIGUSR2}, None) == signal.SIGUSR2
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
