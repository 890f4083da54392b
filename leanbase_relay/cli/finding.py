"""Findings: what a look of `doctor` comes to, and whom it looks at."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from leanbase_relay.clock import Clock
from leanbase_relay.config import Config, ProjectConfig
from leanbase_relay.store.size import file_bytes


class State(StrEnum):
    """How a look came out."""

    OK = "ok"
    NOTE = "note"  # good to know; nothing has to be done
    ATTENTION = "attention"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's.

    Attributes:
        look: at what.
        found: what was found.
        mend: what to do about it, if there is anything.
    """

    look: str
    state: State
    found: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """What is looked at.

    Attributes:
        config_path: as it was given.
        pid: of the daemon that has the store open; None if none has.
        fault: what is wrong with the store, if the files or SQLite say so.
        is_ours: whether what is at its path can be the relay's.
        keyed: the projects with their keys; None if not all can be seen from here.
        key_problems: why not.
    """

    config: Config
    config_path: Path | None
    clock: Clock
    pid: int | None
    fault: str | None = None
    is_ours: bool = True
    keyed: Mapping[str, ProjectConfig] | None = None
    key_problems: tuple[str, ...] = ()

    @property
    def store(self) -> Path:
        """Where the store is."""
        return self.config.store.path

    @property
    def has_store(self) -> bool:
        """Whether there is one that can be looked into."""
        return self.is_ours and self.fault is None and file_bytes(str(self.store)) > 0


Look = Callable[[Patient], Iterator[Finding]]
