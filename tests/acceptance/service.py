"""The service on a machine: installed, configured, loaded, and looked at."""

import json
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.acceptance.machine import Machine
from tests.support.waiting import eventually

UNIT = "leanbase-relay.service"
SOCKET = "leanbase-relay.socket"
KEY = "/etc/leanbase-relay/api_key"
CONFIG = "/etc/leanbase-relay/config.yaml"
DROP_IN = f"/etc/systemd/system/{UNIT}.d/test.conf"
TAKEN = "/root/taken"
STORED = "/home/app/stored"
DELIVERED_SECONDS = 60

_UPSTREAM = """\
[Service]
ExecStart=/usr/lib/leanbase-relay/bin/python3 -I /opt/tests/upstream.py /root/taken
Restart=on-failure
"""
_CONFIG = """\
upstream: {url: "http://127.0.0.1:8020", timeout: 5s}
batch: {max_wait: 50ms}
retry: {first_delay: 100ms, max_delay: 1s}
spool: {scan_interval: 1s}
"""


@dataclass
class Load:
    """What producers met with, once they have ended."""

    stored: int = 0
    longest_seconds: float = 0.0
    troubles: Counter[str] = field(default_factory=Counter)

    @property
    def refused(self) -> int:
        """Connections that were not taken."""
        return sum(
            count for why, count in self.troubles.items() if why.startswith("refused")
        )


class Service:
    """The relay's service on one machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._cursor = ""
        self._loads = 0

    def install(self, package: Path) -> str:
        """As an administrator does; what apt said."""
        shutil.copy(package, self.machine.file("/root"))
        command = ("apt-get", "install", "-y", f"/root/{package.name}")
        return self.machine.run(*command).stdout

    def prepare(self) -> None:
        """Users, an upstream, and the programs of the tests."""
        run, inside = self.machine.run, Path(__file__).parent / "inside"
        run("useradd", "--create-home", "app")
        run("useradd", "--create-home", "stranger")
        run("usermod", "-aG", "leanbase-relay", "app")
        for program in inside.glob("*.py"):
            self.machine.write(f"/opt/tests/{program.name}", program.read_text())
        self.machine.write("/etc/systemd/system/upstream.service", _UPSTREAM)

    def begin_anew(self) -> None:
        """The service as it is by default, running."""
        self.systemctl("stop", SOCKET, UNIT, check=False)
        self.machine.file(DROP_IN).unlink(missing_ok=True)
        self.configure()
        self.machine.write(KEY, "phc_first\n")
        self.machine.file(KEY).chmod(0o600)
        self._cursor = self._last_cursor()
        self.systemctl("daemon-reload")
        self.systemctl("reset-failed")
        self.systemctl("start", "upstream")
        self.systemctl("start", UNIT)

    def configure(self, more: str = "") -> None:
        """Write the configuration, with some lines more."""
        self.machine.file(CONFIG).write_text(_CONFIG + more)

    def drop_in(self, *lines: str) -> None:
        """Change the unit, and start it again."""
        self.machine.write(DROP_IN, "\n".join(["[Service]", *lines, ""]))
        self.systemctl("daemon-reload")
        self.systemctl("restart", UNIT)

    def systemctl(self, *words: str, check: bool = True) -> str:
        return self.machine.run("systemctl", *words, check=check).stdout

    def show(self, member: str, unit: str = UNIT) -> str:
        """One property of a unit."""
        return self.systemctl("show", "--value", "-p", member, unit).strip()

    @property
    def pid(self) -> int:
        """The main process, as it is known inside; 0 if there is none."""
        return int(self.show("MainPID"))

    @property
    def restarts(self) -> int:
        """How often systemd started it again by itself."""
        return int(self.show("NRestarts"))

    def log(self, *words: str, unit: str = UNIT) -> str:
        """What the journal has of this test."""
        after = [f"--after-cursor={self._cursor}"] if self._cursor else []
        command = ("journalctl", "-o", "cat", "-u", unit, *after, *words)
        return self.machine.run(*command).stdout

    def show_log_of_this_test(self) -> None:
        """For whoever reads why a test failed."""
        print(self.log())

    def status(self) -> dict[str, Any]:
        """What `status --json` says."""
        done = self.machine.run("leanbase-relay", "status", "--json", check=False)
        look: dict[str, Any] = json.loads(done.stdout)
        return look

    # Events.

    def capture(self, name: str, user: str = "app") -> subprocess.CompletedProcess[str]:
        """One event by the command."""
        command = ("leanbase-relay", "capture", name, "--distinct-id", "u")
        return self.machine.run(*command, user=user, check=False)

    @contextmanager
    def load(self) -> Iterator[Load]:
        """Producers all the while; complete when the `with` ends."""
        self._loads += 1
        load = Load()
        prefix = f"load{self._loads}"
        command = ("python3", "/opt/tests/producer.py", prefix, STORED)
        with self.machine.start(*command, user="app") as producers:
            eventually(lambda: f"{prefix}-0-9" in self.stored(), within=20)
            yield load
            said, _ = producers.communicate("", timeout=90)
        told = json.loads(said)
        load.stored = told["stored"]
        load.longest_seconds = told["longest"]
        load.troubles = Counter(told["troubles"])

    def stored(self) -> set[str]:
        """All that producers were told to be stored."""
        book = self.machine.file(STORED)
        return set(book.read_text().splitlines()) if book.exists() else set()

    def taken(self, key: str | None = None) -> Counter[str]:
        """All that the upstream took, and how often."""
        book = self.machine.file(TAKEN)
        lines = book.read_text().splitlines() if book.exists() else []
        requests = [json.loads(line) for line in lines]
        return Counter(
            name
            for request in requests
            if key in (None, request["key"])
            for name in request["names"]
        )

    def delivers(self, name: str) -> bool:
        """Whether that event comes to the upstream."""
        return bool(eventually(lambda: name in self.taken(), within=DELIVERED_SECONDS))

    def delivers_all(self) -> bool:
        """Whether everything that was stored comes to the upstream."""
        return bool(
            eventually(
                lambda: self.stored() <= self.taken().keys(), within=DELIVERED_SECONDS
            )
        )

    def _last_cursor(self) -> str:
        said = self.machine.run("journalctl", "-n", "0", "--show-cursor").stdout
        return said.partition("cursor: ")[2].strip()


def repacked(package: Path, version: str) -> Path:
    """The same package under another version."""
    with tempfile.TemporaryDirectory() as name:
        files = Path(name) / "files"
        subprocess.run(["dpkg-deb", "-R", package, files], check=True)
        control = files / "DEBIAN/control"
        lines = control.read_text().splitlines()
        lines = [
            f"Version: {version}" if line.startswith("Version:") else line
            for line in lines
        ]
        control.write_text("\n".join([*lines, ""]))
        out = package.with_name(f"leanbase-relay_{version}_all.deb")
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Znone", "--build", files, out],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return out
