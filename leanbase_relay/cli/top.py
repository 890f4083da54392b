"""``leanbase-relay top``: what the events are called that wait, or came lately."""

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leanbase_relay import config
from leanbase_relay.cli.common import ask, config_option
from leanbase_relay.cli.reach import looking
from leanbase_relay.cli.top_screen import Top, as_json, table, top_of
from leanbase_relay.clock import SystemClock
from leanbase_relay.config import Config
from leanbase_relay.errors import NotRunning, RelayError

if TYPE_CHECKING:
    from leanbase_relay.store.look import Called, Known

SHOWN = 20
ANSWER_SECONDS = 5.0
WATCH_SECONDS = 2.0

EXAMPLE = """\b
Example: which app is it that floods the backlog?
  leanbase-relay top -n 5
  leanbase-relay top --watch
"""


@click.command(
    epilog=EXAMPLE, short_help="Count what waits and what came, by event name."
)
@config_option
@click.option("-n", "shown", default=SHOWN, show_default=True, help="How many names.")
@click.option("--json", "as_value", is_flag=True, help="One JSON value, all names.")
@click.option("--watch", is_flag=True, help="Look every two seconds until Ctrl-C.")
def top(config_path: Path | None, shown: int, *, as_value: bool, watch: bool) -> None:
    """Count the backlog's events by name and project, and those of the last minutes.

    What waits is counted event by event, in the store, with the relay running or not.
    What came in the last five minutes, delivered by now or not, the relay itself tells:
    it counts them by project, and divides them among the names by samples, some forty
    events a second of each project. So those figures are about right (~38,000), and
    exact where less comes than that.
    """
    if watch and (as_value or not sys.stdout.isatty()):
        raise click.UsageError("--watch is for a terminal; leave it out, or loop")
    conf = config.load(config_path, with_keys=False)
    clock = SystemClock()
    looks = Looks(conf)
    columns, _ = shutil.get_terminal_size()
    if watch:
        from rich.text import Text

        from leanbase_relay.cli.watch import redrawn

        def drawn() -> Text:
            now = clock.wall()
            return Text.from_ansi(
                table(looks.look(), now, shown=shown, columns=columns)
            )

        redrawn(drawn, clock, every_seconds=WATCH_SECONDS)
        return
    with _progress() as progress:
        found = looks.look(progress)
    if as_value:
        click.echo(json.dumps(as_json(found, clock.wall())))
    else:
        click.echo(table(found, clock.wall(), shown=shown, columns=columns))


class Looks:
    """Looks at the names, of which a second one reads only what came since."""

    def __init__(self, conf: Config) -> None:
        self._conf = conf
        self._known: Known = {}

    def look(self, progress: Callable[[int], None] = lambda _: None) -> Top:
        """What there is now.

        Args:
            progress: called with the events of each chunk that was counted.

        Raises:
            RelayError: this user may not read the store, or ask the relay.
        """
        from leanbase_relay.store.look import Look

        with looking(self._conf, Look) as look:
            known: Known = {}
            called = list(_counted(look.names(self._known, known), progress))
            self._known = known  # what has left is forgotten
        return top_of(called, _lately(self._conf))


def _counted(
    called: "Iterable[Called]", progress: Callable[[int], None]
) -> "Iterator[Called]":
    for one in called:
        progress(sum(one.counts.values()))
        yield one


def _lately(conf: Config) -> dict[str, Any] | None:
    """What the daemon says; an older one does not know the question."""
    try:
        answer: dict[str, Any] = ask(conf, "names", timeout_seconds=ANSWER_SECONDS)
    except NotRunning:
        return None
    except RelayError as error:
        click.echo(f"What came lately is not known: {error}", err=True)
        return None
    return answer


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """A count that grows, on a terminal: millions of events take some seconds."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress, TextColumn

    with Progress(
        TextColumn("reading the backlog: {task.completed:,.0f} events"),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda events: bar.advance(task, events)
