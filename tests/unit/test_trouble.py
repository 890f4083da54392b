"""The two lines of log: trouble begins, and something is delivered again."""

import pytest

from leanbase_relay.forward.trouble import Trouble
from leanbase_relay.forward.verdict import Judgement, Verdict
from tests.support.clock import FakeClock

BUSY = Judgement(Verdict.LATER, "answered 503")
WRONG_KEY = Judgement(Verdict.HELD, "answered 401")


def lines(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().split(" project")[0] for record in log.records]


def state(trouble: Trouble) -> str | None:
    return trouble.state


def test_a_refusal_is_no_recovery_and_no_trouble(log: pytest.LogCaptureFixture) -> None:
    """The upstream is there again, refuses, is busy once more, and takes something."""
    clock = FakeClock()
    trouble = Trouble("default", clock)
    trouble.meet(BUSY, backlog=3)

    trouble.pause()
    assert state(trouble) is None
    assert lines(log) == ["lane_backing_off"]
    clock.now += 60
    trouble.meet(BUSY, backlog=3)
    assert state(trouble) == "backing_off"
    assert lines(log) == ["lane_backing_off"], "it is still the same trouble"
    trouble.end()

    assert state(trouble) is None
    assert lines(log) == ["lane_backing_off", "lane_recovered"]
    assert "after_attempts=2 after_seconds=60" in log.records[-1].getMessage()


def test_another_kind_of_trouble_is_said(log: pytest.LogCaptureFixture) -> None:
    trouble = Trouble("default", FakeClock())

    trouble.meet(BUSY, backlog=1)
    trouble.meet(WRONG_KEY, backlog=1)
    trouble.meet(WRONG_KEY, backlog=1)

    assert lines(log) == ["lane_backing_off", "lane_held"]
    assert state(trouble) == "held"


def test_what_is_gone_by_another_door_is_no_recovery(
    log: pytest.LogCaptureFixture,
) -> None:
    trouble = Trouble("default", FakeClock())
    trouble.meet(BUSY, backlog=1)

    trouble.forget()
    trouble.end()

    assert lines(log) == ["lane_backing_off"]
