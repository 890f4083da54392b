"""Fixtures: the package, and a machine on which it is installed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.machine import Machine, lacking, tree
from tests.acceptance.service import Service

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The .deb of this working copy."""
    out = tmp_path_factory.mktemp("deb")
    subprocess.run([ROOT / "deb/build", sys.executable, out], check=True, timeout=300)
    (built,) = out.glob("*.deb")
    return built


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A Debian 12 that runs, with nothing of ours."""
    why_not = lacking()
    if why_not:
        pytest.fail(f"NOT RUN: {why_not}")
    files = tree(CACHE / "leanbase-relay")
    with Machine(tmp_path_factory.mktemp("machine") / "root", files) as machine:
        yield machine


@pytest.fixture(scope="session")
def installed(machine: Machine, package: Path) -> Service:
    """The package on that machine, and the users of the tests; nothing was started."""
    service = Service(machine)
    service.install(package)
    service.prepare()
    return service


@pytest.fixture
def service(installed: Service) -> Iterator[Service]:
    """The service as it runs by default, with an upstream that takes everything."""
    installed.begin_anew()
    yield installed
    installed.show_log_of_this_test()
