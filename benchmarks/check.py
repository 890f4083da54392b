"""The guard: a short run's ratios beside the kept ones.

Ratios, because times are the machine's. What fell is asked again, twice, before it is
believed: on a machine that does other things too a single short round is easily wrong.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from benchmarks.question import Figure, Question

MOST_FALL = 0.2


class Fall(NamedTuple):
    """A ratio that is worse than the kept one.

    Attributes:
        question: its name.
        figure: which one.
        kept, now: both values.
        share: how far it fell, of what was kept.
    """

    question: str
    figure: Figure
    kept: float
    now: float
    share: float


def falls(
    questions: Iterable[Question],
    kept: Mapping[str, Any],
    now: Mapping[str, Mapping[str, float]],
) -> Iterator[Fall]:
    """Everything that fell by more than a fifth.

    Args:
        questions: that were asked.
        kept: a result, as `asking.result` gave it.
        now: the medians of this run, by question.
    """
    for question in questions:
        before = kept["questions"].get(question.name, {}).get("medians", {})
        for figure in question.figures:
            if not figure.is_ratio or figure.key not in before:
                continue
            value = now[question.name].get(figure.key)
            if value is None:  # a peer that is not there
                continue
            share = _fall(figure, before[figure.key], value)
            if share > MOST_FALL:
                yield Fall(question.name, figure, before[figure.key], value, share)


def _fall(figure: Figure, kept: float, now: float) -> float:
    assert figure.target is not None, "it says which way is better"
    return 1 - now / kept if figure.target.at_least else 1 - kept / now
