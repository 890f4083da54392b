"""``leanbase-relay dead-letters``: what was refused, why, and what becomes of it."""

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import click

from leanbase_relay import config
from leanbase_relay.cli import letter_screen
from leanbase_relay.cli.common import config_option, confirm
from leanbase_relay.cli.letter_lines import sendable
from leanbase_relay.cli.letter_options import LARGEST_ID, Asked, selecting
from leanbase_relay.cli.reach import changing, looking, slices
from leanbase_relay.cli.words import age, count, plain, size
from leanbase_relay.clock import SystemClock
from leanbase_relay.errors import RelayError
from leanbase_relay.store.letters import (
    MAX_REQUEUES,
    Count,
    KeptLetter,
    LetterReader,
    Selection,
)

LISTED = 100
PAGE_LETTERS = 500
PAGE_BYTES = 4 << 20
IDS_A_REQUEST = 1000
SHOWN_REASONS = 20
SOME_STAY = 4

EXAMPLE = """\b
Example: what the upstream refused today; once its reason is gone, send it again
  leanbase-relay dead-letters list --door upstream --newer-than 1d
  leanbase-relay dead-letters requeue --door upstream --newer-than 1d
"""
LIST_EXAMPLE = """\b
Example: which events, how often
  leanbase-relay dead-letters list --json --limit 0 | jq -r '.[].event' | sort | uniq -c
"""
SHOW_EXAMPLE = """\b
Example:
  leanbase-relay dead-letters show 17
"""
REQUEUE_EXAMPLE = """\b
Example: after a schema was mended upstream
  leanbase-relay dead-letters requeue --event 'order placed' --status 400
Exit code: 0 done, 4 some cannot come back.
"""
EXPORT_EXAMPLE = """\b
Example: mend and send; then let go of what was mended, which ends with letter 17
  leanbase-relay dead-letters export --project shop > shop.jsonl
  $EDITOR shop.jsonl && leanbase-relay send shop.jsonl
  leanbase-relay dead-letters purge --project shop --upto 17
"""
PURGE_EXAMPLE = """\b
Example: from a timer
  leanbase-relay dead-letters purge --older-than 30d --yes
"""


@click.group(
    "dead-letters",
    epilog=EXAMPLE,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@config_option
@click.pass_context
def dead_letters(ctx: click.Context, config_path: Path | None) -> None:
    """See, send again or give up what was refused.

    A dead letter is an event that the upstream refused (door upstream), or a line that
    never became one (door intake). The filters add up; IDs are the numbers that `list`
    shows.
    """
    ctx.obj = config_path


@dead_letters.command("list", epilog=LIST_EXAMPLE)
@selecting
@click.option("--json", "as_json", is_flag=True, help="One JSON array, nothing else.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=LISTED,
    show_default=True,
    metavar="N",
    help="Show so many at most; 0 is all.",
)
def list_(asked: Asked, *, as_json: bool, limit: int) -> None:
    """List them, newest first."""
    with asked.reader() as reader:
        newest = reader.newest(asked.which, limit=limit or None)
        if as_json:
            _print_array(letter_screen.summary(kept) for kept in newest)
        else:
            letters = list(newest)
            found = reader.count(asked.which, upto=reader.highest())
            _print_table(letters, found, asked)
        missing = reader.unknown(asked.which.ids)
    _complain_of(missing)


@dead_letters.command(epilog=SHOW_EXAMPLE)
@config_option
@click.option("--json", "as_json", is_flag=True, help="As `export --full` has it.")
@click.argument(
    "ids",
    nargs=-1,
    required=True,
    metavar="ID...",
    type=click.IntRange(1, LARGEST_ID),
)
@click.pass_context
def show(
    ctx: click.Context, config_path: Path | None, ids: tuple[int, ...], *, as_json: bool
) -> None:
    """Show all that is known of one, and its event."""
    conf = config.load(config_path or ctx.obj, with_keys=False)
    now = SystemClock().wall()
    with looking(conf, LetterReader) as reader:
        for number, kept in enumerate(_whole(reader, Selection(ids=ids))):
            if as_json:
                click.echo(json.dumps(letter_screen.whole(kept)))
            else:
                click.echo("\n" * (number > 0) + letter_screen.facts(kept, now))
        missing = reader.unknown(ids)
    _complain_of(missing)


@dead_letters.command(epilog=REQUEUE_EXAMPLE)
@selecting
@click.option(
    "--again", is_flag=True, help="Those too that came back three times already."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON value, nothing else.")
def requeue(asked: Asked, *, again: bool, as_json: bool) -> None:
    """Bring them back into the backlog, to be sent again.

    A line that intake had refused is judged anew, by the rules of today. What dies
    while this runs is not touched.
    """
    found, upto, missing = _look(asked)
    done = Requeued()
    try:
        with _bar(found.letters) as bar:
            for answer in _granted("requeue_letters", asked, found, upto, again=again):
                done.add(answer)
                bar(done.letters)
    finally:  # what was done before an interruption is told too
        if as_json:
            click.echo(json.dumps(asdict(done)))
        elif found.letters:
            _tell_requeued(done)
        else:
            click.echo(_none(asked.which))
    _complain_of(missing)
    click.get_current_context().exit(SOME_STAY if done.staying else 0)


@dead_letters.command(
    epilog=EXPORT_EXAMPLE, short_help="Print their lines, to be mended and sent."
)
@selecting
@click.option(
    "--full", is_flag=True, help="A JSON object for each, with all that is known of it."
)
def export(asked: Asked, *, full: bool) -> None:
    """Print their lines as JSON Lines, oldest first, ready to be mended and sent.

    Each tells its project, unless that is the default one, and whether it was an
    import, so that `send` puts it back to where it was.
    """
    out = sys.stdout.buffer
    no_lines = last = 0
    with asked.reader() as reader:
        for kept in _whole(reader, asked.which):
            last = kept.id
            if full:
                out.write(json.dumps(letter_screen.whole(kept)).encode() + b"\n")
            elif kept.is_line:
                out.write(sendable(kept) + b"\n")
            else:
                no_lines += 1
        missing = reader.unknown(asked.which.ids)
    out.flush()
    if last:
        alike = "" if asked.which == Selection() else "\n  with the same filters"
        click.echo(
            f"The last one is {last}. To let go of these alone: dead-letters purge "
            f"--upto {last}{alike}",
            err=True,
        )
    if no_lines:
        click.echo(
            f"{count(no_lines, 'damaged chunk')} left out; --full has their bytes.",
            err=True,
        )
    _complain_of(missing)


@dead_letters.command(epilog=PURGE_EXAMPLE)
@selecting
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="One JSON value, nothing else.")
def purge(asked: Asked, *, yes: bool, as_json: bool) -> None:
    """Delete them for good, after asking. All of them, if nothing else is said."""
    found, upto, missing = _look(asked)
    purged = {"purged": 0, "bytes": 0}
    if found.letters:
        last = age(max(asked.now - (found.last_died_at_ms or 0) / 1000, 0))
        confirm(
            "Delete them?",
            f"{_amount(found)} would be gone for good; the last one died {last} ago.",
            yes=yes,
        )
    try:
        for answer in _granted("purge_letters", asked, found, upto):
            purged = {name: purged[name] + answer[name] for name in purged}
    finally:
        if as_json:
            click.echo(json.dumps(purged))
        elif found.letters:
            click.echo(f"Deleted {_amount(Count(purged['purged'], purged['bytes']))}.")
        else:
            click.echo(_none(asked.which))
    _complain_of(missing)


@dataclass(slots=True)
class Requeued:
    """What a requeue has come to so far."""

    requeued: int = 0
    left_out: int = 0
    staying: list[dict[str, Any]] = field(default_factory=list)

    def add(self, answer: dict[str, Any]) -> None:
        """Count what a slice came to."""
        self.requeued += answer["requeued"]
        self.left_out += answer["left_out"]
        self.staying += answer["staying"]

    @property
    def letters(self) -> int:
        """How many were looked at."""
        return self.requeued + self.left_out + len(self.staying)


def _look(asked: Asked) -> tuple[Count, int, list[int]]:
    """What there is, up to which letter; and which ids nobody has."""
    with asked.reader() as reader:
        upto = reader.highest()
        unknown = reader.unknown(asked.which.ids)
        return reader.count(asked.which, upto=upto), upto, unknown


def _whole(reader: LetterReader, which: Selection) -> Iterator[KeptLetter]:
    """The letters with their lines, oldest first, page by page."""
    after, upto = 0, reader.highest()
    while page := reader.page(
        which, after=after, upto=upto, letters=PAGE_LETTERS, max_bytes=PAGE_BYTES
    ):
        yield from page
        after = page[-1].id


def _granted(
    name: str, asked: Asked, found: Count, upto: int, **more: Any
) -> Iterator[dict[str, Any]]:
    """Have a wish granted, slice by slice, if there is anything to be had."""
    if not found.letters:
        return
    ids = asked.which.ids
    with changing(asked.conf, SystemClock()) as wish:
        for first in range(0, max(len(ids), 1), IDS_A_REQUEST):
            part = replace(asked.which, ids=ids[first : first + IDS_A_REQUEST])
            yield from slices(wish, name, which=asdict(part), upto=upto, **more)


def _print_array(values: Iterable[dict[str, Any]]) -> None:
    """One JSON array, a line for each of its values."""
    end = "["
    for value in values:
        click.echo(f"{end}{json.dumps(value)}", nl=False)
        end = ",\n "
    click.echo("]" if end != "[" else "[]")


def _print_table(letters: list[KeptLetter], found: Count, asked: Asked) -> None:
    if not letters:
        click.echo(_none(asked.which))
        return
    columns, _ = shutil.get_terminal_size((letter_screen.COLUMNS, 24))
    click.echo(letter_screen.table(letters, asked.now, columns))
    if found.letters > len(letters):
        newest = f"The newest {len(letters):,} of {_amount(found)}"
        click.echo(f"\n{newest}; --limit 0 shows all.")
    else:
        click.echo(f"\n{_amount(found)}.")


def _tell_requeued(done: Requeued) -> None:
    click.echo(f"Requeued {count(done.requeued, 'dead letter')}.")
    if done.left_out:
        click.echo(
            f"{done.left_out:,} left out: requeued {MAX_REQUEUES} times already; "
            "--again takes them too.",
            err=True,
        )
    if done.staying:
        click.echo(
            f"{count(len(done.staying), 'dead letter')} cannot come back:", err=True
        )
    for one in done.staying[:SHOWN_REASONS]:
        click.echo(plain(f"  {one['id']}: {one['reason']}"), err=True)
    if len(done.staying) > SHOWN_REASONS:
        click.echo(f"  … and {len(done.staying) - SHOWN_REASONS:,} more", err=True)


def _complain_of(missing: list[int]) -> None:
    if not missing:
        return
    ids = ", ".join(map(str, missing[:SHOWN_REASONS]))
    ids += ", …" * (len(missing) > SHOWN_REASONS)
    raise RelayError(
        f"there is no dead letter {ids}: requeued, purged, or given up for want of room"
    )


def _amount(found: Count) -> str:
    return f"{count(found.letters, 'dead letter')}, {size(found.bytes)}"


def _none(which: Selection) -> str:
    return "No dead letters." if which == Selection() else "No dead letters fit that."


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, where it is worth one; elsewhere nothing."""
    if not sys.stderr.isatty() or total <= PAGE_LETTERS:
        yield lambda _: None
        return
    from rich import progress as rich
    from rich.console import Console

    with rich.Progress(
        rich.TextColumn("requeueing"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("requeueing", total=total)
        yield lambda done: bar.update(task, completed=done)
