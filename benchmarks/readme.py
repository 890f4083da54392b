"""The documents' tables, written from the kept figures and from nothing else."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import table
from benchmarks.peers import PEERS
from benchmarks.question import Question

ROOT = Path(__file__).parents[1]
README, DETAILS = ROOT / "README.md", ROOT / "docs" / "benchmarks.md"
SIDE_BY_SIDE, EVERYTHING = "side by side", "everything"

_PROMISES = {
    "relay": ("synced to the disk", "after the sync"),
    "syslog_ng": ("written, not synced", "never"),
    "rsyslog": ("written, not synced", "never"),
    "fluent_bit": ("written, synced later", "never"),
}


def write(questions: Iterable[Question], kept: Mapping[str, Any]) -> None:
    """Write both."""
    table.write_into(README, SIDE_BY_SIDE, side_by_side(kept))
    table.write_into(DETAILS, EVERYTHING, everything(questions, kept))


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


def everything(questions: Iterable[Question], kept: Mapping[str, Any]) -> str:
    """The machine, and all figures."""
    about = "\n".join(f"- {key}: {value}" for key, value in kept["machine"].items())
    return f"{about}\n\n{table.markdown(questions, kept)}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
