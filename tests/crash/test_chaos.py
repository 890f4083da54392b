"""The chaos suite in its short form; ``make chaos`` is the long one."""

import random
from pathlib import Path

import pytest

from tests.chaos.oracle import Oracle
from tests.chaos.story import Plan, Story

pytestmark = pytest.mark.process


def test_some_kills_reloads_and_restarts_under_load_lose_nothing(
    short_dir: Path,
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails

    outcome = Story(short_dir, Plan(kills=8, hups=2, restarts=2, seed=seed)).run()

    verdict = outcome.verdict
    assert (verdict.lost, verdict.twice, verdict.changed) == ([], [], [])
    assert outcome.adds_up
    assert outcome.integrity == "ok"
    assert min(verdict.acknowledged.values()) > 0, "each door had its say"


def test_the_oracle_sees_what_is_lost() -> None:
    oracle = Oracle()
    oracle.promised("socket", ["a", "b"])

    verdict = oracle.verdict()

    assert verdict.lost == ["a", "b"]
    assert not verdict.is_kept
