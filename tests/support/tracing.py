"""Looking on with strace: which system call began after which had returned."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.process import COMMAND, RelayProcess, environment
from tests.support.waiting import eventually

CALLS = (
    "openat,mkdir,read,pread64,recvfrom,write,pwrite64,ftruncate,"
    "fsync,fdatasync,fadvise64,rename,unlink,unlinkat,sendto,sendmsg,writev"
)
ENDING_SECONDS = 20

_WHOLE = re.compile(r"(?P<thread>\d+) +(?P<name>\w+)\((?P<text>.*)\) += (?P<result>.*)")
_BEGUN = re.compile(r"(?P<thread>\d+) +(?P<name>\w+)\((?P<text>.*) <unfinished \.\.\.>")
_ENDED = re.compile(
    r"(?P<thread>\d+) +<\.\.\. \w+ resumed>(?P<text>.*)\) += (?P<result>.*)"
)


def can_trace() -> bool:
    if shutil.which("strace") is None:
        return False
    tried = subprocess.run(["strace", "-o", "/dev/null", "true"], check=False)
    return tried.returncode == 0


def traced(what: str) -> pytest.MarkDecorator:
    """Marks a test that needs strace, and says what is not tested without it."""
    return pytest.mark.skipif(
        not can_trace(),
        reason=f"NOT TESTED: that {what}; needs strace (apt install strace) and the "
        "right to trace",
    )


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that returned.

    Attributes:
        text: its arguments as strace writes them, files with their paths.
        result: the same of what it returned.
        began, ended: places in the order of all that happened.
    """

    name: str
    text: str
    result: str
    began: int
    ended: int

    def is_sync_of(self, path: Path) -> bool:
        """Whether a file, or a directory, is on the disk with it."""
        return (
            self.name in ("fsync", "fdatasync")
            and self.text.endswith(f"<{path}>")
            and self.result == "0"
        )

    def is_of(self, path: Path) -> bool:
        """Whether its first argument is this file."""
        return f"<{path}>, " in self.text

    def is_write_to(self, path: Path) -> bool:
        return self.name in ("write", "pwrite64") and self.is_of(path)

    def forgets(self, path: Path) -> bool:
        """Whether the kernel lets go of what it keeps of a file."""
        return self.name == "fadvise64" and self.is_of(path) and "DONTNEED" in self.text

    def creates(self, path: Path) -> bool:
        """Whether the path's name may be new with it."""
        return f'"{path}"' in self.text and (
            (self.name == "mkdir" and self.result == "0")
            or (self.name == "openat" and "O_CREAT" in self.text)
        )


def tracer(trace: Path) -> list[str]:
    """What to put before a command; what is started becomes that command."""
    return ["strace", "-D", "-f", "-y", "-s", "1024", "-o", str(trace), "-e", CALLS]


def calls(trace: Path) -> list[Call]:
    """All calls of a command that has ended, in the order in which they began."""
    eventually(lambda: _is_over(trace), within=ENDING_SECONDS)
    return sorted(_calls(trace.read_text()), key=lambda call: call.began)


def _is_over(trace: Path) -> bool:
    """Whether the first thread's end is written down: that of the process."""
    first, *_, last = trace.read_text().splitlines()
    return last.startswith(first.split()[0]) and " +++ " in last


def _calls(text: str) -> Iterator[Call]:
    begun: dict[str, tuple[int, re.Match[str]]] = {}
    for place, line in enumerate(text.splitlines()):
        if one := _WHOLE.fullmatch(line):
            yield Call(one["name"], one["text"], one["result"], place, place)
        elif one := _BEGUN.fullmatch(line):
            begun[one["thread"]] = place, one
        elif one := _ENDED.fullmatch(line):
            began, first = begun.pop(one["thread"])
            text = first["text"] + one["text"]
            yield Call(first["name"], text, one["result"], began, place)


class TracedRelay(RelayProcess):
    """A relay that is looked on from its first moment; once more with each start."""

    starts = 0

    @property
    def trace(self) -> Path:
        return self.directory / f"trace-{self.starts}"

    def launch(self, **environ: str) -> None:
        self.starts += 1
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                [*tracer(self.trace), COMMAND, "run", "-c", self.config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(environ),
            )

    def calls(self) -> list[Call]:
        """Everything that this start came to; it has to have ended."""
        return calls(self.trace)
