"""The examples of every language do what they say: one event, on the relay's disk."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from leanbase_relay.sink import Sink
from tests.support.process import RelayProcess, environment

EXAMPLES = Path(__file__).parents[2] / "examples"
STORED = '{"stored":1,"refused":0}\n'
WITHIN_SECONDS = 60  # Go compiles

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


def needs(command: str, package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        shutil.which(command) is None,
        reason=f"NOT TESTED: the example for {command}, which is not here "
        f"(apt-get install {package})",
    )


def run(*command: str | Path, code: int = 0) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        check=False,
        timeout=WITHIN_SECONDS,
        env=environment({}),
    )
    assert done.returncode == code, done.stderr
    return done.stdout.decode()


@pytest.mark.parametrize(
    "command",
    [
        pytest.param((sys.executable, "-P", "python/send_plain.py"), id="python"),
        pytest.param(("node", "node/send.mjs"), marks=needs("node", "nodejs")),
        pytest.param(("go", "run", "go/main.go"), marks=needs("go", "golang-go")),
        pytest.param(("sh", "shell/send.sh"), marks=needs("socat", "socat")),
    ],
    ids=lambda command: command[0],
)
def test_an_example_sends_an_event_and_hears_that_it_is_stored(
    short_dir: Path, sink: Sink, command: tuple[str, ...]
) -> None:
    *program, script = command
    before = len(sink.events)
    with RelayProcess(short_dir, sink.url) as relay:
        said = run(*program, EXAMPLES / script, relay.socket)
        assert sink.wait_for(before + 1, within_seconds=10)

    assert said.startswith(STORED)
    (event,) = sink.events[before:]
    assert event["event"] in ("order placed", "backup done")
    assert list(event["properties"].values()) == [12.5]


def test_the_python_example_says_what_became_of_its_event(
    short_dir: Path, sink: Sink
) -> None:
    script = EXAMPLES / "python/send.py"
    before = len(sink.events)
    with RelayProcess(short_dir, sink.url) as relay:
        said = run(sys.executable, "-P", script, relay.socket)
        assert sink.wait_for(before + 1, within_seconds=10)

    (event,) = sink.events[before:]
    assert said == f"stored {event['uuid']} \n"


@needs("node", "nodejs")
def test_the_node_example_says_that_there_is_no_relay(short_dir: Path) -> None:
    assert run("node", EXAMPLES / "node/send.mjs", short_dir / "none", code=1) == ""
