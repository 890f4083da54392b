"""The table: figures for people, on a terminal and in the documents."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.asking import verdict
from benchmarks.question import Figure, Question

Result = Mapping[str, Any]
"""What `asking.result` gave, or what was kept of it."""

_WIDTH = 150
_HEADS = ("", "median", "spread", "aim", "", "bare limits, same rounds")


def show(questions: Iterable[Question], result: Result) -> None:
    """Print it."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)  # a file has no edge
    for key, value in result["machine"].items():
        console.print(f"{key}: {value}", highlight=False)
    table = Table(*_HEADS)
    for column in table.columns:
        column.no_wrap = True
    for question in questions:
        for row in _rows(question, result):
            table.add_row(*row)
        table.add_section()
    console.print(table)


def markdown(questions: Iterable[Question], result: Result) -> str:
    """The same for a document."""
    lines = [_line(_HEADS), _line(["---"] * len(_HEADS))]
    for question in questions:
        for label, *cells in _rows(question, result):
            bold = label if label.startswith(" ") else f"**{label}**"
            lines.append(
                _line((bold.strip(), *(cell.replace("\n", ", ") for cell in cells)))
            )
    return "\n".join(lines)


def write_into(document: Path, name: str, text: str) -> None:
    """Put a text between the marks that bear its name."""
    before = document.read_text()
    document.write_text(_between(name).sub(lambda _: _marked(name, text), before))


def stands_in(document: Path, name: str) -> str | None:
    """What is between these marks; None without them."""
    found = _between(name).search(document.read_text())
    return found["text"] if found else None


def _between(name: str) -> re.Pattern[str]:
    start, end = _marks(name)
    return re.compile(f"{re.escape(start)}\n(?P<text>.*?)\n{re.escape(end)}", re.DOTALL)


def _marked(name: str, text: str) -> str:
    start, end = _marks(name)
    return f"{start}\n{text}\n{end}"


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name}: written by `make bench-keep` -->", f"<!-- end of {name} -->"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rows(question: Question, result: Result) -> Iterator[tuple[str, ...]]:
    found = result["questions"].get(question.name)
    for figure in question.figures if found else ():
        if figure.key in found["medians"] or figure.absent:
            yield _row(figure, found)


def _row(figure: Figure, found: Mapping[str, Any]) -> tuple[str, ...]:
    medians = found["medians"]
    if figure.key not in medians:
        return (figure.label, figure.absent, "", "", "", "")
    values = [one[figure.key] for one in found["rounds"] if figure.key in one]
    value = medians[figure.key]
    aim = ""
    if figure.target:
        sign = ">=" if figure.target.at_least else "<="
        aim = f"{sign} {number(figure.target.bound)}"
    return (
        figure.label,
        f"{number(value)} {figure.unit}",
        f"{number(min(values))} … {number(max(values))}" if len(values) > 1 else "",
        aim,
        verdict(figure, value),
        "\n".join(
            f"{name} {number(medians[key])}"
            for key, name in (figure.beside or {}).items()
        ),
    )


def number(value: float) -> str:
    """As many digits as mean something."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}"
