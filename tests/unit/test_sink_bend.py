import pytest

from leanbase_relay.sink import Fault
from leanbase_relay.sink.bend import bent, reason
from leanbase_relay.sink.exchange import Outcome
from leanbase_relay.sink.v0 import SUCCESS
from leanbase_relay.sink.wire import Answer

HONEST = Outcome(Answer.json(SUCCESS))
REFUSED = Outcome(Answer.text(400, "request holds no event"))


@pytest.mark.parametrize(
    ("outcome", "fault", "expected"),
    [
        (HONEST, Fault(), ""),
        (REFUSED, Fault(), "request holds no event"),
        (HONEST, Fault.answer(503, "later"), "later"),
        (HONEST, Fault.answer(503), "as the script says"),
        (HONEST, Fault.answer(503, "x" * 900), "x" * 500),
        (HONEST, Fault.redirect("/x"), "a redirect"),
        (HONEST, Fault.html(), "a page in the service's place"),
        (HONEST, Fault.cut_off(), "the answer was cut off"),
        (HONEST, Fault.hang(1), "no answer"),
        (HONEST, Fault.drip(1), "an answer that drips"),
    ],
)
def test_people_are_told_what_went_wrong(
    outcome: Outcome, fault: Fault, expected: str
) -> None:
    assert reason(bent(outcome, fault).answer, fault) == expected


def test_a_fault_with_a_status_answers_in_place_of_the_service() -> None:
    answer = bent(HONEST, Fault.answer(503, "later", retry_after=3)).answer

    assert (answer.status, answer.body) == (503, b"later")
    assert answer.headers == {"Retry-After": "3"}


def test_a_fault_without_one_keeps_the_honest_answer() -> None:
    answer = bent(REFUSED, Fault(headers={"X": "y"})).answer

    assert (answer.status, answer.headers) == (400, {"X": "y"})
