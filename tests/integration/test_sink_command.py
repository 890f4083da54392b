"""``leanbase-relay sink`` as a child."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.integration.test_sink import TIMEOUT_SECONDS, batch

COMMAND = [
    *(sys.executable, "-c"),
    "from leanbase_relay.cli.sink import sink; sink()",
]


@pytest.mark.process
class TestCommand:
    @pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
    def test_it_shows_what_comes_and_ends_with_a_summary(self, ending: int) -> None:
        with subprocess.Popen(
            [*COMMAND, "--port", "0"], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            url = re.match(r"\S+", child.stdout.readline())
            assert url is not None
            with closing(
                http.client.HTTPConnection(
                    urlsplit(url[0]).netloc, timeout=TIMEOUT_SECONDS
                )
            ) as client:
                client.request("POST", "/batch/", batch("order placed"))
                assert client.getresponse().status == 200
            child.send_signal(ending)
            told = child.stdout.read()

        assert child.returncode == 0
        assert "200  POST /batch/  1 event" in told
        assert "order placed  u  00000000…0000" in told
        assert "\x1b" not in told
        assert "1 request, 1 event stored: 1 distinct row, 0 duplicates" in told

    def test_json_prints_requests_and_nothing_else(self) -> None:
        with subprocess.Popen(
            [*COMMAND, "--port", "0", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            url = child.stderr.readline().split()[0]
            with closing(http.client.HTTPConnection(urlsplit(url).netloc)) as client:
                client.request("POST", "/batch/", batch("e"))
                assert client.getresponse().status == 200
            line = child.stdout.readline()
            child.send_signal(signal.SIGTERM)
            assert child.stdout.read() == ""
            child.stderr.read()

        assert json.loads(line)["events"][0]["event"] == "e"

    def test_it_ends_quietly_when_nobody_reads_any_more(self) -> None:
        with subprocess.Popen(
            [*COMMAND, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            url = child.stdout.readline().split()[0].decode()
            child.stdout.close()
            with closing(http.client.HTTPConnection(urlsplit(url).netloc)) as client:
                client.request("POST", "/batch/", batch("e"))
                assert client.getresponse().status == 200
            complaints = child.stderr.read()

        assert (child.returncode, complaints) == (0, b"")

    def test_a_taken_port_is_explained(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            child = subprocess.run(
                [*COMMAND, "--port", port],
                capture_output=True,
                text=True,
                check=False,
                env=os.environ,
            )

        assert child.returncode == 1
        assert f"port {port} on 127.0.0.1 is taken" in child.stderr
        assert "Traceback" not in child.stderr

    def test_a_script_is_followed_and_v1_can_be_switched_off(
        self, tmp_path: Path
    ) -> None:
        script = tmp_path / "faults.yaml"
        script.write_text("faults: [{status: 502}]\nrefuse: {event: bad}\n")
        with subprocess.Popen(
            [*COMMAND, "--port", "0", "--script", script, "--no-v1"],
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdout is not None
            url = child.stdout.readline().split()[0]
            assert "faults.yaml" in child.stdout.readline()
            seen = []
            with closing(http.client.HTTPConnection(urlsplit(url).netloc)) as client:
                for path, name in [
                    ("/batch/", "good"),
                    ("/batch/", "bad"),
                    ("/batch/", "good"),
                    ("/i/v1/analytics/events", "good"),
                ]:
                    client.request("POST", path, batch(name))
                    reply = client.getresponse()
                    seen.append(reply.status)
                    reply.read()
            child.send_signal(signal.SIGTERM)
            told = child.stdout.read()

        assert seen == [502, 400, 200, 404]
        assert "refused at your wish" in told

    def test_a_wrong_script_is_explained_before_anything_starts(
        self, tmp_path: Path
    ) -> None:
        script = tmp_path / "faults.yaml"
        script.write_text("faults: [{status: 5}, {}]")
        child = subprocess.run(
            [sys.executable, "-m", "leanbase_relay", "sink", "--script", script],
            capture_output=True,
            text=True,
            check=False,
        )

        assert child.returncode == 78
        assert "entry 1 (line 1): status: 5 is no HTTP status" in child.stderr
        assert "entry 2 (line 1): {} is no fault" in child.stderr
        assert child.stdout == ""
