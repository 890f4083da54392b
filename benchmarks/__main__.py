"""`python -m benchmarks`: asks the questions, prints a table, keeps the JSON."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from benchmarks import (
    asking,
    check,
    drain,
    end_to_end,
    growth,
    http,
    idle,
    looks,
    many,
    readme,
    scrape,
    single,
    start,
    stored,
    table,
)
from benchmarks.child import ChildFailed
from benchmarks.question import Question, Setting

QUESTIONS = {
    module.QUESTION.name: module.QUESTION
    for module in (
        stored,
        end_to_end,
        drain,
        many,
        single,
        http,
        start,
        idle,
        scrape,
        looks,
    )
}
RESULTS = Path(__file__).with_name("results")
KEPT = Path(__file__).with_name("kept")

_ROUNDS, _QUICK_ROUNDS, _CHECK_ROUNDS = 3, 1, 1
_ASKED_AGAIN = 2

_directory = click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the stores are made: on the disk that is to be measured.",
)
_only = click.option(
    "--only",
    multiple=True,
    type=click.Choice(tuple(QUESTIONS)),
    help="Ask this question only; may be given more than once.",
)


@click.group()
def main() -> None:
    """Measure the relay on this machine, beside bare limits and its peers."""


@main.command(
    epilog="Example: python -m benchmarks run --quick --only stored --only single"
)
@_only
@click.option("--rounds", type=click.IntRange(1), help="3, or 1 with --quick.")
@click.option("--quick", is_flag=True, help="50,000 events, one round, 10 s idle.")
@click.option("--keep", is_flag=True, help="What the documents show, or `check` reads.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
@_directory
def run(
    only: tuple[str, ...],
    rounds: int | None,
    directory: Path | None,
    *,
    quick: bool,
    keep: bool,
    as_json: bool,
) -> None:
    """Ask the questions, a few rounds of each in turn, and print medians."""
    rounds = rounds or (_QUICK_ROUNDS if quick else _ROUNDS)
    questions = [QUESTIONS[name] for name in only or QUESTIONS]
    with _where(directory, quick=quick) as where:
        samples = asking.ask(questions, where, rounds)
        result = asking.result(questions, where, samples, rounds=rounds)
    kept = _keep(result, RESULTS / f"{datetime.now(UTC):%Y-%m-%d-%H%M%S}.json")
    if keep:
        _keep(_with_others(result, _kept(quick=quick)), _kept(quick=quick))
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        table.show(questions, result)
        print(f"kept as {kept}")


@main.command("check")
@_only
@_directory
def check_(only: tuple[str, ...], directory: Path | None) -> None:
    """Compare a short run's ratios with the kept ones; 1 if any fell by a fifth."""
    kept = json.loads(_kept(quick=True).read_text())
    questions = [QUESTIONS[name] for name in only or QUESTIONS]
    with _where(directory, quick=True) as where:
        samples = dict(asking.ask(questions, where, _CHECK_ROUNDS))
        fallen = _fallen(questions, kept, samples)
        if fallen:
            again = [one for one in questions if one.name in fallen]
            for name, more in asking.ask(again, where, _ASKED_AGAIN).items():
                samples[name] += more
    now = {name: asking.medians(rounds) for name, rounds in samples.items()}
    falls = list(check.falls(questions, kept, now))
    for fall in falls:
        what = f"{fall.question}: {fall.figure.label.strip()} ({fall.figure.key})"
        value, before = table.number(fall.now), table.number(fall.kept)
        print(
            f"{what} is worse by {fall.share:.0%}: {value} {fall.figure.unit}, "
            f"kept is {before}"
        )
    if falls:
        sys.exit(1)
    print(f"no ratio fell by more than {check.MOST_FALL:.0%}")


@main.command("growth")
@_directory
def growth_(directory: Path | None) -> None:
    """Ten, a hundred, a thousand times as much: drawn into docs/growth-*.svg."""
    try:
        found = growth.measure(directory)
    except (ChildFailed, FileNotFoundError) as failed:
        raise click.ClickException(str(failed)) from failed
    _keep(found, KEPT / "growth.json")
    for name, chart in growth.charts(found).items():
        place = readme.ROOT / "docs" / f"{name}.svg"
        place.write_text(chart.svg())
        print(f"drawn as {place}")
        for series in chart.series:
            shown = (f"{much:,}: {cost:.3g}" for much, cost in series.points)
            print(f"  {series.label}: {', '.join(shown)} µs")


@main.command()
def docs() -> None:
    """Write the kept figures into README.md and docs/benchmarks.md."""
    readme.write(list(QUESTIONS.values()), json.loads(_kept(quick=False).read_text()))


@contextmanager
def _where(directory: Path | None, *, quick: bool) -> Iterator[Setting]:
    try:
        with asking.setting(directory, quick=quick) as where:
            yield where
    except (ChildFailed, FileNotFoundError) as failed:
        raise click.ClickException(str(failed)) from failed


def _fallen(
    questions: list[Question], kept: dict[str, Any], samples: asking.Samples
) -> set[str]:
    now = {name: asking.medians(rounds) for name, rounds in samples.items()}
    return {fall.question for fall in check.falls(questions, kept, now)}


def _kept(*, quick: bool) -> Path:
    return KEPT / ("quick.json" if quick else "full.json")


def _with_others(result: dict[str, Any], kept: Path) -> dict[str, Any]:
    """What was asked now, and what is kept of the other questions."""
    if not kept.exists():
        return result
    before = json.loads(kept.read_text())["questions"]
    return {**result, "questions": {**before, **result["questions"]}}


def _keep(result: dict[str, Any], place: Path) -> Path:
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps(result, indent=2) + "\n")
    return place


if __name__ == "__main__":
    main()
