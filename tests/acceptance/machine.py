"""A Debian 12 with its own systemd, in a container without a network.

`tree` makes its files once and keeps them (debootstrap takes two minutes); a `Machine`
is a copy of them that boots, does as it is told, and loses its power.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.waiting import eventually

TOOLS = ("debootstrap", "systemd-nspawn", "nsenter", "unshare", "pgrep", "dpkg-deb")
PACKAGES = "systemd,systemd-sysv,dbus,python3"
MIRROR = "http://deb.debian.org/debian"
AT_MOST_SECONDS = 1200
BOOT_SECONDS = 60
COMMAND_SECONDS = 120

_MINIMAL = ("--variant=minbase", f"--include={PACKAGES}")
_NSPAWN = (
    *("systemd-nspawn", "--quiet", "--boot", "--console=pipe", "--private-network"),
    *("--register=no", "--keep-unit"),  # where we are there may be no systemd
)
_ENVIRON = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root"]


def lacking() -> str | None:
    """What keeps this machine from having another inside."""
    if os.geteuid() != 0:
        return "only root can boot a machine: sudo make acceptance"
    gone = [tool for tool in TOOLS if shutil.which(tool) is None]
    if gone:
        return f"{', '.join(gone)}: apt-get install debootstrap systemd-container"
    if subprocess.run(["unshare", "-mpn", "--fork", "true"], check=False).returncode:
        return "we are in a container that may have none of its own"
    return None


def tree(cache: Path) -> Path:
    """The files of a fresh Debian 12; made if they are not there."""
    made = cache / "debian-12"
    if not made.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        half = cache / "debian-12.part"
        shutil.rmtree(half, ignore_errors=True)
        subprocess.run(
            ["debootstrap", *_MINIMAL, "bookworm", half, MIRROR],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=AT_MOST_SECONDS,
        )
        half.rename(made)
    return made


class Machine:
    """One machine; off when the `with` ends.

    Args:
        root: where its files are to lie; made anew from `files`.
    """

    def __init__(self, root: Path, files: Path) -> None:
        self.root = root
        subprocess.run(["cp", "-a", files, root], check=True)
        (root / "etc/machine-id").unlink(missing_ok=True)
        self._console = root.with_suffix(".console")
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._init = 0

    def __enter__(self) -> Self:
        self.boot()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cut_power()

    def boot(self) -> None:
        """Start it, and wait until its systemd has come to rest."""
        with self._console.open("ab") as console:
            self._nspawn = subprocess.Popen(
                [*_bounded(AT_MOST_SECONDS), *_NSPAWN, "--directory", self.root],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        self._init = eventually(self._find_init, within=BOOT_SECONDS)
        eventually(self._is_up, within=BOOT_SECONDS)

    def cut_power(self) -> None:
        """End everything in it at once."""
        if self._nspawn is not None:
            if self._init:
                os.kill(self._init, signal.SIGKILL)
            else:  # it did not get that far; `timeout` passes it on
                self._nspawn.terminate()
            self._nspawn.wait(BOOT_SECONDS)
            self._nspawn, self._init = None, 0

    def run(
        self, *command: str, user: str = "root", stdin: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it to its end."""
        done = subprocess.run(
            self._inside(command, user),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def start(self, *command: str, user: str = "root") -> subprocess.Popen[str]:
        """Start a command in it that ends when its standard input does."""
        return subprocess.Popen(
            [*_bounded(COMMAND_SECONDS), *self._inside(command, user)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def file(self, path: str) -> Path:
        """A file of it, seen from outside."""
        return self.root / path.lstrip("/")

    def write(self, path: str, text: str) -> None:
        """Write a file into it."""
        self.file(path).parent.mkdir(parents=True, exist_ok=True)
        self.file(path).write_text(text)

    def pid_outside(self, pid: int) -> int:
        """The number by which we know a process of it."""
        for status in Path("/proc").glob("[0-9]*/status"):
            numbers = _namespace_pids(status)
            if len(numbers) > 1 and numbers[-1] == pid and self._is_inside(status):
                return numbers[0]
        raise AssertionError(f"no process {pid} inside")

    def _inside(self, command: Sequence[str], user: str) -> list[str]:
        switch = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        enter = ["nsenter", "-t", str(self._init), "-a", "--"]
        return [*enter, "env", "-i", *_ENVIRON, *switch, *command]

    def _find_init(self) -> int:
        assert self._nspawn is not None
        assert self._nspawn.poll() is None, self._console.read_text()
        for nspawn in _children(self._nspawn.pid):
            for child in _children(nspawn):
                if _name(child) == "systemd":
                    return child
        return 0

    def _is_up(self) -> bool:
        done = self.run("systemctl", "is-system-running", check=False)
        return done.stdout.strip() in ("running", "degraded")

    def _is_inside(self, status: Path) -> bool:
        try:
            mine = Path(f"/proc/{self._init}/ns/pid").readlink()
            return status.with_name("ns").joinpath("pid").readlink() == mine
        except OSError:
            return False


def _bounded(seconds: int) -> tuple[str, ...]:
    return "timeout", "--kill-after=5", str(seconds)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""  # it has ended meanwhile


def _children(pid: int) -> list[int]:
    done = subprocess.run(
        ["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(line) for line in done.stdout.split()]


def _namespace_pids(status: Path) -> list[int]:
    try:
        text = status.read_text()
    except OSError:
        return []
    lines = [line for line in text.splitlines() if line.startswith("NSpid:")]
    return [int(number) for number in lines[0].split()[1:]] if lines else []
