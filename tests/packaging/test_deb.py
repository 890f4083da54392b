"""The Debian package: what it holds, and the man page that it makes of `--help`."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from leanbase_relay import __version__
from leanbase_relay.cli import COMMANDS

ROOT = Path(__file__).parents[2]
SITE = "usr/lib/leanbase-relay/lib/python3.11/site-packages"


def run(*command: str | Path) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def page() -> str:
    return run(sys.executable, ROOT / "deb/man.py")


@pytest.mark.process
def test_the_man_page_has_every_command(page: str) -> None:
    named = re.findall(r"^\.SS leanbase\\-relay ([a-z\\-]+)", page, re.MULTILINE)

    assert COMMANDS.keys() <= {name.replace("\\-", "-") for name in named}
    assert __version__ in page


@pytest.mark.process
@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_groff_has_nothing_against_the_man_page(page: str, tmp_path: Path) -> None:
    file = tmp_path / "page.1"
    file.write_text(page)
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", file],
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.skipif(
    shutil.which("dpkg-deb") is None or sys.version_info[:2] != (3, 11),
    reason="Debian packages are built on Debian, by Debian 12's Python",
)
def test_the_package_holds_what_a_debian_12_wants(tmp_path: Path) -> None:
    run(ROOT / "deb/build", sys.executable, tmp_path)
    (package,) = tmp_path.glob(f"leanbase-relay_{__version__}_*.deb")
    run("dpkg-deb", "-R", package, tmp_path / "files")
    files = tmp_path / "files"

    names = {str(file.relative_to(files)) for file in files.rglob("*")}
    assert {
        "etc/leanbase-relay/config.yaml",
        "usr/bin/leanbase-relay",
        "usr/lib/systemd/system/leanbase-relay.service",
        "usr/lib/systemd/system/leanbase-relay.socket",
        "usr/lib/sysusers.d/leanbase-relay.conf",
        "usr/lib/tmpfiles.d/leanbase-relay.conf",
        "usr/share/bash-completion/completions/leanbase-relay",
        "usr/share/man/man1/leanbase-relay.1.gz",
        f"{SITE}/leanbase_relay/daemon.py",
        f"{SITE}/leanbase_relay/__pycache__/daemon.cpython-311.pyc",
    } <= names
    assert not any(name.startswith(f"{SITE}/pip/") for name in names)
    control = files / "DEBIAN"
    assert (control / "conffiles").read_text() == "/etc/leanbase-relay/config.yaml\n"
    for script in ("postinst", "prerm", "postrm"):
        run("sh", "-n", control / script)
    libraries = (files / "usr/share/doc/leanbase-relay/libraries.txt").read_text()
    assert f"leanbase-relay=={__version__}" in libraries
