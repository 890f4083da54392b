"""Requests that were turned down: in the log and in `status`, without filling them."""

import logging

import pytest

from leanbase_relay.intake.complaints import Complaints
from tests.support.clock import FakeClock


def test_the_log_has_a_line_a_minute_for_each_status(
    caplog: pytest.LogCaptureFixture, clock: FakeClock
) -> None:
    caplog.set_level(logging.WARNING, logger="leanbase_relay")
    complaints = Complaints(clock)

    for _ in range(100):
        complaints.note(401, "http 127.0.0.1:1")
    complaints.note(413, "http 127.0.0.1:2")
    clock.now += 60
    complaints.note(401, "http 127.0.0.1:3")

    assert caplog.messages == [
        "requests_declined status=401 count=1 last_peer=http 127.0.0.1:1",
        "requests_declined status=413 count=1 last_peer=http 127.0.0.1:2",
        "requests_declined status=401 count=100 last_peer=http 127.0.0.1:3",
    ]


def test_a_wrong_key_is_a_problem_for_ten_minutes(clock: FakeClock) -> None:
    complaints = Complaints(clock)
    assert complaints.problems() == []
    complaints.note(404, "http 127.0.0.1:1")
    assert complaints.problems() == []

    complaints.note(401, "http uid=7 pid=8")
    (once,) = complaints.problems()
    clock.now += 599
    complaints.note(401, "http 127.0.0.1:1")
    (twice,) = complaints.problems()
    clock.now += 601

    assert once.startswith("An SDK came once with an API key that no project has")
    assert "http uid=7 pid=8" in once
    assert twice.startswith("An SDK came 2 times")
    assert complaints.problems() == []


def test_the_count_begins_anew_after_that(clock: FakeClock) -> None:
    complaints = Complaints(clock)
    complaints.note(401, "http")
    clock.now += 601
    complaints.note(401, "http")

    assert complaints.problems()[0].startswith("An SDK came once")
