"""A log line is one line, whoever wrote what into it."""

import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from leanbase_relay import logs

log = logging.getLogger("leanbase_relay.forward.lane")


@pytest.fixture(autouse=True)
def _the_logging_before() -> Iterator[None]:
    root = logging.getLogger()
    ours = logging.getLogger(logs.PACKAGE)
    handlers, levels = root.handlers[:], (root.level, ours.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def logged(form: str, level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    logs.set_up(level, form, stream=stream, environ={})
    return stream


def fall() -> None:
    log.critical(
        "thread_fell thread=%s", "writer", exc_info=ValueError("first\nsecond")
    )


def test_text_begins_with_time_and_level() -> None:
    stream = logged("text")

    log.warning("lane_held project=%s status=%d", "default", 401)

    stamp, rest = stream.getvalue().split(" ", 1)
    assert stamp.endswith("Z")
    assert len(stamp) == len("2026-11-23T08:00:00Z")
    assert rest == "warning lane_held project=default status=401\n"


def test_what_cannot_be_printed_is_escaped() -> None:
    stream = logged("text")

    log.info("batch_refused reason=%s", "one\ntwo\x1b[2J café")

    assert stream.getvalue().endswith("reason=one\\ntwo\\x1b[2J café\n")


def test_an_exception_follows_on_lines_of_its_own() -> None:
    stream = logged("text")

    fall()

    head, *trace = stream.getvalue().splitlines()
    assert head.endswith("critical thread_fell thread=writer")
    assert trace == ["ValueError: first", "second"]


def test_json_has_the_facts_as_members() -> None:
    stream = logged("json")

    log.warning("lane_%s project=%s status=%d reason=%s", "held", "shop", 401, "a\nb")

    told = json.loads(stream.getvalue())
    assert told.pop("at").endswith("Z")
    assert told == {
        "level": "warning",
        "event": "lane_held",
        "project": "shop",
        "status": 401,
        "reason": "a\nb",
        "message": "lane_held project=shop status=401 reason=a\nb",
    }


def test_json_keeps_an_exception_in_its_line() -> None:
    stream = logged("json")

    fall()

    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["exception"].endswith("ValueError: first\nsecond")


def test_under_systemd_every_line_has_its_priority(tmp_path: Path) -> None:
    """The variable counts only for the stream that it names."""
    with (tmp_path / "journal").open("w+") as stream:
        look = os.fstat(stream.fileno())
        journal = {"JOURNAL_STREAM": f"{look.st_dev}:{look.st_ino}"}
        logs.set_up("info", "text", stream=stream, environ=journal)
        log.warning("lane_held project=%s", "default")
        fall()
        logs.set_up("info", "text", stream=stream, environ={"JOURNAL_STREAM": "1:2"})
        log.info("stopped")
        stream.seek(0)
        first, second, *_, last_but_one, last = stream.read().splitlines()

    assert first == "<4>lane_held project=default"
    assert second == "<2>thread_fell thread=writer"
    assert last_but_one == "<2>second"
    assert last.endswith("Z info stopped")


def test_the_level_is_ours_and_libraries_are_heard_from_warning_on() -> None:
    stream = logged("text", level="debug")

    log.debug("batch_delivered")
    logging.getLogger("urllib3").debug("chatter")
    logging.getLogger("urllib3").warning("pool is full")

    first, second = stream.getvalue().splitlines()
    assert first.endswith(" debug batch_delivered")
    assert second.endswith(" warning urllib3: pool is full")


def test_setting_up_again_replaces_what_was() -> None:
    before, after = logged("text"), logged("json")

    log.info("stopped")

    assert before.getvalue() == ""
    assert json.loads(after.getvalue())["event"] == "stopped"
