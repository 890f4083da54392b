"""Every command that the pages and the help show is run, or it is said where it is."""

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from click.testing import CliRunner

from leanbase_relay.cli import main
from tests.support import docs
from tests.support.docs import ROOT, Shown
from tests.support.process import (
    COMMAND,
    RelayProcess,
    Settings,
    environment,
    relay_command,
)

pytestmark = pytest.mark.process

ELSEWHERE = {
    # What is shown begins so, and the same is done there.
    r"apt (install|purge)": "tests/acceptance/test_service.py",
    r"systemctl ": "tests/acceptance/test_service.py",
    r"usermod -aG leanbase-relay": "tests/acceptance/service.py",
    r"LEANBASE_RELAY_PURGE_STORE=yes apt purge": "tests/acceptance/test_service.py",
    r"systemd-sysusers": "tests/acceptance/test_service.py",
    # Putting a copy back, which a running relay must not see.
    r"cd /var/lib/|mkdir old && mv|install -o": "tests/process/test_cli_backup.py",
    r"make [a-z]": "Makefile",
    r"php ": "tests/process/test_php.py",
    r"leanbase-relay demo": "tests/process/test_cli_demo.py",
    r"leanbase-relay run": "tests/process/test_cli_run.py",
}
ENDS_BY_INTERRUPT = re.compile(r"leanbase-relay (sink|\w+ --watch)")
ENDS_SECONDS = 1.5
MAY_NEED_ATTENTION = re.compile(r"leanbase-relay (status|doctor|dead-letters requeue)")

LINE = b'{"event":"seen","distinct_id":"u","uuid":"01890a5d-ac96-774b-bcce-%012d"}\n'

# Programs that a page may take for granted, or that must not be run by a test.
STUBS = {
    "sudo": 'case "$1" in leanbase-relay) exec "$@";; -u) shift 2; exec "$@";; esac',
    "apt": "",
    "psql": "cat events.jsonl",
    "brotli": "cat events.jsonl",
    "jq": "cat",
}


PROGRAMS = {
    "nc": "netcat-openbsd",
    "socat": "socat",
    "curl": "curl",
}


class Sandbox:
    """A relay with a sink behind it, and a directory with all that commands name."""

    def __init__(self, directory: Path, relay: RelayProcess, url: str) -> None:
        self.directory = directory
        self._relay = relay
        self._places = {
            "/run/leanbase-relay/relay.sock": relay.socket,
            "/run/other/relay.sock": relay.socket,
            "/var/spool/leanbase-relay": relay.spool,
            "/var/lib/leanbase-relay": directory,
            "/var/lib/node_exporter": directory,
            "/var/backups/relay.db": directory / "copy.db",
            "/etc/": f"{directory}/etc/",
            "/tmp/posthog.log": directory / "posthog.log",  # noqa: S108 - the page's
            "http://127.0.0.1:8020": url,
        }
        lines = b"".join(LINE % number for number in range(3))
        for name in ("events.jsonl", "posthog.log"):
            (directory / name).write_bytes(lines)
        packed = ("more", "archive-2024", "export-2026-01", "events/1", "exports/1")
        for name in packed:
            path = directory / f"{name}.jsonl.gz"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(gzip.compress(lines))
        bin_ = directory / "bin"
        bin_.mkdir()
        for name, body in STUBS.items():
            (bin_ / name).write_text(f"#!/bin/sh\n{body}\n")
            (bin_ / name).chmod(0o755)
        (bin_ / "leanbase-relay").symlink_to(COMMAND)
        for name in ("examples", "systemd"):
            (directory / name).symlink_to(ROOT / name)
        for name in ("systemd/system", "sysusers.d", "tmpfiles.d", "leanbase-relay"):
            (directory / "etc" / name).mkdir(parents=True)

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        for shown, real in self._places.items():
            command = command.replace(
                shown, f"{real}/" if shown[-1] == "/" else str(real)
            )
        command = command.replace("leanbase-relay sink", "leanbase-relay sink --port 0")
        if "purge" in command:  # it asks, and there is nobody to answer
            command = re.sub(r"purge.*", r"\g<0> --yes", command)
        beyond = command.replace(str(self.directory), "here")
        assert not re.search(r"(?<![\w.])/(etc|var|usr|run|tmp)\b", beyond), (
            f"{command}: give its path a place in the sandbox, or see ELSEWHERE"
        )
        if "dead-letters" in command:  # so that there is one to be shown
            self._relay.command("send", stdin=b"no event\n")
            letters = json.loads(self._listed())
            command = command.replace(" 17", f" {letters[0]['id']}")
        for new in ("backlog.jsonl.gz", "copy.db"):  # such a file must not be there
            if re.search(rf"(-o|backup) \S*{new}", command):
                (self.directory / new).unlink(missing_ok=True)
        interrupted = ENDS_BY_INTERRUPT.match(command)
        if interrupted:
            command = f"timeout -s INT {ENDS_SECONDS} {command}"
            if "--watch" in command:
                command = f'script -qec "{command}" /dev/null'
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.directory,
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
            env=environment(
                {
                    "PATH": f"{self.directory}/bin:{os.environ['PATH']}",
                    "LEANBASE_RELAY_CONFIG": str(self._relay.config),
                    "TERM": "xterm",
                    "EDITOR": "true",
                }
            ),
        )

    def _listed(self) -> str:
        return relay_command(
            "dead-letters", "list", "-c", self._relay.config, "--json"
        ).stdout


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with ExitStack() as house:
        # A socket's path ends at 107 bytes.
        directory = Path(house.enter_context(TemporaryDirectory(prefix="lb-")))
        url = house.enter_context(a_sink())
        relay = RelayProcess(directory, url, settings_in(directory))
        yield Sandbox(directory, house.enter_context(relay), url)


@contextmanager
def a_sink() -> Iterator[str]:
    """As a child: its connections outlive a test."""
    with subprocess.Popen(
        [COMMAND, "sink", "--port", "0"], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        yield child.stdout.readline().split()[0]
        child.send_signal(signal.SIGINT)


def settings_in(directory: Path) -> Settings:
    return {
        "projects": {name: {"api_key": f"phc_{name}"} for name in ("shop", "staging")},
        "spool": {"path": str(directory / "spool")},
    }


def elsewhere(command: str) -> str | None:
    return next(
        (place for start, place in ELSEWHERE.items() if re.match(start, command)), None
    )


ALL = list(dict.fromkeys((*docs.of_pages(), *docs.of_help())))
HERE = [shown for shown in ALL if elsewhere(shown.command) is None]


def test_commands_are_found() -> None:
    assert len(ALL) > 60
    assert len(HERE) > 50
    for start in ELSEWHERE:
        assert any(re.match(start, shown.command) for shown in ALL), "shown no more"


@pytest.mark.parametrize("shown", HERE, ids=str)
def test_what_is_shown_can_be_typed(sandbox: Sandbox, shown: Shown) -> None:
    for program, package in PROGRAMS.items():
        is_used = re.search(rf"(^|\| ){program} ", shown.command)
        if is_used and shutil.which(program) is None:
            pytest.skip(f"NOT TESTED: {program} is missing (apt-get install {package})")

    done = sandbox.run(shown.command)

    good = {0}
    if MAY_NEED_ATTENTION.search(shown.command):
        good |= {1, 4}
    if ENDS_BY_INTERRUPT.match(shown.command):
        good |= {124}  # timeout's own, when what it ended said 0
    assert done.returncode in good, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "not found" not in done.stderr, "a program is missing"


@pytest.mark.parametrize("place", sorted(set(ELSEWHERE.values())))
def test_what_is_run_elsewhere_has_a_place_there(place: str) -> None:
    assert (ROOT / place).is_file()


MAKES = [shown for shown in ALL if shown.command.startswith("make ")]


@pytest.mark.parametrize("shown", sorted({*docs.inline(), *MAKES}), ids=str)
def test_what_a_sentence_says_to_type_exists(shown: Shown) -> None:
    """Its command is there, and so are its options."""
    command = shown.command.removeprefix("sudo ").partition(" | ")[0]
    program, *words = command.split()
    if program == "make":
        assert re.search(
            rf"^{words[0].rstrip(',')}:", (ROOT / "Makefile").read_text(), re.MULTILINE
        )
        return
    known = dict(docs.commands())
    name = f"leanbase-relay {words[0]}"
    if name not in known and len(words) > 1:
        name += f" {words[1]}"
    of_group = [
        other for other in known if other.startswith(f"leanbase-relay {words[0]}")
    ]
    assert of_group, shown.command
    options = {
        option
        for other in ([name] if name in known else of_group)
        for parameter in known[other].params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert used <= options | {"--help", "--version"}


_NOT_IN_A_MAN_PAGE = re.compile(
    r"^(Usage: |Options:$|  -h, --help .*$|Commands:\n(  .*\n)*)"
    r"|COMMAND \[ARGS\]\.\.\.$",
    re.MULTILINE,
)


def words_of(text: str) -> set[str]:
    return set(re.findall(r"[\w./$-]{2,}", text))


@pytest.fixture(scope="module")
def page() -> str:
    done = subprocess.run(
        [COMMAND.with_name("python"), "-P", ROOT / "deb/man.py"],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.replace("\\-", "-").replace("\\&", "").replace("\\e", "\\")


@pytest.mark.parametrize("name", [name for name, _ in docs.commands()])
def test_the_man_page_says_what_the_help_says(page: str, name: str) -> None:
    runner = CliRunner()
    done = runner.invoke(
        main, [*name.split()[1:], "--help"], prog_name="leanbase-relay"
    )
    assert done.exit_code == 0
    said = _NOT_IN_A_MAN_PAGE.sub("", done.stdout)
    said = re.sub(r"(\w)-\n\s+", r"\1-", said)  # click breaks lines at hyphens

    section = page.partition(f".SS {name} ")[2].partition("\n.SS ")[0]

    if name == "leanbase-relay":
        section = page.partition(".SH COMMANDS")[0]
    assert words_of(said) - words_of(section) - words_of(name) == set()
