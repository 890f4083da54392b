"""Fixtures for every test, and the guard that nothing is left running."""

import logging
import signal
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clock import FakeClock

ENDING_SECONDS = 2.0


def pytest_configure() -> None:
    """Have Ctrl-C be what it is on a terminal, for commands that the tests start too.

    Who runs the tests in the background of a script (`make test &`) ignores it, and so
    would each command, as it should.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """Fails a test that leaves a thread alive."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        thread.join(ENDING_SECONDS)
    names = [thread.name for thread in left if thread.is_alive()]
    assert not names, f"left alive: {', '.join(names)}"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="leanbase_relay")
    return caplog


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory right under the system's own: a socket's path ends at 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="lb-") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Self-signed, for localhost; the key stands beside it."""
    path = tmp_path_factory.mktemp("tls") / "cert.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
    command += (
        " -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    files = f" -keyout {path.with_name('key.pem')} -out {path}"
    subprocess.run((command + files).split(), check=True, capture_output=True)
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    return context
