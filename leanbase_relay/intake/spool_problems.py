"""What keeps the spool from its work, as sentences that a person can act on.

Gathered anew in each scan. A file is mentioned in the log once, when its problem
begins; however many files have a problem, few are named.
"""

import logging
import os
from collections import Counter
from enum import Enum

from leanbase_relay import descriptors
from leanbase_relay.clock import Clock
from leanbase_relay.seldom import Seldom

log = logging.getLogger(__name__)

_NAMED = 3
_REMEMBERED = 100


class Problem(Enum):
    """The kinds, each with its sentence: `names` are files, `detail` is the cause."""

    DIRECTORY = "the spool directory cannot be served: {names}: {detail}"
    LOCKED = (
        "another relay takes the files of {names}: {detail}; this one takes none until "
        "that one is gone. Give each a spool.path of its own"
    )
    STORE = "spool files wait in their directory: {detail}"
    IGNORED = (
        "the spool will never take {names}: {detail}; move it away, rename it, or see "
        "spool.patterns"
    )
    UNREADABLE = "the spool cannot read {names}: {detail}; let the relay's user read it"
    NONE_LEFT = (
        "the spool cannot open {names} now: {detail}; it tries again at each scan. "
        "Raise the limit on open files (LimitNOFILE= of the service)"
    )
    UNREMOVABLE = (
        "the spool took {names} and cannot remove it: {detail}; let the relay's user "
        "write to the directory"
    )
    ENDLESS = (
        "the spool finds no end of a line in {names}, so far: {detail}; each scan "
        "skips some of it. Find out who writes it, or remove the file"
    )
    HELD = (
        "{names} in the spool is held open for writing for {detail} or longer; its "
        "lines are taken as they come, and it is removed when it is closed"
    )
    NO_LEASE = (
        "the spool cannot know whether {names} is still written to ({detail}); after "
        "removal it is read for spool.late_grace. Grant the relay CAP_LEASE, or have "
        "files written under another name and renamed"
    )
    WATCHER = (
        "no watcher tells the spool of new files ({detail}): it finds them by scan"
    )


class Problems:
    """Those of the present scan, and which of them the log knows."""

    def __init__(self, clock: Clock) -> None:
        self._seldom = {problem: Seldom(clock) for problem in Problem}
        self._said: set[Problem] = set()
        self._found: dict[Problem, dict[str, str]] = {}
        self._count: Counter[Problem] = Counter()
        self._logged: dict[Problem, dict[str, str]] = {}
        self.sentences: tuple[str, ...] = ()
        """As of the last scan that came to its end."""

    def add(self, problem: Problem, name: str, detail: str) -> None:
        """Note that a file, or the spool itself, has a problem."""
        names = self._found.setdefault(problem, {})
        self._count[problem] += name not in names
        if len(names) < _REMEMBERED:
            names[name] = detail

    def count(self, problem: Problem) -> int:
        """How many files have it, in this scan."""
        return self._count[problem]

    def end_scan(self) -> None:
        """Say what is new, and begin anew."""
        for problem, names in self._found.items():
            for name, detail in names.items():
                if name not in self._logged.get(problem, {}):
                    self._say(problem, name, detail)
        for problem in self._said - self._found.keys():
            self._said.remove(problem)
            log.info("spool_problem_ended kind=%s", problem.name.lower())
        self.sentences = tuple(self._sentence(problem) for problem in self._found)
        self._logged = self._found
        self._found = {}
        self._count = Counter()

    def _say(self, problem: Problem, name: str, detail: str) -> None:
        if times := self._seldom[problem].times():
            self._said.add(problem)
            log.warning(
                "spool_problem kind=%s name=%s times=%d detail=%s",
                problem.name.lower(),
                name,
                times,
                detail,
            )

    def _sentence(self, problem: Problem) -> str:
        names = list(self._found[problem].items())
        named = ", ".join(name for name, _ in names[:_NAMED])
        more = self._count[problem] - len(names[:_NAMED])
        return problem.value.format(
            names=f"{named} and {more} more" if more > 0 else named, detail=names[0][1]
        )


def shown(name: str) -> str:
    """A file name as it may stand in a log line: on one line, without doubt."""
    return name if name.isprintable() and not set(name) & set(" \"'") else repr(name)


def of_opening(error: OSError) -> Problem:
    """Which problem it is that a file cannot be opened or read."""
    if error.errno in descriptors.NONE_LEFT:
        return Problem.NONE_LEFT
    return Problem.UNREADABLE


def cause(error: OSError) -> str:
    """The reason that the system gave, without the path."""
    return os.strerror(error.errno) if error.errno else str(error)
