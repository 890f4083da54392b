"""``leanbase-relay flush``: send now, and tell whether all of it went."""

import math
from collections.abc import Container
from pathlib import Path
from typing import Any

import click

from leanbase_relay import config
from leanbase_relay.cli.common import ask, config_option
from leanbase_relay.cli.names import check_project, utf8
from leanbase_relay.cli.words import age, count
from leanbase_relay.clock import Clock, SystemClock
from leanbase_relay.config import Config

LOOK_SECONDS = 0.1

EXAMPLE = """\b
Example: before a machine is taken away
  leanbase-relay flush --wait 60 && sudo poweroff
"""


@click.command(epilog=EXAMPLE)
@config_option
@click.option("--project", type=utf8, metavar="P", help="Of this project; else of all.")
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Wait for the backlog to be empty, at most so long.",
)
@click.pass_context
def flush(
    ctx: click.Context,
    config_path: Path | None,
    project: str | None,
    wait_seconds: float | None,
) -> None:
    """Send the backlog now, without waiting for a delay or a hold.

    An upstream that asked to be left alone (Retry-After) is waited for all the same.
    With --wait the exit code is 0 if the backlog is empty, and 1 when time is up or a
    project is held after its attempt.
    """
    conf = config.load(config_path, with_keys=False)
    check_project(project, conf, stored=False)
    before = _look(conf, project)
    waiting = ask(conf, "flush", project=project)["waiting"]
    for name, seconds in waiting.items():
        click.echo(
            f"Project {name} waits {age(math.ceil(seconds))} more: the upstream asked "
            "for it (Retry-After).",
            err=True,
        )
    if wait_seconds is None:
        if (events := _events(before, but=waiting)) or not waiting:
            click.echo(f"Sending {count(events, 'event')}.")
        return
    after = _wait(conf, project, before, wait_seconds, SystemClock())
    if not _events(after):
        click.echo("The backlog is empty.")
        return
    click.echo(f"{count(_events(after), 'event')} left.", err=True)
    for problem in after["problems"]:
        click.echo(problem, err=True)
    ctx.exit(1)


def _look(conf: Config, project: str | None) -> dict[str, Any]:
    """The status, with no other project than this one."""
    look: dict[str, Any] = ask(conf, "status")
    if project is not None:
        look["projects"] = {
            name: one for name, one in look["projects"].items() if name == project
        }
    return look


def _wait(
    conf: Config,
    project: str | None,
    before: dict[str, Any],
    seconds: float,
    clock: Clock,
) -> dict[str, Any]:
    """Look until there is nothing left to wait for; the last look."""
    poke = clock.poke()
    deadline = clock.monotonic() + seconds
    while True:
        look = _look(conf, project)
        left = deadline - clock.monotonic()
        if not _events(look) or left <= 0 or _is_held(look, before):
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


def _events(look: dict[str, Any], *, but: Container[str] = ()) -> int:
    """How many wait, in other projects than these."""
    return sum(
        one["backlog"]["events"]
        for name, one in look["projects"].items()
        if name not in but
    )
