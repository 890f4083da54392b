"""Every command explains itself, with an example."""

import pytest

from leanbase_relay import __version__
from leanbase_relay.cli import COMMANDS
from tests.support.process import relay_command

pytestmark = pytest.mark.process


@pytest.mark.parametrize(("family", "least"), [("", 12), ("dead-letters", 5)])
def test_all_commands_are_listed_with_a_sentence(family: str, least: int) -> None:
    done = relay_command(*family.split(), "--help")

    assert done.returncode == 0
    listed = done.stdout.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert len(listed) >= least
    assert not [line for line in listed if line.endswith("...")], "it is cut off"
    assert all(len(line.split()) > 3 for line in listed)


FAMILY = [
    f"dead-letters {name}" for name in ("list", "show", "requeue", "export", "purge")
]


@pytest.mark.parametrize("command", ["", *COMMANDS, *FAMILY])
def test_help_has_an_example(command: str) -> None:
    done = relay_command(*command.split(), "--help")

    assert done.returncode == 0
    assert "Example" in done.stdout
    assert "leanbase-relay " in done.stdout.partition("Example")[2]


def test_the_version_is_told() -> None:
    assert (
        relay_command("--version").stdout == f"leanbase-relay, version {__version__}\n"
    )


def test_an_unknown_command_is_a_wrong_command_line() -> None:
    assert relay_command("frobnicate").returncode == 2
