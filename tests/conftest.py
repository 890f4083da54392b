"""Fixtures for every test, and the guard that nothing is left running."""

import logging
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clock import FakeClock

ENDING_SECONDS = 2.0


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
