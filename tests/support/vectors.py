"""The vectors: single events, and what the capture service would answer to each."""

import json
from pathlib import Path
from typing import Any

Vector = dict[str, Any]

VECTORS: list[Vector] = json.loads(
    (Path(__file__).parent.parent / "data/wire_vectors.json").read_text()
)


def line_of(vector: Vector) -> bytes:
    """The event as an app would write it on a line."""
    if vector.get("input_raw") is not None:
        return str(vector["input_raw"]).encode()
    event = json.loads(json.dumps(vector["input_event"]))
    for expansion in vector.get("expand", []):
        *way, last = expansion["path"]
        place = event
        for name in way:
            place = place[name]
        place[last] = _expanded(expansion)
    return json.dumps(event).encode()


def name_of(vector: Vector) -> str:
    return str(vector["name"])


def _expanded(expansion: Vector) -> Any:
    if "nest" not in expansion:
        return expansion["char"] * expansion["count"]
    value: dict[str, Any] = {}
    for _ in range(expansion["nest"] - 1):
        value = {"n": value}
    return value
