"""What a fault makes of an honest outcome. Pure."""

from dataclasses import replace

from leanbase_relay.sink.exchange import Outcome
from leanbase_relay.sink.fault import Ending, Fault
from leanbase_relay.sink.v1_results import answer_of, rows_of, ruled
from leanbase_relay.sink.wire import Answer

MAX_REASON_CHARACTERS = 500

_ENDINGS: dict[Ending, str] = {
    "cut_off": "the answer was cut off",
    "reset": "the connection was reset after the body",
    "reset_unread": "the connection was reset before the body was read",
    "silence": "no answer",
}


def bent(outcome: Outcome, fault: Fault) -> Outcome:
    """The outcome as the fault would have it; the honest one if there is none."""
    outcome = _with_rulings(outcome, fault)
    answer = outcome.answer
    if fault.status is not None:
        answer = Answer(fault.status, fault.body, fault.content_type)
    answer = replace(answer, headers={**answer.headers, **fault.headers})
    return replace(
        outcome, answer=answer, rows=outcome.rows[: fault.stored_of(len(outcome.rows))]
    )


def reason(answer: Answer, fault: Fault) -> str:
    """Why a request went as it did, for people; empty for an honest success."""
    if fault.ending != "answer":
        return _ENDINGS[fault.ending]
    if answer.status < 300:
        return fault.name
    text = answer.body[: 4 * MAX_REASON_CHARACTERS].decode(errors="replace")
    scripted = "as the script says" if fault.status is not None else ""
    return text[:MAX_REASON_CHARACTERS] or fault.name or scripted


def _with_rulings(outcome: Outcome, fault: Fault) -> Outcome:
    if not (fault.rulings and outcome.results):
        return outcome
    results = ruled(outcome.results, fault.rulings)
    answer = answer_of(results, outcome.answer.headers)
    return replace(outcome, answer=answer, results=results, rows=rows_of(results))
