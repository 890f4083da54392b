"""`python -m benchmarks`: asks every question, prints a table, keeps the JSON."""

import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks import (
    drain,
    end_to_end,
    events,
    http,
    idle,
    looks,
    machine,
    many,
    process,
    scrape,
    single,
    spool,
    stored,
)
from benchmarks.child import ChildFailed
from benchmarks.question import Figure, Question, Sample, Setting

QUESTIONS = {
    module.QUESTION.name: module.QUESTION
    for module in (
        stored,
        end_to_end,
        drain,
        spool,
        many,
        single,
        http,
        idle,
        scrape,
        looks,
    )
}
RESULTS = Path(__file__).with_name("results")

_EVENTS, _QUICK_EVENTS = 500_000, 50_000
_WIDTH = 140
_CALM_ENOUGH = 0.2
_ROUNDS, _QUICK_ROUNDS = 3, 1


@click.command(
    epilog="Example: python -m benchmarks --quick --only stored --only single"
)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(tuple(QUESTIONS)),
    help="Ask this question only; may be given more than once.",
)
@click.option("--rounds", type=click.IntRange(1), help="3, or 1 with --quick.")
@click.option("--quick", is_flag=True, help="50,000 events, one round, 10 s idle.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
@click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the stores are made: on the disk that is to be measured.",
)
def main(
    only: tuple[str, ...],
    rounds: int | None,
    directory: Path | None,
    *,
    quick: bool,
    as_json: bool,
) -> None:
    """Measure the installed relay on this machine."""
    rounds = rounds or (_QUICK_ROUNDS if quick else _ROUNDS)
    questions = [QUESTIONS[name] for name in only or QUESTIONS]
    with tempfile.TemporaryDirectory(prefix="bench", dir=_disk(directory)) as root:
        setting = _setting(Path(root), quick=quick)
        about = {
            **machine.describe(setting.root),
            "events": f"{setting.count:,} of {_median_bytes(setting)} bytes (median)",
            "rounds": str(rounds),
        }
        try:
            samples = _ask(questions, setting, rounds)
        except ChildFailed as failed:
            raise click.ClickException(str(failed)) from failed
    result = _result(about, questions, samples)
    text = json.dumps(result, indent=2)
    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / f"{datetime.now(UTC):%Y-%m-%d-%H%M%S}.json"
    kept.write_text(text + "\n")
    if as_json:
        print(text)
    else:
        _show(about, questions, samples)
        print(f"kept as {kept}")


def _disk(given: Path | None) -> Path:
    """A directory on a real disk, with a short path."""
    for place in [given] if given else [Path(tempfile.gettempdir()), Path("/var/tmp")]:
        if machine.is_real_disk(place):
            return place
    raise click.ClickException("no real disk found; name one with --directory")


def _setting(root: Path, *, quick: bool) -> Setting:
    count = _QUICK_EVENTS if quick else _EVENTS
    file = root / "events.jsonl"
    events.write(file, count)
    return Setting(root, file, count, quick)


def _median_bytes(setting: Setting) -> int:
    lengths = [len(line) - 1 for line in setting.first(setting.count)]
    return round(statistics.median(lengths))


def _ask(
    questions: list[Question], setting: Setting, rounds: int
) -> dict[str, list[Sample]]:
    """All questions in turn, then all of them again: a slow minute hits them alike."""
    samples: dict[str, list[Sample]] = defaultdict(list)
    for number in range(1, rounds + 1):
        for question in questions:
            print(f"round {number} of {rounds}: {question.name}", file=sys.stderr)
            samples[question.name].append(_asked(question, setting))
    return samples


def _asked(question: Question, setting: Setting) -> Sample:
    """One round, with a word about what else the machine was busy with."""
    started = time.monotonic()
    busy, own = process.busy_seconds(), process.own_seconds()
    sample = question.ask(setting)
    busy, own = process.busy_seconds() - busy, process.own_seconds() - own
    others = max(busy - own, 0.0) / (time.monotonic() - started)
    if others > _CALM_ENOUGH:
        print(f"  others took {others:.1f} processors meanwhile", file=sys.stderr)
    return {**sample, "others_cpu_share": others}


def _result(
    about: dict[str, str],
    questions: list[Question],
    samples: dict[str, list[Sample]],
) -> dict[str, Any]:
    return {
        "machine": about,
        "questions": {
            question.name: {
                "medians": {
                    key: _median(samples[question.name], key)
                    for key in samples[question.name][0]
                },
                "targets": {
                    figure.key: _verdict(figure, samples[question.name])
                    for figure in question.figures
                    if figure.target
                },
                "rounds": samples[question.name],
            }
            for question in questions
        },
    }


def _show(
    about: dict[str, str],
    questions: list[Question],
    samples: dict[str, list[Sample]],
) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)  # a file has no edge
    for key, value in about.items():
        console.print(f"{key}: {value}", highlight=False)
    table = Table("", "median", "spread", "target", "", "bare limits, same rounds")
    for column in table.columns:
        column.no_wrap = True
    for question in questions:
        for figure in question.figures:
            table.add_row(*_row(figure, samples[question.name]))
        table.add_section()
    console.print(table)


def _row(figure: Figure, samples: list[Sample]) -> tuple[str, ...]:
    values = [sample[figure.key] for sample in samples]
    target = ""
    if figure.target:
        sign = ">=" if figure.target.at_least else "<="
        target = f"{sign} {_number(figure.target.bound)}"
    return (
        figure.label,
        f"{_number(statistics.median(values))} {figure.unit}",
        f"{_number(min(values))} … {_number(max(values))}" if len(values) > 1 else "",
        target,
        _verdict(figure, samples),
        "\n".join(
            f"{name} {_number(_median(samples, key))}"
            for key, name in (figure.beside or {}).items()
        ),
    )


def _verdict(figure: Figure, samples: list[Sample]) -> str:
    if figure.target is None:
        return ""
    return "ok" if figure.target.met(_median(samples, figure.key)) else "below"


def _median(samples: list[Sample], key: str) -> float:
    return statistics.median(sample[key] for sample in samples)


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}"


if __name__ == "__main__":
    main()
