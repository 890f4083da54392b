import pytest

from leanbase_relay.sink import Fault, Ruling, Script, Step
from leanbase_relay.sink.script import HONEST, Play

DOWN = Fault.answer(503)


def faults_of(script: Script, *times: float) -> str:
    """For requests at these times: ! for a fault, . for honesty."""
    play = Play(script)
    return "".join("." if play.next_fault(t) is HONEST else "!" for t in times)


def test_a_script_grows_without_changing_what_it_grew_from() -> None:
    start = Script()
    longer = start.then(Fault.answer(503), Fault.answer(429)).then(Fault.html())

    assert start.steps == ()
    assert [step.fault.status for step in longer.steps] == [503, 429, 200]


def test_faults_come_one_by_one_and_then_all_is_well() -> None:
    play = Play(Script().then(Fault.answer(503), Fault.answer(429)))

    statuses = [play.next_fault(0).status for _ in range(4)]
    assert statuses == [503, 429, None, None]


def test_a_fault_can_stay_for_ever() -> None:
    script = Script().then(DOWN).then_always(DOWN)

    assert faults_of(script, *range(9)) == "!!!!!!!!!"


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (Step(DOWN, times=2), "!!......"),
        (Step(DOWN, times=2, after=3), "...!!..."),
        (Step(DOWN, seconds=3), "!!!....."),
        (Step(DOWN, seconds=3, after=2), "..!!!..."),
        (Step(DOWN, every_seconds=2), "!!..!!.."),
        (Step(DOWN, every_seconds=2, seconds=5), "!!..!..."),
        (Step(DOWN, every_seconds=2, times=3), "!!..!..."),
        (Step(DOWN, every_seconds=1, after=1), ".!.!.!.!"),
        (Step(DOWN, times=5, seconds=2), "!!......"),
    ],
)
def test_a_step_lasts_as_long_as_it_says(step: Step, expected: str) -> None:
    """A request a second, from 100 s on."""
    assert faults_of(Script((step,)), *range(100, 108)) == expected


def test_time_runs_from_the_first_request_that_a_step_meets() -> None:
    script = Script((Step(DOWN, times=1), Step(DOWN, seconds=10)))

    assert faults_of(script, 0, 1000, 1009, 1010, 1011) == "!!!.."


def test_a_step_whose_time_is_up_makes_room_for_the_next_at_once() -> None:
    other = Fault.html()
    play = Play(Script((Step(DOWN, seconds=1), Step(other))))

    assert [play.next_fault(t) for t in (0, 60)] == [DOWN, other]


def test_retry_after_is_a_header() -> None:
    fault = Fault.answer(503, retry_after=3)

    assert fault.headers == {"Retry-After": "3"}


@pytest.mark.parametrize(
    ("fault", "stored"),
    [
        (Fault(), 5),
        (Fault(status=204), 5),
        (Fault.answer(503), 0),
        (Fault.redirect("/elsewhere"), 0),
        (Fault.html(), 0),
        (Fault.partial(3), 3),
        (Fault.partial(9), 5),
        (Fault.cut_off(), 5),
        (Fault.reset(after_body=True), 5),
        (Fault.reset(after_body=True, stores=0), 0),
        (Fault.reset(after_body=False), 0),
        (Fault.hang(1), 0),
        (Fault.drip(1), 5),
        (Fault.huge(1), 5),
        (Fault.skewed(1), 5),
    ],
)
def test_a_fault_says_how_much_is_stored(fault: Fault, stored: int) -> None:
    assert fault.stored_of(5) == stored


@pytest.mark.parametrize(
    ("ruling", "stored"),
    [
        (Ruling("ok"), True),
        (Ruling("warning"), True),
        (Ruling("limited"), True),
        (Ruling("some_future_word"), True),
        (Ruling("drop"), False),
        (Ruling("retry"), False),
        (Ruling(None), False),
        (Ruling("retry", stores=True), True),
        (Ruling("ok", stores=False), False),
    ],
)
def test_a_word_says_whether_the_event_is_stored(ruling: Ruling, stored: bool) -> None:  # noqa: FBT001 - a parameter
    assert ruling.is_stored is stored


@pytest.mark.parametrize(
    ("ruling", "meant"),
    [
        (Ruling("drop"), [0, 1, 2, 3]),
        (Ruling("drop", every=2), [1, 3]),
        (Ruling("drop", event="b"), [1, 2]),
        (Ruling("drop", event="b", every=2), [1]),
        (Ruling("drop", uuids=frozenset({"0", "3"})), [0, 3]),
    ],
)
def test_a_ruling_is_about_some_events(ruling: Ruling, meant: list[int]) -> None:
    events = enumerate("abba")

    assert [n for n, name in events if ruling.is_about(n, str(n), name)] == meant
