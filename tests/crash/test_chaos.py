"""The chaos suite in its short form; ``make chaos`` is the long one."""

import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from leanbase_relay.sink import Row
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


class Came:
    """A request of which these events were stored: mark, uuid and timestamp of each."""

    def __init__(self, *events: tuple[str, str, int]) -> None:
        self.rows = [
            Row(
                datetime.fromtimestamp(at, UTC),
                "e",
                mark,
                uuid,
                "phc",
                historical=False,
                sent={"properties": {"mark": mark}},
            )
            for mark, uuid, at in events
        ]


def test_the_oracle_sees_what_came_twice_and_what_changed() -> None:
    oracle = Oracle()
    oracle.promised("spool", ["a", "b", "c"])
    came = [("a", "u1", 1), ("b", "u2", 1), ("c", "u3", 1)]

    oracle.received(Came(*came))  # type: ignore[arg-type]
    oracle.received(Came(("a", "u1", 1), ("b", "other", 1), ("c", "u3", 2)))  # type: ignore[arg-type]

    verdict = oracle.verdict()
    assert (verdict.lost, verdict.twice, verdict.changed) == ([], ["b"], ["c"])
    assert (verdict.received, verdict.again) == (3, 3)
    assert not verdict.is_kept


def test_the_oracle_sees_what_is_lost() -> None:
    oracle = Oracle()
    oracle.promised("socket", ["a", "b"])

    verdict = oracle.verdict()

    assert verdict.lost == ["a", "b"]
    assert not verdict.is_kept
