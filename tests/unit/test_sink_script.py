import pytest

from leanbase_relay.sink import Fault, Script


def test_a_script_grows_without_changing_what_it_grew_from() -> None:
    start = Script()
    longer = start.then(Fault.answer(503), Fault.answer(429)).then(Fault.html())

    assert start.faults == ()
    assert [fault.status for fault in longer.faults] == [503, 429, 200]


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
    ],
)
def test_a_fault_says_how_much_is_stored(fault: Fault, stored: int) -> None:
    assert fault.stored_of(5) == stored
