"""Fixtures of the tests with one real neighbour."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.spool import Hold, Holder, SpoolHouse


@pytest.fixture
def house(tmp_path: Path) -> Iterator[SpoolHouse]:
    with SpoolHouse(tmp_path) as house:
        yield house


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Has another process hold a file open for writing."""
    holders: list[Holder] = []

    def hold(path: Path) -> Holder:
        holders.append(Holder(path))
        return holders[-1]

    yield hold
    for holder in holders:
        holder.release()
