"""What a person at a terminal sees."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.process import RelayProcess, environment
from tests.support.terminal import Terminal

pytestmark = pytest.mark.process

EVENT = b'{"event":"seen","distinct_id":"u1"}\n'


def test_colours_are_for_terminals_whose_owner_wants_them(short_dir: Path) -> None:
    config = RelayProcess(short_dir).config

    with Terminal("status", "-c", config) as colourful:
        assert colourful.wait() == 3
    with Terminal("status", "-c", config, NO_COLOR="1") as plain:
        assert plain.wait() == 3

    assert "\x1b[31m" in colourful.raw
    assert "\x1b" not in plain.raw
    assert _without_free(colourful.text) == _without_free(plain.text)


def _without_free(text: str) -> str:
    """Others use the disk meanwhile."""
    return re.sub(r"\S+ GiB free", "… free", text)


def test_watching_redraws_until_it_is_interrupted(short_dir: Path) -> None:
    with (
        RelayProcess(short_dir) as relay,
        Terminal("status", "-c", relay.config, "--watch") as watching,
    ):
        watching.await_text("idle: all is delivered")
        watching.await_text("right: the most")
        relay.stop()
        watching.await_text("stopped: no relay is running")

        assert watching.interrupt() == 0


def test_sending_shows_how_far_it_is(short_dir: Path) -> None:
    path = short_dir / "events.jsonl"
    path.write_bytes(EVENT * 1000 + b"{}\n")
    with (
        RelayProcess(short_dir) as relay,
        Terminal("send", "--socket", relay.socket, path) as sending,
    ):
        assert sending.wait() == 4

    assert "sending" in sending.text
    assert f"{path}:1001: " in sending.text
    assert sending.text.endswith("stored 1,000, refused 1\n")


@pytest.mark.slow
def test_the_commands_that_the_demo_shows_work_when_pasted(short_dir: Path) -> None:
    """1. It shows commands. 2. Each is run by a shell. 3. Their events arrive."""
    with Terminal("demo", TMPDIR=str(short_dir)) as demo:
        shown = demo.await_text("Ctrl-C ends the demo")
        commands = re.findall(r"^  (\S.*)$", shown.split("Ctrl-C")[0], re.MULTILINE)
        assert len(commands) == 3
        demo.await_text("delivered      600 events")
        for command in commands:
            subprocess.run(
                ["/bin/sh", "-c", command],
                check=True,
                capture_output=True,
                env=environment({"PATH": os.defpath}),
            )
        demo.await_text("hello relay", times=2)
        demo.await_text("from a file", times=2)

        assert demo.interrupt() == 0

    assert demo.text.endswith("Ended; nothing is left behind.\n")
    assert list(short_dir.iterdir()) == []
