"""The installed command as a child: the daemon, and the commands that talk to it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from leanbase_relay import control
from leanbase_relay.errors import NotRunning
from tests.support.waiting import eventually

COMMAND = Path(sys.executable).with_name("leanbase-relay")
NOBODY = "http://127.0.0.1:9"  # nothing listens on the port `discard`
WITHIN_SECONDS = 20

_ELSEWHERE = {"JOURNAL_STREAM", "NOTIFY_SOCKET", "NO_COLOR", "COLUMNS", "LINES"}

Settings = Mapping[str, Mapping[str, Any]]


def relay_command(
    *arguments: str | Path, stdin: bytes = b"", **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    done = subprocess.run(
        [COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=WITHIN_SECONDS,
        env=environment(environ),
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


class RelayProcess:
    """A daemon in a directory of its own; ended with the `with`.

    Args:
        directory: short, see the fixture `short_dir`.
        url: of the upstream; nobody listens there by default.
        settings: over those that are good for tests, group by group.
        through: a command that becomes the daemon, such as ``prlimit --nofile=64``.
        environ: beside ours.
    """

    def __init__(
        self,
        directory: Path,
        url: str = NOBODY,
        settings: Settings | None = None,
        *,
        through: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.config = directory / "config.yaml"
        self.socket = directory / "relay.sock"
        self.control = directory / "control.sock"
        self.store = directory / "relay.db"
        self.spool = directory / "spool"
        self._through = through
        self._environ = environ or {}
        self._log = directory / "relay.log"
        self._child: subprocess.Popen[bytes] | None = None
        self.configure(url, settings)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._child is not None and self._child.poll() is None:
            self.kill()

    def configure(self, url: str = NOBODY, settings: Settings | None = None) -> None:
        """Write the configuration; a running daemon reads it at SIGHUP."""
        document: dict[str, dict[str, Any]] = {
            "upstream": {"url": url},
            "projects": {"default": {"api_key": "phc_test"}},
            "batch": {"max_wait": "50ms"},
            "retry": {"first_delay": "100ms", "max_delay": "30s"},
            "store": {"path": str(self.store)},
            "socket": {"path": str(self.socket)},
            "control": {"path": str(self.control)},
            "spool": {"path": None},
        }
        for group, members in (settings or {}).items():
            document.setdefault(group, {}).update(members)
        self.config.write_text(yaml.safe_dump(document))

    def start(self) -> Self:
        """Start, and wait until it answers."""
        self.launch()
        eventually(self._is_ready, within=10)
        return self

    def launch(self, **environ: str) -> None:
        """Start without waiting."""
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                [*self._through, COMMAND, "run", "-c", self.config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment({**self._environ, **environ}),
            )

    @property
    def child(self) -> subprocess.Popen[bytes]:
        assert self._child is not None, "start it first"
        return self._child

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def log(self) -> str:
        """All that it wrote, over restarts."""
        return self._log.read_text()

    def command(
        self, name: str, *arguments: str | Path, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command with this relay's configuration."""
        return relay_command(name, "-c", self.config, *arguments, stdin=stdin)

    def status(self) -> dict[str, Any]:
        """What it answers itself."""
        look: dict[str, Any] = control.ask(self.control, "status", timeout_seconds=5)
        return look

    def status_command(self) -> tuple[int, dict[str, Any]]:
        """Exit code and value of `status --json`."""
        done = self.command("status", "--json")
        assert done.stdout, done.stderr
        look: dict[str, Any] = json.loads(done.stdout)
        return done.returncode, look

    def signal(self, number: signal.Signals) -> None:
        self.child.send_signal(number)

    def wait(self, within: float = WITHIN_SECONDS) -> int:
        """Its exit code, once it has ended."""
        return self.child.wait(within)

    def stop(self, within: float = WITHIN_SECONDS) -> int:
        """SIGTERM, and the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(within)

    def kill(self) -> None:
        """SIGKILL: what a crash is to the store."""
        self.child.kill()
        self.child.wait()

    def _is_ready(self) -> bool:
        assert self.child.poll() is None, self.log
        try:
            return bool(self.status())
        except NotRunning:
            return False


def as_nobody(
    name: str, *arguments: str, groups: tuple[int, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a command as a user who may do nothing; only root can.

    What it imports is imported before: it may lie where nobody may read.
    """
    code = (
        "import os\n"
        f"import leanbase_relay.cli.{name}\n"
        "import leanbase_relay.assembly, leanbase_relay.cli.looks\n"
        "from leanbase_relay.cli import main\n"
        f"os.setgroups({list(groups)}); os.setresgid(*[65534] * 3)\n"
        "os.setresuid(*[65534] * 3)\n"
        f"main({[name, *arguments]})\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Ours, without what would make the command differ."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LEANBASE_") and name not in _ELSEWHERE
    }
    return {**kept, **extra}
