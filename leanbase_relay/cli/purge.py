"""``leanbase-relay purge``: give up a backlog that nobody wants any more."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from leanbase_relay import config
from leanbase_relay.cli.common import age_seconds, config_option, confirm
from leanbase_relay.cli.reach import changing, looking
from leanbase_relay.cli.words import age, count, plain, size
from leanbase_relay.clock import Clock, SystemClock
from leanbase_relay.config import Config
from leanbase_relay.store.backlog import BacklogReader, Share, Waiting

EXAMPLE = """\b
Example: a year of test events that never found an upstream
  leanbase-relay purge --project staging --older-than 7d
"""


@click.command(epilog=EXAMPLE)
@config_option
@click.option("--project", metavar="P", help="Of this project; else of all.")
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
        for answer in _granted(conf, clock, share) if waiting else ():
            purged = {name: purged[name] + answer[name] for name in purged}
    finally:  # what was done before an interruption is told too
        if as_json:
            click.echo(json.dumps(purged))
        elif waiting:
            events = count(purged["dropped"], "event")
            click.echo(f"Gave up {events}, {size(purged['bytes'])}.")
        else:
            click.echo("Nothing of that is waiting.")


def _granted(conf: Config, clock: Clock, share: Share) -> Iterator[dict[str, Any]]:
    """Have it done, slice by slice."""
    after: int | None = 0
    with changing(conf, clock) as wish:
        while after is not None:
            answer = wish("purge_backlog", **asdict(replace(share, after=after)))
            yield answer
            after = answer["after"]


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
