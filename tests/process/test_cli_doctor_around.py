"""`doctor` around the store: keys, files, spool, machine, and the way upstream."""

import ctypes
import json
import os
import ssl
from pathlib import Path
from typing import Any

import pytest

from leanbase_relay.cli import looks_around
from leanbase_relay.cli.finding import Patient, State
from leanbase_relay.clock import SystemClock
from leanbase_relay.config import load
from leanbase_relay.sink import Sink
from leanbase_relay.sink.fault import Fault
from leanbase_relay.sink.script import Script
from tests.support.process import RelayProcess, Settings, relay_command
from tests.support.upstream import RawUpstream, answer, says

pytestmark = pytest.mark.process


def doctor(relay: RelayProcess, **environ: str) -> list[dict[str, str]]:
    done = relay_command("doctor", "-c", relay.config, "--json", stdin=b"", **environ)
    assert done.stdout, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    findings: list[dict[str, str]] = told["findings"]
    ill = any(finding["state"] == "attention" for finding in findings)
    assert done.returncode == int(ill)
    return findings


def found(findings: list[dict[str, str]], look: str) -> dict[str, str]:
    """The finding of this look, the worst if there are several."""
    those = [finding for finding in findings if finding["look"] == look]
    assert those, f"{look} is not among {findings}"
    return max(those, key=lambda one: list(State).index(State(one["state"])))


def relay_with(
    directory: Path, url: str, settings: Settings | None = None
) -> RelayProcess:
    relay = RelayProcess(directory, url, settings)
    relay.config.chmod(0o640)
    return relay


# The way upstream.


def test_the_upstream_is_asked_without_events(short_dir: Path) -> None:
    projects: Settings = {"projects": {"shop": {"api_key": "phc_shop"}}}
    for protocol in ("batch", "v1"):
        with Sink() as sink:
            settings = {**projects, "upstream": {"url": sink.url, "protocol": protocol}}
            findings = doctor(relay_with(short_dir, sink.url, settings))

            assert sink.rows == {}
            assert len(sink.requests) == 2
        told = [one for one in findings if one["look"] == "upstream"]
        assert [one["state"] for one in told] == ["ok", "ok"]
        assert "answers as a capture service does" in told[0]["found"]
        assert "project shop: " in told[1]["found"]


def test_an_upstream_that_is_not_there_is_named(short_dir: Path) -> None:
    findings = doctor(relay_with(short_dir, "http://127.0.0.1:9"))

    told = found(findings, "upstream")
    assert told["state"] == "attention"
    assert "Connection refused" in told["found"]
    assert "curl -v http://127.0.0.1:9/batch/" in told["mend"]


def test_a_name_that_nobody_knows_is_named(short_dir: Path) -> None:
    told = found(doctor(relay_with(short_dir, "http://nowhere.invalid")), "DNS")

    assert told["state"] == "attention"
    assert told["found"].startswith("no address for nowhere.invalid: ")


@pytest.mark.parametrize(
    ("said", "reason", "mend"),
    [
        (answer("200 OK", b"<html>hello"), "captive portal", "curl"),
        (answer("400 Bad Request", b"<html>no"), "answered 400", "curl"),
        (answer("401 Unauthorized", b"no"), "answered 401", "the key of project"),
        (answer("301 Moved", b"", "Location: /x"), "redirects", "curl"),
        (answer("503 Busy", b"later"), "answered 503 (later)", "curl"),
    ],
)
def test_what_answers_instead_of_a_capture_service_is_named(
    short_dir: Path, said: bytes, reason: str, mend: str
) -> None:
    with RawUpstream(says(said)) as server:
        told = found(doctor(relay_with(short_dir, server.url)), "upstream")

    assert told["state"] == "attention"
    assert reason in told["found"]
    assert mend in told["mend"]


def test_a_key_that_is_the_daemons_alone_is_not_held_against_it(
    short_dir: Path,
) -> None:
    with RawUpstream(says(answer("401 Unauthorized", b"no"))) as server:
        settings: Settings = {"projects": {"default": {"api_key": None}}}
        told = found(doctor(relay_with(short_dir, server.url, settings)), "upstream")

    assert told["state"] == "ok"
    assert "that wants a key" in told["found"]


def test_each_project_is_asked_though_the_key_of_the_first_is_wrong(
    short_dir: Path,
) -> None:
    wrong = says(answer("401 Unauthorized", b"no"))
    right = says(answer("400 Bad Request", b"request holds no event"))
    settings: Settings = {"projects": {"shop": {"api_key": "phc_shop"}}}
    with RawUpstream(wrong, right) as server:
        findings = doctor(relay_with(short_dir, server.url, settings))

    told = [one for one in findings if one["look"] == "upstream"]
    assert [one["state"] for one in told] == ["attention", "ok"]
    assert told[0]["mend"] == "the key of project default"


def test_a_certificate_that_is_refused_is_named(
    short_dir: Path, tls: ssl.SSLContext, certificate: Path
) -> None:
    empty = answer("400 Bad Request", b"request holds no event")
    with RawUpstream(says(empty), says(empty), tls=tls) as server:
        stranger = doctor(relay_with(short_dir, server.url))
        settings = {"upstream": {"url": server.url, "ca_file": str(certificate)}}
        known = doctor(relay_with(short_dir, server.url, settings))

    assert found(stranger, "TLS")["state"] == "attention"
    assert "upstream.ca_file" in found(stranger, "TLS")["mend"]
    assert "certificate was refused" in found(stranger, "upstream")["found"]
    assert found(known, "TLS")["found"] == "the certificate is right"
    assert found(known, "upstream")["state"] == "ok"


def test_a_clock_that_differs_from_the_upstreams_is_named(short_dir: Path) -> None:
    with Sink() as sink:
        sink.follow(Script().then(Fault.skewed(-3600)))
        told = found(doctor(relay_with(short_dir, sink.url)), "clock")

    assert told["state"] == "attention"
    assert "60 min ahead of the upstream's" in told["found"]


def test_a_proxy_of_the_environment_is_not_asked_and_that_is_said(
    short_dir: Path,
) -> None:
    with Sink() as sink:
        relay = relay_with(short_dir, sink.url)
        told = found(doctor(relay, HTTPS_PROXY="http://10.0.0.1:3128"), "proxy")
        relay.configure(
            sink.url, {"upstream": {"proxy": "http://me:secret@127.0.0.1:9"}}
        )
        given = doctor(relay)

    assert told["state"] == "note"
    assert "HTTPS_PROXY is set here" in told["found"]
    assert found(given, "proxy")["found"] == "by http://********@127.0.0.1:9"
    assert found(given, "upstream")["state"] == "attention"
    assert "secret" not in json.dumps(given)


# Keys and files.


def test_a_personal_key_is_no_project_key(short_dir: Path) -> None:
    settings = {"projects": {"default": {"api_key": "phx_mine"}}}
    with Sink() as sink:
        told = found(doctor(relay_with(short_dir, sink.url, settings)), "keys")

    assert told["state"] == "attention"
    assert "is a personal API key" in told["found"]
    assert "phx_mine" not in json.dumps(told)


def test_a_key_that_does_not_look_like_one_is_a_note(short_dir: Path) -> None:
    settings = {"projects": {"default": {"api_key": "sk_other"}}}
    with Sink() as sink:
        told = found(doctor(relay_with(short_dir, sink.url, settings)), "keys")

    assert told["state"] == "note"
    assert "that of default does not begin with phc_" in told["found"]
    assert "sk_other" not in json.dumps(told)


def test_an_unknown_setting_is_named_with_the_nearest(short_dir: Path) -> None:
    relay = relay_with(short_dir, "http://127.0.0.1:9", {"batch": {"max_event": 5}})

    told = found(doctor(relay), "configuration")

    assert (
        "batch.max_event: no such setting; did you mean batch.max_events?"
        in (told["found"])
    )


def test_a_key_that_everybody_can_read_is_named(short_dir: Path) -> None:
    with Sink() as sink:
        relay = relay_with(short_dir, sink.url)
        relay.config.chmod(0o644)
        told = found(doctor(relay), "config file")
        key = short_dir / "key"
        key.write_text("phc_test")
        relay.configure(
            sink.url,
            {"projects": {"default": {"api_key_file": str(key), "api_key": None}}},
        )
        elsewhere = found(doctor(relay), "config file")

    assert told["state"] == "attention"
    assert f"sudo chmod o= {relay.config}" in told["mend"]
    assert elsewhere["state"] == "attention" or "0644" in elsewhere["found"]


def test_a_group_that_does_not_exist_is_named(short_dir: Path) -> None:
    settings = {"socket": {"group": "no-such-group"}}
    told = found(
        doctor(relay_with(short_dir, "http://127.0.0.1:9", settings)), "sockets"
    )

    assert told["state"] == "attention"
    assert "there is no group no-such-group" in told["found"]


def test_a_running_relay_tells_its_own_problems(short_dir: Path) -> None:
    with relay_with(short_dir, "http://127.0.0.1:9") as relay:
        relay.command(
            "capture", "seen", "--distinct-id", "u", "--socket", str(relay.socket)
        )
        relay.command("flush", "--wait", "1")
        told = found(doctor(relay), "daemon")

    assert told["state"] == "attention"
    assert "Project default cannot deliver" in told["found"]


# The spool.


@pytest.fixture
def spooling(short_dir: Path) -> RelayProcess:
    settings = {"spool": {"path": str(short_dir / "spool"), "scan_interval": "1h"}}
    relay = relay_with(short_dir, "http://127.0.0.1:9", settings)
    relay.spool.mkdir()
    relay.spool.chmod(0o3770)
    return relay


def aged(path: Path, seconds: float) -> None:
    path.write_bytes(b"{}\n")
    then = SystemClock().wall() - seconds
    os.utime(path, (then, then))


def test_spool_files_that_nobody_takes_are_named(spooling: RelayProcess) -> None:
    spool = spooling.spool
    aged(spool / "posthog.log", 5)
    aged(spool / "fresh.tmp", 5)
    aged(spool / "left.tmp", 7200)
    (spool / "shop").mkdir()
    aged(spool / "wait.jsonl", 7200)

    findings = [one for one in doctor(spooling) if one["look"] == "spool"]

    assert [one["state"] for one in findings] == ["note", "note"]
    assert "posthog.log, shop" in findings[0]["found"]
    assert findings[1]["found"].endswith("not renamed: left.tmp")


def test_a_spool_file_that_waits_beside_a_running_relay_is_stuck(
    spooling: RelayProcess,
) -> None:
    """It is held open, so that it is not removed."""
    path = spooling.spool / "held.jsonl"
    with path.open("wb") as holding, spooling:
        holding.write(b"{}\n")
        holding.flush()
        then = SystemClock().wall() - 7200
        os.utime(path, (then, then))

        told = found(doctor(spooling), "spool")

    assert told["state"] == "attention"
    assert "held.jsonl" in told["found"]
    assert "not changed for 2 h" in told["found"]


def test_a_spool_that_no_app_can_write_to_is_named(spooling: RelayProcess) -> None:
    spooling.spool.chmod(0o755)

    told = found(doctor(spooling), "spool")

    assert told["state"] == "note"
    assert "only root can put files into" in told["found"] or os.geteuid() != 0
    assert "chmod 3770" in told["mend"]


def test_a_spool_that_is_well_says_how_many_wait(spooling: RelayProcess) -> None:
    aged(spooling.spool / "wait.jsonl", 5)

    told = found(doctor(spooling), "spool")

    assert told["state"] == "ok"
    assert told["found"].endswith("spool: 1 file waiting")


# The machine.


def test_when_all_inotify_instances_are_used_that_is_named(
    spooling: RelayProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "max_user_watches").write_text("8192\n")
    (tmp_path / "max_user_instances").write_text("0\n")
    monkeypatch.setattr(looks_around, "_INOTIFY", tmp_path)
    patient = Patient(load(spooling.config), spooling.config, SystemClock(), pid=None)

    (full,) = looks_around.look_at_watching(patient)
    (tmp_path / "max_user_instances").write_text("100000\n")
    (well,) = looks_around.look_at_watching(patient)

    assert (full.state, well.state) == (State.ATTENTION, State.OK)
    assert "max_user_instances" in full.mend


@pytest.mark.parametrize(
    ("answered", "state", "words"),
    [
        (0, State.OK, "synchronised"),
        (5, State.NOTE, "does not know it for synchronised"),
        (-1, State.NOTE, "does not say"),
    ],
)
def test_the_kernel_is_asked_whether_the_clock_is_kept_right(
    spooling: RelayProcess,
    monkeypatch: pytest.MonkeyPatch,
    answered: int,
    state: State,
    words: str,
) -> None:
    class Kernel:
        @staticmethod
        def adjtimex(_: object) -> int:
            return answered

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Kernel)
    patient = Patient(load(spooling.config), spooling.config, SystemClock(), pid=None)

    (finding,) = looks_around.look_at_clock(patient)

    assert finding.state is state
    assert words in finding.found
