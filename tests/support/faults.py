"""A relay on a disk that fails: its n-th write or sync, once or until that is lifted.

``python -m tests.support.faults CONFIG`` is the daemon with one number changed: its log
is folded in after some pages and not after thousands, so that checkpoints are among the
writes.
"""

import ctypes
import mmap
import os
import shutil
import subprocess
import sys
from pathlib import Path

from leanbase_relay.cli import main
from leanbase_relay.store import schema
from tests.support.process import RelayProcess, environment

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).with_suffix(".c")
KINDS = ("write", "sync")
CHECKPOINT_PAGES = 16

_ALL = 0xFFFFFFFF


def compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc")


def build(directory: Path) -> Path:
    """Compile what is to be preloaded."""
    library = directory / "faults.so"
    compile_ = [str(compiler()), "-shared", "-fPIC", "-O1", "-Wall", "-Wextra"]
    subprocess.run([*compile_, "-o", library, SOURCE, "-ldl"], check=True)
    return library


class Plan(ctypes.Structure):
    """What is to fail, and what was seen; see `faults.c`."""

    _fields_ = (
        ("seen", ctypes.c_uint32 * 2),
        ("first", ctypes.c_uint32 * 2),
        ("last", ctypes.c_uint32 * 2),
        ("failed", ctypes.c_uint32),
        ("error", ctypes.c_uint32),
    )

    def fail(self, kind: str, number: int, error: int, *, once: bool) -> None:
        """Let this write or sync fail; and those after it, until `lift`."""
        at = KINDS.index(kind)
        self.error = error
        self.last[at] = number if once else _ALL
        self.first[at] = number

    def lift(self) -> None:
        """Nothing fails from now on."""
        self.first[0] = self.first[1] = 0


class PlanFile:
    """A plan that children see."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.write_bytes(bytes(ctypes.sizeof(Plan)))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self.plan = Plan.from_buffer(self._memory)

    def preloading(self, library: Path, store: Path) -> dict[str, str]:
        """What is in a child's environment: files named like `store`, its directory."""
        return {
            "LD_PRELOAD": str(library),
            "FAULTS_PLAN": str(self._path),
            "FAULTS_STORE": str(store),
        }


class FaultyRelay(RelayProcess):
    """A relay whose disk does what `plan` says.

    Args:
        library: what `build` made.
    """

    def __init__(self, directory: Path, url: str, library: Path) -> None:
        spool = {"path": str(directory / "spool"), "scan_interval": "100ms"}
        super().__init__(directory, url, {"spool": spool})
        self._library = library
        self._plan = PlanFile(directory / "plan")
        self.plan = self._plan.plan

    def launch(self, **environ: str) -> None:
        faults = self._plan.preloading(self._library, self.store)
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", __name__, self.config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment({**environ, **faults}),
                cwd=ROOT,
            )

    def processor_seconds(self) -> float:
        """What it has used so far."""
        text = Path(f"/proc/{self.pid}/stat").read_text()
        user, system = text.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    schema.CHECKPOINT_PAGES = CHECKPOINT_PAGES
    main(["run", "-c", sys.argv[1]])
