"""``leanbase-relay flush``: send now, and tell whether all of it went."""

from pathlib import Path
from typing import Any

import click

from leanbase_relay import config
from leanbase_relay.cli.common import ask, config_option
from leanbase_relay.cli.words import count
from leanbase_relay.clock import Clock, SystemClock
from leanbase_relay.config import Config

LOOK_SECONDS = 0.1

EXAMPLE = """\b
Example: before a machine is taken away
  leanbase-relay flush --wait 60 && sudo poweroff
"""


@click.command(epilog=EXAMPLE)
@config_option
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Wait for the backlog to be empty, at most so long.",
)
@click.pass_context
def flush(
    ctx: click.Context, config_path: Path | None, wait_seconds: float | None
) -> None:
    """Send the backlog now, without waiting for a delay or a hold.

    With --wait the exit code is 0 if the backlog is empty, and 1 when time is up or a
    project is held after its attempt.
    """
    conf = config.load(config_path, with_keys=False)
    before = ask(conf, "status")
    ask(conf, "flush")
    if wait_seconds is None:
        click.echo(f"Sending {_backlog(before)}.")
        return
    after = _wait(conf, before, wait_seconds, SystemClock())
    if after["backlog"]["events"] == 0:
        click.echo("The backlog is empty.")
        return
    click.echo(f"{_backlog(after)} left.", err=True)
    for problem in after["problems"]:
        click.echo(problem, err=True)
    ctx.exit(1)


def _wait(
    conf: Config, before: dict[str, Any], seconds: float, clock: Clock
) -> dict[str, Any]:
    """Look until there is nothing left to wait for; the last look."""
    poke = clock.poke()
    deadline = clock.monotonic() + seconds
    while True:
        look: dict[str, Any] = ask(conf, "status")
        left = deadline - clock.monotonic()
        if not look["backlog"]["events"] or left <= 0 or _is_held(look, before):
            return look
        clock.wait(min(LOOK_SECONDS, left), poke)


def _is_held(look: dict[str, Any], before: dict[str, Any]) -> bool:
    """True if a project is held by an attempt that was made since."""
    return any(
        project["state"] == "held"
        and _attempt(project) != _attempt(before["projects"].get(name))
        for name, project in look["projects"].items()
    )


def _attempt(project: dict[str, Any] | None) -> object:
    upstream = project["upstream"] if project else {}
    return upstream.get("attempt"), upstream.get("last_error_at")


def _backlog(look: dict[str, Any]) -> str:
    return count(look["backlog"]["events"], "event")
