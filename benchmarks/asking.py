"""Asking: every question in turn, a few rounds of it, and what came of them as JSON."""

import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import events, machine, process
from benchmarks.peers import PEERS
from benchmarks.question import Figure, Question, Sample, Setting

Samples = Mapping[str, list[Sample]]
"""The rounds of each question, by its name."""

EVENTS, QUICK_EVENTS = 500_000, 50_000
_CALM_ENOUGH = 0.2


@contextmanager
def setting(directory: Path | None, *, quick: bool) -> Iterator[Setting]:
    """Events and a place on a disk, for the length of a run.

    Raises:
        FileNotFoundError: there is no disk.
    """
    count = QUICK_EVENTS if quick else EVENTS
    with tempfile.TemporaryDirectory(prefix="bench", dir=_disk(directory)) as root:
        file = Path(root) / "events.jsonl"
        events.write(file, count)
        yield Setting(Path(root), file, count, quick)


def _disk(given: Path | None) -> Path:
    """A directory on a real disk, with a short path."""
    for place in [given] if given else [Path(tempfile.gettempdir()), Path("/var/tmp")]:
        if machine.is_real_disk(place):
            return place
    raise FileNotFoundError("no real disk found; name one with --directory")


def ask(questions: Iterable[Question], where: Setting, rounds: int) -> Samples:
    """All questions in turn, then all of them again: a slow minute hits them alike."""
    samples: dict[str, list[Sample]] = defaultdict(list)
    for number in range(1, rounds + 1):
        for question in questions:
            print(f"round {number} of {rounds}: {question.name}", file=sys.stderr)
            samples[question.name].append(_asked(question, where))
    return samples


def _asked(question: Question, where: Setting) -> Sample:
    """One round, with a word about what else the machine was busy with."""
    started = time.monotonic()
    busy, own = process.busy_seconds(), process.own_seconds()
    sample = question.ask(where)
    seconds = time.monotonic() - started
    busy, own = process.busy_seconds() - busy, process.own_seconds() - own
    others = max(busy - own, 0.0) / seconds
    if others > _CALM_ENOUGH:
        print(f"  others took {others:.1f} processors meanwhile", file=sys.stderr)
    return {**sample, "others_cpu_share": others, "seconds": seconds}


def result(
    questions: Iterable[Question], where: Setting, samples: Samples, *, rounds: int
) -> dict[str, Any]:
    """What is kept of a run."""
    lengths = [len(line) - 1 for line in where.first(where.count)]
    about = {
        **machine.describe(where.root),
        "events": f"{where.count:,} of {round(statistics.median(lengths))} bytes",
        "rounds": str(rounds),
        "peers": ", ".join(one.version() for one in PEERS if one.program) or "none",
    }
    return {
        "machine": about,
        "questions": {
            question.name: {
                "medians": medians(samples[question.name]),
                "rounds": samples[question.name],
            }
            for question in questions
        },
    }


def medians(samples: list[Sample]) -> dict[str, float]:
    """The median of each figure."""
    return {key: median(samples, key) for key in samples[0]}


def median(samples: list[Sample], key: str) -> float:
    """Of the rounds that have it."""
    return statistics.median(sample[key] for sample in samples if key in sample)


def verdict(figure: Figure, value: float) -> str:
    """Whether a figure is what it is to be."""
    if figure.target is None:
        return ""
    return "ok" if figure.target.met(value) else "below"
