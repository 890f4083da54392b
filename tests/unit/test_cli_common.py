"""What several commands share."""

from pathlib import Path

import click
import pytest

from leanbase_relay.cli.common import age_seconds, no_permission, socket_path
from leanbase_relay.errors import ConfigError


@pytest.fixture(autouse=True)
def _no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LEANBASE_RELAY_CONFIG", str(tmp_path / "none.yaml"))


def test_a_socket_that_is_named_needs_no_configuration(tmp_path: Path) -> None:
    own = Path("/run/own.sock")

    assert socket_path(own, tmp_path / "none.yaml") == own


def test_without_a_configuration_the_default_serves() -> None:
    assert socket_path(None, None) == Path("/run/leanbase-relay/relay.sock")


def test_a_configuration_says_where_the_socket_is(tmp_path: Path) -> None:
    """Its key need not be readable."""
    path = tmp_path / "config.yaml"
    path.write_text("socket: {path: /run/other.sock}\n")

    assert socket_path(None, path) == Path("/run/other.sock")


def test_a_configuration_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        socket_path(None, tmp_path / "none.yaml")


def test_the_owner_and_the_group_of_a_socket_are_named(tmp_path: Path) -> None:
    socket = tmp_path / "control.sock"
    socket.touch()

    told = str(no_permission(socket))

    assert told.startswith(f"you may not use {socket}: it is for ")
    assert f"the group {socket.group()}" in told
    assert "usermod -aG" in told


def test_of_what_is_out_of_sight_the_directory_is_named(tmp_path: Path) -> None:
    told = str(no_permission(tmp_path / "away" / "control.sock"))

    assert f"the group of {tmp_path / 'away'}" in told


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45), ("30m", 1800), ("12h", 43_200), ("7d", 604_800), ("2w", 1_209_600)],
)
def test_an_age_has_its_unit(text: str, seconds: float) -> None:
    assert age_seconds(text) == seconds


@pytest.mark.parametrize("text", ["7", "7 d", "-7d", "soon", "1h30m", "9999999999d"])
def test_what_is_no_age_is_told_what_one_looks_like(text: str) -> None:
    with pytest.raises(click.BadParameter, match="30m, 12h or 7d"):
        age_seconds(text)
