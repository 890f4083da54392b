"""``leanbase-relay purge``: give up a backlog that nobody wants any more."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from leanbase_relay import config
from leanbase_relay.cli.common import age_seconds, config_option, confirm
from leanbase_relay.cli.names import check_project, utf8
from leanbase_relay.cli.reach import changing, looking, slices
from leanbase_relay.cli.words import age, count, plain, size
from leanbase_relay.clock import SystemClock
from leanbase_relay.store.backlog import BacklogReader, Share, Waiting

EXAMPLE = """\b
Example: a year of test events that never found an upstream
  leanbase-relay purge --project staging --older-than 7d
"""


@click.command(
    epilog=EXAMPLE, short_help="Give up events of the backlog, after asking."
)
@config_option
@click.option("--project", type=utf8, metavar="P", help="Of this project; else of all.")
@click.option(
    "--older-than",
    type=age_seconds,
    metavar="AGE",
    help="Only what was accepted before: 12h, 7d.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="One JSON value, nothing else.")
def purge(
    config_path: Path | None,
    project: str | None,
    older_than: float | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Give up events of the backlog, after asking; they count as dropped.

    What is accepted while this runs is not touched. Dead letters have a purge of their
    own: `leanbase-relay dead-letters purge`.
    """
    conf = config.load(config_path, with_keys=False)
    check_project(project, conf)
    clock = SystemClock()
    now = clock.wall()
    before_ms = None if older_than is None else round((now - older_than) * 1000)
    with looking(conf, BacklogReader) as reader:
        share = Share(reader.highest(), 0, project, before_ms)
        waiting = reader.waiting(share)
    purged = {"dropped": 0, "bytes": 0}
    if waiting:
        confirm("Give them up?", _what(waiting, now), yes=yes)
    try:
        if waiting:
            with changing(conf, clock) as wish:
                for answer in slices(wish, "purge_backlog", **_members(share)):
                    purged = {name: purged[name] + answer[name] for name in purged}
    finally:  # what was done before an interruption is told too
        if as_json:
            click.echo(json.dumps(purged))
        elif waiting:
            events = count(purged["dropped"], "event")
            click.echo(f"Gave up {events}, {size(purged['bytes'])}.")
        else:
            click.echo("Nothing of that is waiting.")


def _members(share: Share) -> dict[str, Any]:
    """What does not change from slice to slice."""
    members = asdict(share)
    del members["after"]
    return members


def _what(waiting: list[Waiting], now: float) -> str:
    """What would go, project by project, and what that means."""
    lines = [
        plain(
            f"{one.project}: {count(one.events, 'event')}, {size(one.bytes)}, "
            f"the oldest waits for {age(max(now - one.oldest_at_ms / 1000, 0))}"
        )
        for one in waiting
    ]
    return "\n".join([*lines, "They would never be delivered, and count as dropped."])
