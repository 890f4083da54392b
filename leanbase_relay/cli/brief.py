"""The status as one line for monitors, in the manner of Nagios plugins. Pure.

The word says how bad it is. The exit codes are those of `status` (0, 1, 3) and not
Nagios' own; examples/nagios/check_leanbase_relay turns the word into those.
"""

from typing import Any

from leanbase_relay.cli.words import age, count, plain, rate, size
from leanbase_relay.errors import RelayError
from leanbase_relay.status import has_lost

_NAME = "LEANBASE-RELAY"

WORDS = {
    "idle": "OK",
    "flowing": "OK",
    "backing_off": "WARNING",
    "held": "CRITICAL",
    "degraded": "CRITICAL",
    "unresponsive": "CRITICAL",
    "stopped": "CRITICAL",
}


def one_line(look: dict[str, Any]) -> str:
    """``LEANBASE-RELAY OK: flowing, … | backlog=12 …``: for people, then for graphs."""
    said = [look["state"].replace("_", " "), *_backlog(look["backlog"])]
    if rates := look.get("rates"):
        said.append(f"{rate(rates['in_per_second'])} in")
        said.append(f"{rate(rates['out_per_second'])} out")
    word = WORDS[look["state"]]
    if has_lost(look):
        word = "CRITICAL"
        said.append("events were lost with a damaged store")
    if problems := len(look["problems"]):
        said.append(count(problems, "problem"))
    text = plain(", ".join(said)).replace("|", "/")  # what ends the text, to Nagios
    return f"{_NAME} {word}: {text} | {_figures(look)}"


def unknown(error: RelayError) -> str:
    """The line where nothing can be known."""
    return f"{_NAME} UNKNOWN: " + plain(str(error)).replace("|", "/")


def _backlog(backlog: dict[str, Any]) -> list[str]:
    if not backlog["events"]:
        return ["backlog empty"]
    said = [count(backlog["events"], "event") + " waiting", size(backlog["bytes"])]
    if backlog["oldest_age_seconds"] is not None:
        said.append(f"for {age(backlog['oldest_age_seconds'])}")
    return said


def _figures(look: dict[str, Any]) -> str:
    backlog, store = look["backlog"], look["store"]
    figures = [
        f"backlog={backlog['events']};;;0",
        f"backlog_bytes={backlog['bytes']}B;;;0",
        f"oldest_age={backlog['oldest_age_seconds'] or 0:g}s;;;0",
        f"store_bytes={store['bytes']}B;;;0;{store['max_bytes']}",
    ]
    figures += [f"{name}={number}c" for name, number in look["totals"].items()]
    return " ".join(figures)
