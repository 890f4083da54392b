import resource
from collections.abc import Iterator

import pytest

from leanbase_relay import descriptors


@pytest.fixture(autouse=True)
def _the_limit_before() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_the_limit_is_raised_as_far_as_it_goes() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))

    limit = descriptors.raise_limit()

    assert limit == min(hard, descriptors.MOST)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (limit, hard)


def test_a_limit_that_is_as_high_as_it_may_be_is_left_alone() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    assert descriptors.raise_limit() == hard


@pytest.mark.parametrize("lanes", [1, 10, 100])
@pytest.mark.parametrize("limit", [64, 1024, 4096, 1 << 16])
def test_producers_leave_the_relay_what_it_needs(limit: int, lanes: int) -> None:
    producers = descriptors.for_producers(limit, lanes=lanes)
    removed = descriptors.for_removed_files(limit)

    assert producers >= limit // 4
    assert producers + removed <= limit - min(limit // 2, 484 + 6 * lanes)
