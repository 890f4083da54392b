"""What is built is what is used: the wheel, in an environment of its own."""

import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from leanbase_relay import __version__

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.process]


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist, and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "-o", out, ROOT, cwd=out)
    return out


@pytest.fixture(scope="module")
def elsewhere(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, that sees the libraries of this one."""
    home = tmp_path_factory.mktemp("env")
    venv.create(home, with_pip=False)
    (wheel,) = built.glob("*.whl")
    pip = (sys.executable, "-m", "pip", "--python", home / "bin/python")
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=home)
    (site,) = home.glob("lib/python*/site-packages")
    # Paths named in a .pth file are not searched for further ones, so that the
    # editable install of this environment stays out of sight.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home


def test_the_command_runs_from_the_wheel(elsewhere: Path) -> None:
    said = run(elsewhere / "bin/leanbase-relay", "--version", cwd=elsewhere)

    assert __version__ in said


def test_the_page_is_in_the_wheel(elsewhere: Path) -> None:
    look = "from leanbase_relay.observe.answers import page; print(page().status)"
    assert run(elsewhere / "bin/python", "-c", look, cwd=elsewhere).strip() == "200"


def test_it_is_the_wheels_code_that_runs(elsewhere: Path) -> None:
    look = "import leanbase_relay.daemon as d; print(d.__file__)"
    found = run(elsewhere / "bin/python", "-c", look, cwd=elsewhere)

    assert found.startswith(str(elsewhere))


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())

    modules = {
        str(file.relative_to(ROOT)) for file in (ROOT / "leanbase_relay").rglob("*.py")
    }
    info = {name for name in names if ".dist-info/" in name}
    data = {"leanbase_relay/py.typed", "leanbase_relay/observe/page.html"}
    assert names - info == modules | data
    assert any(name.endswith("licenses/LICENSE") for name in info)


def test_the_sdist_holds_what_is_needed_to_test_it(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    wanted = {"pyproject.toml", "README.md", "LICENSE", "config.example.yaml"}
    assert wanted <= names
    assert "tests/conftest.py" in names
    assert "leanbase_relay/daemon.py" in names
