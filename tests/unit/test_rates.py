"""The rates: what the last minutes were like, from totals that are told at commits."""

import pytest

from leanbase_relay.observe.rates import KEPT_SECONDS, MOST_SAMPLES, POINTS, Rates
from leanbase_relay.store.totals import Totals
from tests.support.clock import FakeClock


class Told:
    """Rates, and a clock that goes on between what they are told."""

    def __init__(self, *, accepted: int = 0, delivered: int = 0) -> None:
        self.clock = FakeClock()
        self.totals = Totals(accepted, delivered)
        self.rates = Rates(self.clock, {"default": self.totals}, ["default"])

    def after(self, seconds: float, *, accepted: int, delivered: int = 0) -> None:
        self.clock.now += seconds
        self.totals = Totals(accepted, delivered)
        self.rates.note({"default": self.totals})


def test_what_was_before_the_start_is_not_taken_for_speed() -> None:
    told = Told(accepted=1_000_000, delivered=999_000)

    flow = told.rates.flow()

    assert (flow.taken, flow.delivered, flow.drain_seconds) == (0, 0, None)


def test_rates_are_of_the_last_ten_seconds() -> None:
    told = Told()
    told.after(100, accepted=5000, delivered=5000)
    for second in range(1, 11):
        told.after(1, accepted=5000 + 100 * second, delivered=5000 + 40 * second)

    flow = told.rates.flow()

    assert flow.taken == pytest.approx(100)
    assert flow.delivered == pytest.approx(40)
    assert flow.drain_seconds is None, "it grows"


def test_the_time_to_drain_counts_what_comes_in_meanwhile() -> None:
    told = Told(accepted=9000)
    for second in range(1, 11):
        told.after(1, accepted=9000 + 20 * second, delivered=120 * second)

    flow = told.rates.flow()

    assert flow.drain_seconds == pytest.approx((9200 - 1200) / 100)


def test_when_nothing_is_committed_any_more_rates_fade_without_a_timer() -> None:
    told = Told()
    told.after(1, accepted=50, delivered=50)
    told.clock.now += 60

    assert told.rates.flow().taken == 0


def test_a_burst_within_a_second_keeps_its_place_in_time() -> None:
    """Its last commit counts, though no sample was due at it."""
    told = Told()
    told.after(50.2, accepted=1)
    told.after(0.3, accepted=700)
    told.after(300, accepted=701)

    figures = told.rates.history()["in_per_second"]

    assert max(figures) == pytest.approx(70)
    assert figures[-1] == pytest.approx(0.1, abs=0.01), "of the step under way"


def test_it_is_bounded_however_often_it_is_told() -> None:
    told = Told()
    for number in range(5 * KEPT_SECONDS):
        told.after(0.5, accepted=number, delivered=number)

    history = told.rates.history()

    assert len(told.rates._samples) == MOST_SAMPLES
    assert len(history["backlog"]) == len(history["in_per_second"]) == POINTS
    assert history["in_per_second"][0] == pytest.approx(2)


def test_the_history_shows_the_lanes_one_by_one() -> None:
    clock = FakeClock()
    rates = Rates(clock, {}, ["default", "shop"])
    clock.now += 10
    rates.note({"shop": Totals(accepted=7), "default": Totals(accepted=5, delivered=5)})

    history = rates.history()

    assert history["lanes"]["shop"][-1] == 7
    assert history["lanes"]["default"][-1] == 0
    assert history["backlog"][-1] == 7


def test_a_step_that_is_over_is_drawn_the_same_at_the_next_look() -> None:
    """Else all bars of `status --watch` would tremble each second."""
    told = Told()
    for second in range(1, 61):
        told.after(1, accepted=second * second)
    before = told.rates.history()["in_per_second"]
    told.clock.now += 1

    assert told.rates.history()["in_per_second"][:-2] == before[:-1]


def test_a_young_relay_has_a_short_history() -> None:
    told = Told()
    told.after(25, accepted=1)

    assert len(told.rates.history()["backlog"]) == 3
