"""``leanbase-relay send`` and ``import``: files of events, through the socket."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from leanbase_relay.cli.common import socket_options, socket_path
from leanbase_relay.cli.feeding import SOME_REFUSED, Convert, Kind, Runs, feed
from leanbase_relay.cli.lines import head, runs

EXAMPLE = """\b
Example: what an old system exported, into the project `shop`
  leanbase-relay send --project shop export-2026-*.jsonl.gz
  psql -At -c 'select row_to_json(e) from events e' | leanbase-relay send
  leanbase-relay send --historical-migration archive-2024.jsonl.gz
"""

IMPORT_EXAMPLE = """\b
Example: a log of the PHP SDK, and what PostHog's batch exports left in a bucket
  leanbase-relay import /tmp/posthog.log
  leanbase-relay import --historical-migration exports/*.jsonl.gz
  brotli -dc events.jsonl.br | leanbase-relay import
"""

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _feed_options(command: _Command) -> _Command:
    """What both commands take."""
    for option in reversed(
        (
            socket_options,
            click.option(
                "--project", metavar="P", help="Put the events into this project."
            ),
            click.option(
                "--historical-migration",
                "historical",
                is_flag=True,
                help="An import of events that are days old or older: upstream they go "
                "the slow way, in requests of their own.",
            ),
            click.option(
                "--from",
                "first",
                metavar="LINE",
                type=click.IntRange(1),
                default=1,
                help="Go on with this line of the first file.",
            ),
            click.argument(
                "files",
                nargs=-1,
                metavar="[FILE]...",
                type=click.Path(exists=True, dir_okay=False, allow_dash=True),
            ),
        )
    ):
        command = option(command)
    return command


@click.command(epilog=EXAMPLE)
@_feed_options
def send(**options: Any) -> None:
    """Send JSON Lines to the relay and wait until all is stored.

    One event a line; .gz files are unpacked; - or no FILE is stdin. Refused lines are
    named on stderr, and the exit code is 4 then. If it ends before the end, it says
    with which line to go on.
    """
    _feed("send", **options)


@click.command(
    "import",
    epilog=IMPORT_EXAMPLE,
    short_help="Send what another program has written down.",
)
@_feed_options
def import_(**options: Any) -> None:
    """Send events that another program wrote down, and wait until all is stored.

    Files are logs of the PHP SDK's file consumer, PostHog's batch exports of events in
    JSON Lines, or pages of its events API (JSON); .gz files are unpacked; - or no FILE
    is stdin. Of an exported row go name, id, time, uuid and properties; persons are
    made anew upstream. An event without a uuid gets one from its line and the line's
    number, so that an import may be run again: the upstream keeps one of the two.

    For the rest it is like `send`.
    """
    from leanbase_relay.cli import foreign

    _feed("import", runs=foreign.lines_of, convert=foreign.as_events, **options)


def _feed(
    name: str,
    *,
    runs: Runs = runs,
    convert: Convert | None = None,
    socket: Path | None,
    config_path: Path | None,
    project: str | None,
    historical: bool,
    first: int,
    files: tuple[str, ...],
) -> None:
    again = [name]
    again += ["--config", str(config_path)] if config_path else []
    again += ["--socket", str(socket)] if socket else []
    again += ["--project", project] if project else []
    again += ["--historical-migration"] if historical else []
    fed = feed(
        Kind(shlex.join(again), runs, convert),
        socket_path(socket, config_path),
        files,
        first=first,
        members=head(project=project, historical=historical),
    )
    click.echo(f"stored {fed.stored:,}, refused {fed.refused:,}")
    click.get_current_context().exit(SOME_REFUSED if fed.refused else 0)
