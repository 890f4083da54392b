"""``leanbase-relay peek``, ``export`` and ``query``: looking into the backlog."""

import csv
import gzip
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

import click

from leanbase_relay import config
from leanbase_relay.cli.common import age_seconds, config_option
from leanbase_relay.cli.names import utf8
from leanbase_relay.cli.reach import looking
from leanbase_relay.cli.words import plain
from leanbase_relay.clock import SystemClock
from leanbase_relay.errors import RelayError

if TYPE_CHECKING:
    from leanbase_relay.store.look import Look, Waiting

PEEKED = 10
SHOWN_ROWS = 1000
CELL_CHARACTERS = 60

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _filters(command: _Command) -> _Command:
    """Which events; passed on as what `Look.events` takes."""

    @wraps(command)
    def with_times(
        *, newer_than: float | None, older_than: float | None, **others: Any
    ) -> Any:
        now = SystemClock().wall()
        after_ms, before_ms = (
            None if ago is None else round((now - ago) * 1000)
            for ago in (newer_than, older_than)
        )
        which = {name: others.pop(name) for name in ("project", "name")}
        which |= {"after_ms": after_ms, "before_ms": before_ms}
        return command(which=which, **others)

    for option in (
        click.option(
            "--newer-than",
            type=age_seconds,
            metavar="AGE",
            help="Accepted since: 30m, 12h, 7d.",
        ),
        click.option(
            "--older-than",
            type=age_seconds,
            metavar="AGE",
            help="Accepted before: 30m, 12h, 7d.",
        ),
        click.option(
            "--event", "name", type=utf8, metavar="NAME", help="Only of this name."
        ),
        click.option("--project", type=utf8, metavar="P", help="Only of this project."),
    ):
        with_times = option(with_times)
    return cast("_Command", with_times)


@click.command(
    epilog="""\b
Example: what goes next
  leanbase-relay peek -n 3 | jq -c '[.event, .distinct_id]'
"""
)
@config_option
@click.option("-n", "count", default=PEEKED, show_default=True, help="How many.")
@_filters
def peek(config_path: Path | None, count: int, which: dict[str, Any]) -> None:
    """Show the oldest events of the backlog, as JSON Lines.

    The relay may run or not; nothing is taken out.
    """
    with _look(config_path) as look:
        for number, one in enumerate(look.events(**which), 1):
            if number > count:
                return
            click.echo(_line(one))


@click.command(
    short_help="Write the backlog as JSON Lines, oldest first.",
    epilog="""\b
Example: keep what an old relay had, and give it to another
  leanbase-relay export -o backlog.jsonl.gz
  leanbase-relay send --socket /run/other/relay.sock backlog.jsonl.gz
""",
)
@config_option
@_filters
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A new file instead of stdout; packed if it ends in .gz.",
)
def export(
    config_path: Path | None, output: Path | None, which: dict[str, Any]
) -> None:
    """Write the events of the backlog, as JSON Lines, oldest first.

    Nothing is taken out: what is exported and sent on arrives from here too, and the
    upstream keeps one of the two, since both have the same identity.
    """
    count = 0
    with _look(config_path) as look, _opened(output) as file:
        for one in look.events(**which):
            file.write(_line(one) + b"\n")
            count += 1
    click.echo(f"exported {count:,}", err=True)


@click.command(
    epilog="""\b
Example: what waits, by name
  leanbase-relay query 'select event, count(*) from events group by 1 order by 2 desc'
  leanbase-relay query "select reason, count(*) from dead_letters group by 1"
Columns of events: seq, project, event, distinct_id, timestamp, uuid, accepted_at,
properties (JSON text: properties ->> '$.plan'). Of dead_letters: id, door, project,
event, distinct_id, uuid, status, reason, origin, accepted_at, died_at, line.
"""
)
@config_option
@click.argument("sql", type=utf8)
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated, with a head.")
def query(config_path: Path | None, sql: str, *, as_csv: bool) -> None:
    """Ask the backlog in SQL; it is read only.

    A table on a terminal, JSON Lines elsewhere.
    """
    from leanbase_relay.store.look import NotAQuestion

    with _look(config_path) as look:
        try:
            columns, rows = look.ask(sql)
            if as_csv:
                _write_csv(columns, rows)
            elif sys.stdout.isatty():
                _show(columns, rows)
            else:
                for row in rows:
                    click.echo(
                        json.dumps(dict(zip(columns, map(_value, row), strict=True)))
                    )
        except NotAQuestion as error:
            raise click.UsageError(
                f"{error}; only questions (select …) over the tables events and "
                "dead_letters are answered"
            ) from None


@contextmanager
def _look(config_path: Path | None) -> "Iterator[Look]":
    """Eyes upon the store of this configuration."""
    from leanbase_relay.store.look import Look

    conf = config.load(config_path, with_keys=False)
    try:
        with looking(conf, Look) as look:
            yield look
    except BrokenPipeError:
        sys.stderr.close()  # `| head` has seen enough


@contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    if output is None:
        yield sys.stdout.buffer
        return
    try:
        with output.open("xb") as file:
            if output.suffix == ".gz":
                with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1) as packed:
                    yield packed  # type: ignore[misc]
            else:
                yield file
    except FileExistsError:
        raise RelayError(f"{output} is there already; name a new file") from None


def _line(one: "Waiting") -> bytes:
    """The event on one line: a newline can only stand between its members."""
    return one.event_bytes.replace(b"\r", b" ").replace(b"\n", b" ")


def _value(value: object) -> object:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _write_csv(columns: Sequence[str], rows: Iterable[tuple[object, ...]]) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(columns)
    writer.writerows(map(_value, row) for row in rows)


def _show(columns: Sequence[str], rows: Iterable[tuple[object, ...]]) -> None:
    """A table for people; what does not fit is said, not cut in silence."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=None, header_style="dim", pad_edge=False)
    more = 0
    for number, row in enumerate(rows):
        if number < SHOWN_ROWS:
            table.add_row(*map(_cell, row))
        else:
            more += 1
    Console().print(table)
    if more:
        click.echo(f"… and {more:,} more: send it to a file to have them all", err=True)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    text = plain(str(_value(value)))
    return text if len(text) <= CELL_CHARACTERS else f"{text[: CELL_CHARACTERS - 1]}…"
