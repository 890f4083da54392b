"""The status page in a real browser: what it shows, and that it keeps itself fresh."""

import shutil
import subprocess
from pathlib import Path

import pytest

from leanbase_relay.sink import Sink
from tests.process.test_cli_metrics import free_port
from tests.support.process import RelayProcess
from tests.support.waiting import eventually

pytestmark = [pytest.mark.process, pytest.mark.slow]

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
WITHIN_SECONDS = 60
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="NO BROWSER: apt-get install chromium to test the page"
)
EVENT = b'{"event":"seen","distinct_id":"u1"}\n'


def browse(directory: Path, url: str, *options: str) -> str:
    """What the page has become after some seconds of its own time."""
    assert BROWSER is not None
    done = subprocess.run(
        [
            BROWSER,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            f"--user-data-dir={directory / 'browser'}",
            "--virtual-time-budget=5000",
            *options,
            url,
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=WITHIN_SECONDS,
    )
    return done.stdout


@needs_browser
def test_the_page_draws_what_is_so(short_dir: Path, tmp_path: Path) -> None:
    """1. The upstream refuses the key. 2. Events wait. 3. The page says so."""
    port = free_port()
    settings = {"metrics": {"listen": [f"127.0.0.1:{port}"]}}
    with (
        Sink(known_keys=frozenset({"phc_other"})) as sink,
        RelayProcess(short_dir, sink.url, settings) as relay,
    ):
        relay.command("send", stdin=EVENT * 1200)
        eventually(lambda: relay.status()["state"] == "held")

        shown = browse(tmp_path, f"http://127.0.0.1:{port}/", "--dump-dom")

    assert '<span id="word">held</span>' in shown
    assert "Needs you; nothing is lost." in shown
    assert "Project default is held: " in shown
    assert "1,200 events" in shown
    assert shown.count("<polyline points=") == 4, "backlog, in, out, and one lane"
    assert "accepted" in shown
    assert "<script>alert" not in shown


@needs_browser
def test_where_nothing_answers_the_page_says_so(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "leanbase_relay/observe/page.html"

    shown = browse(tmp_path, page.as_uri(), "--dump-dom")

    assert '<span id="word">no answer</span>' in shown
