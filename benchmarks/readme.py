"""The documents' tables, written from the kept figures and from nothing else."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import table
from benchmarks.peers import PEERS
from benchmarks.question import Question

ROOT = Path(__file__).parents[1]
README, DETAILS = ROOT / "README.md", ROOT / "docs" / "benchmarks.md"
SIDE_BY_SIDE, IN_SHORT, EVERYTHING = "side by side", "in short", "everything"

_SHORT = {
    "stored": {"events_per_second", "spool_events_per_second", "disk_bytes_per_event"},
    "many": {"events_per_second"},
    "single": {"ratio", "loaded_p99_us"},
    "drain": {"events_per_second_0_ms", "events_per_second_100_ms", "large_far"},
    "start": {"full_ms"},
    "idle": {"cpu_percent", "rss_mb"},
}

_PROMISES = {
    "relay": ("synced to the disk", "after the sync"),
    "syslog_ng": ("written, not synced", "never"),
    "rsyslog": ("written, not synced", "never"),
    "fluent_bit": ("written, synced later", "never"),
}


def write(questions: Iterable[Question], kept: Mapping[str, Any]) -> None:
    """Write all of them."""
    for (document, name), text in texts(questions, kept).items():
        table.write_into(document, name, text)


def texts(
    questions: Iterable[Question], kept: Mapping[str, Any]
) -> dict[tuple[Path, str], str]:
    """What is to stand where."""
    asked = list(questions)
    return {
        (README, SIDE_BY_SIDE): side_by_side(kept),
        (README, IN_SHORT): in_short(asked, kept),
        (DETAILS, EVERYTHING): everything(asked, kept),
    }


def side_by_side(kept: Mapping[str, Any]) -> str:
    """The relay beside its peers, a row each."""
    medians = kept["questions"]["end-to-end"]["medians"]
    heads = ("", "events/s", "the relay", "processor time", "memory")
    more = ("goes on when it is", "tells the producer")
    lines = [_line((*heads, *more)), _line(["---"] * 7)]
    lines.append(_row("**leanbase-relay**", "", medians, "relay"))
    lines += [_row(peer.name, f"{peer.key}_", medians, peer.key) for peer in PEERS]
    return "\n".join(lines)


def _row(name: str, prefix: str, medians: Mapping[str, float], key: str) -> str:
    if f"{prefix}events_per_second" not in medians:
        return _line((name, "not measured", "", "", "", *_PROMISES[key]))
    rate, memory, cpu = (
        medians[f"{prefix}{figure}"]
        for figure in ("events_per_second", "rss_max_mb", "cpu_us_per_event")
    )
    times = f"{medians[f'to_{key}']:.1f} times as fast" if prefix else ""
    shown = (f"{round(rate, -3):,.0f}", times, f"{cpu:.1f} µs an event")
    return _line((name, *shown, f"{memory:.0f} MB", *_PROMISES[key]))


def in_short(questions: Iterable[Question], kept: Mapping[str, Any]) -> str:
    """The figures that most people ask for."""
    chosen = (
        replace(
            question,
            figures=tuple(
                replace(figure, label=figure.label.strip())
                for figure in question.figures
                if figure.key in _SHORT.get(question.name, ())
            ),
        )
        for question in questions
    )
    return table.markdown(chosen, kept)


def everything(questions: Iterable[Question], kept: Mapping[str, Any]) -> str:
    """The machine, and all figures."""
    about = "\n".join(f"- {key}: {value}" for key, value in kept["machine"].items())
    return f"{about}\n\n{table.markdown(questions, kept)}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
