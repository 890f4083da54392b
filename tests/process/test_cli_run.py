"""`run`: exit codes, the log, and the configuration's complaints."""

import json
import signal
from pathlib import Path

import pytest
import yaml

from tests.support.process import RelayProcess, relay_command
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

TEN_MISTAKES = {
    "upstream": {"url": "ftp://example.com", "timeout": 30, "compresion": "gzip"},
    "batch": {"max_events": 0, "max_wait": "soon"},
    "store": {"when_full": "explode", "max_bytes": "plenty"},
    "socket": {"mode": "rw-rw----"},
    "spool": {"path": "here"},
    "projects": {"default": {"api_key": ""}},
}


def test_sigterm_ends_it_with_0(short_dir: Path) -> None:
    with RelayProcess(short_dir) as relay:
        assert relay.stop() == 0

    events = [line.split()[2] for line in relay.log.splitlines()]
    assert events == ["started", "stopping", "stopped"]
    assert not relay.control.exists()


def test_a_second_daemon_leaves_with_3_and_names_the_first(short_dir: Path) -> None:
    with RelayProcess(short_dir) as relay:
        second = relay.command("run")

        assert relay.status()["running"]

    assert second.returncode == 3
    assert f"(pid {relay.pid})" in second.stderr


def test_a_wrong_configuration_leaves_the_store_alone(short_dir: Path) -> None:
    with RelayProcess(short_dir) as relay:
        relay.command("send", stdin=b'{"event":"seen","distinct_id":"u1"}\n')
        relay.stop()
    before = {path: path.read_bytes() for path in short_dir.glob("relay.db*")}
    relay.configure(settings={"store": {"max_bytes": "plenty"}})

    assert relay.command("run").returncode == 78

    after = {path: path.read_bytes() for path in short_dir.glob("relay.db*")}
    assert after == before
    assert relay.store in after


@pytest.mark.parametrize("command", ["run", "check-config"])
def test_ten_mistakes_are_ten_complaints(short_dir: Path, command: str) -> None:
    path = short_dir / "wrong.yaml"
    path.write_text(yaml.safe_dump(TEN_MISTAKES))

    done = relay_command(command, "-c", path)

    assert done.returncode == 78
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 10
    assert all(line.startswith("Error: ") for line in done.stderr.splitlines())


def test_check_config_prints_what_is_in_effect_and_touches_nothing(
    short_dir: Path,
) -> None:
    relay = RelayProcess(short_dir)
    before = sorted(short_dir.iterdir())

    done = relay.command("check-config")

    assert done.returncode == 0
    told = yaml.safe_load(done.stdout)
    assert told["batch"]["max_wait"] == "50ms"
    assert "phc_test" not in done.stdout
    assert sorted(short_dir.iterdir()) == before


def test_the_log_can_be_json(short_dir: Path) -> None:
    settings = {"log": {"format": "json"}}
    with RelayProcess(short_dir, settings=settings) as relay:
        relay.stop()

    first, *_ = (json.loads(line) for line in relay.log.splitlines())
    assert first["event"] == "started"
    assert first["level"] == "info"
    assert first["pid"] == relay.pid


def test_sighup_takes_up_the_level_of_the_log(short_dir: Path) -> None:
    with RelayProcess(short_dir) as relay:
        relay.configure(settings={"log": {"level": "error"}})
        relay.signal(signal.SIGHUP)
        relay.signal(signal.SIGHUP)
        relay.stop()

    assert "stopping" not in relay.log


def test_a_bad_configuration_at_sighup_is_reported_and_the_old_one_stays(
    short_dir: Path,
) -> None:
    with RelayProcess(short_dir) as relay:
        relay.config.write_text(yaml.safe_dump(TEN_MISTAKES))
        relay.signal(signal.SIGHUP)
        (problem,) = eventually(lambda: relay.status()["problems"])

        assert relay.stop() == 0

    assert "the old one stays" in problem
    assert relay.log.count("config_refused") == 10
