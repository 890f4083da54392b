"""Fixtures of the tests of lanes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from leanbase_relay.sink import Sink
from tests.support.lane import LaneClock, Relay


@pytest.fixture
def clock() -> LaneClock:
    return LaneClock()


@pytest.fixture
def sink(clock: LaneClock) -> Iterator[Sink]:
    with Sink(clock=clock) as sink:
        yield sink


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    with Relay(tmp_path) as relay:
        yield relay
