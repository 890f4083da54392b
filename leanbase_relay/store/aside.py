"""What lies beside a store: set aside, suspected, half salvaged; names and reports.

`status` and `doctor` read here what a recovery has left, and import nothing heavy for
that.
"""

import contextlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from leanbase_relay import lasting

log = logging.getLogger(__name__)

PARTS = ("", "-wal", "-shm")
"""The files that are a store, by what follows its name: file, log, index of the log."""

_REPORT = ".json"


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a damaged store.

    Attributes:
        file: its path now; the log lies beside it.
        reason: how the damage showed.
        events, chunks: that were salvaged and wait.
        lost: events that could not be read, for each project; None = nobody knows.
        dead_letters, known_ids, spool_files: salvaged rows of those.
        lost_dead_letters: those that could not be read.
        is_progress_whole: False if a file in the spool may be taken a second time.
        is_salvaged: False if there was no room, so that all of it lies there.
    """

    file: str
    reason: str
    events: int = 0
    chunks: int = 0
    lost: Mapping[str, int | None] = field(default_factory=dict)
    dead_letters: int = 0
    lost_dead_letters: int = 0
    known_ids: int = 0
    spool_files: int = 0
    is_progress_whole: bool = True
    is_salvaged: bool = True

    @property
    def lost_events(self) -> int:
        """Events known to be lost."""
        return sum(lost or 0 for lost in self.lost.values())

    def sentence(self) -> str:
        """What happened, what it cost, and what may be done."""
        if not self.is_salvaged:
            return (
                f"The store was damaged ({self.reason}), and there was no room to "
                f"salvage it: {self.summary()}. So {self.mend}."
            )
        return (
            f"The store was damaged ({self.reason}) and was set aside: "
            f"{self.summary()}. The damaged file is {self.file}: keep it if somebody "
            f"is to look for more in it; else rm {self.file}*. If this comes again, "
            "suspect the disk: dmesg, smartctl."
        )

    @property
    def mend(self) -> str:
        """What may be done with the file."""
        if self.is_salvaged:
            return f"look at it, or copy it away; then rm {self.file}*"
        return (
            "have it delivered by a relay of its own, on a disk with room: "
            "docs/operations.md, A damaged store"
        )

    def summary(self) -> str:
        """What was saved and what was not."""
        if not self.is_salvaged:
            return (
                "nothing of it was salvaged, and nothing is lost as long as "
                f"{self.file} is kept; the relay began with an empty store"
            )
        return f"{self.events:,} waiting events were salvaged; {self._losses()}"

    def _losses(self) -> str:
        losses = [f"{self.lost_events:,} could not be read and count as dead"]
        if not self.lost_events:
            losses = ["none that is known of was lost"]
        if unknown := [name for name, lost in self.lost.items() if lost is None]:
            losses.append(
                f"the totals of {', '.join(unknown)} could not be read and begin anew, "
                "so that more may be lost than anybody knows"
            )
        if self.lost_dead_letters:
            losses.append(f"{self.lost_dead_letters:,} dead letters are lost")
        if not self.is_progress_whole:
            losses.append("files in the spool may be taken a second time")
        return "; ".join(losses)


def lost_events(reports: Iterable[Report]) -> int | None:
    """Events that were lost with stores that lie aside; None if nobody knows."""
    told = list(reports)
    if any(None in one.lost.values() or not one.is_salvaged for one in told):
        return None
    return sum(one.lost_events for one in told)


def suspect(store: Path, reason: str) -> None:
    """Have the next start salvage this store."""
    try:
        write_synced(suspected(store), reason + "\n")
    except OSError as error:  # the start after the next one will meet it again
        log.error("store_not_marked error=%s", error.strerror)  # noqa: TRY400


def suspicion(store: Path) -> str | None:
    """Why a daemon, or an operator, gave up on this store; None if nobody did."""
    reason = ""
    try:
        reason = suspected(store).read_text(errors="replace").strip()
    except FileNotFoundError:
        return None
    except OSError:  # it is there, whatever it says
        pass
    return reason or "it is marked as damaged"


def clear(store: Path) -> None:
    """Suspect it no more."""
    suspected(store).unlink(missing_ok=True)


def suspected(store: Path) -> Path:
    """The mark that says so."""
    return _beside(store, "suspect")


def damaged(store: Path, stamp: str) -> Path:
    """Where a store is set aside."""
    return _beside(store, f"damaged-{stamp}")


def half_salvaged(store: Path, stamp: str) -> Path:
    """Where the fresh store is made."""
    return _beside(store, f"salvage-{stamp}")


def salvaged(store: Path, stamp: str) -> Path:
    """Where the fresh store waits, all done, for the damaged one to make room."""
    return _beside(store, f"salvaged-{stamp}")


def all_half_salvaged(store: Path) -> list[Path]:
    """What interrupted recoveries have left: the fresh store, and what is beside it."""
    return list(_named(store, "salvage-"))


def stamp_of_salvaged(store: Path) -> str | None:
    """Of a recovery that was interrupted when nothing but renaming was left."""
    head = len(salvaged(store, "").name)
    return next((path.name[head:] for path in _named(store, "salvaged-")), None)


def new_stamp(store: Path, wall: float) -> str:
    """The time, so that no file bears it yet."""
    moment = datetime.fromtimestamp(wall, UTC).strftime("%Y%m%dT%H%M%SZ")
    taken = {path.name.removesuffix("-wal") for path in _named(store, "damaged-")}
    again, stamp = 1, moment
    while damaged(store, stamp).name in taken:
        again += 1
        stamp = f"{moment}-{again}"
    return stamp


def report(store: Path, stamp: str, told: Report) -> None:
    """Leave a report beside what is set aside."""
    text = json.dumps(asdict(told), indent=2)
    write_synced(damaged(store, stamp).with_name(_report_name(store, stamp)), text)


def reports(store: Path) -> list[Report]:
    """A report for each store that was set aside and still lies there, oldest first."""
    return [_read(base) for base in sorted(_set_aside(store))]


def lone_reports(store: Path) -> list[Path]:
    """Reports of what is not there: it was removed, or never came to be set aside."""
    bases = _set_aside(store)
    told = [path for path in _named(store, "damaged-") if path.suffix == _REPORT]
    return [path for path in told if path.with_suffix("") not in bases]


def write_synced(path: Path, text: str) -> None:
    """Write a small file that outlasts a power failure."""
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    lasting.sync_directory(path.parent)


def _set_aside(store: Path) -> set[Path]:
    """The stores that were set aside, by their file; its log alone may be left."""
    bases = set()
    for path in _named(store, "damaged-"):
        if path.name.endswith("-wal"):
            if path.stat().st_size > 0:
                bases.add(path.with_name(path.name.removesuffix("-wal")))
        elif not path.name.endswith(("-shm", _REPORT)):
            bases.add(path)
    return bases


def _read(base: Path) -> Report:
    """What is told of a set-aside file; without a report only that it is there."""
    members: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        members = json.loads(base.with_name(base.name + _REPORT).read_text())
    try:
        return Report(**{"file": str(base), "reason": "nobody knows how"} | members)
    except TypeError:
        return Report(str(base), "its report cannot be read")


def _report_name(store: Path, stamp: str) -> str:
    return damaged(store, stamp).name + _REPORT


def _beside(store: Path, suffix: str) -> Path:
    """Beside the file itself, where the configuration names a link to it."""
    store = store.resolve()
    return store.with_name(f"{store.name}.{suffix}")


def _named(store: Path, suffix: str) -> Iterator[Path]:
    """Files beside a store whose names begin so."""
    head = _beside(store, suffix)
    with contextlib.suppress(OSError), os.scandir(head.parent) as entries:
        for entry in entries:
            if entry.name.startswith(head.name):
                yield Path(entry.path)
