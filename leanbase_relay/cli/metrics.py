"""``leanbase-relay metrics``: the relay as Prometheus reads it."""

import os
import tempfile
from pathlib import Path

import click

from leanbase_relay import config
from leanbase_relay.cli.common import ask, config_option
from leanbase_relay.cli.status import look_at
from leanbase_relay.clock import SystemClock
from leanbase_relay.errors import NotRunning, RelayError

_READABLE = 0o644  # node_exporter is somebody else

EXAMPLE = """\b
Example: a figure, and what a timer runs every minute for node_exporter
  leanbase-relay metrics | grep backlog_events
  leanbase-relay metrics --textfile /var/lib/node_exporter/leanbase_relay.prom
Exit code: 0 the daemon answered, 3 not running; then leanbase_relay_up is 0.
"""


@click.command(epilog=EXAMPLE)
@config_option
@click.option(
    "--textfile",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PATH",
    help="Write a file for node_exporter, as a whole or not at all; it must end in "
    ".prom.",
)
@click.pass_context
def metrics(
    ctx: click.Context, config_path: Path | None, textfile: Path | None
) -> None:
    """Print metrics in the text format of Prometheus.

    Where no daemon answers, the figures come from the store.
    """
    if textfile is not None and textfile.suffix != ".prom":
        raise click.UsageError("--textfile: node_exporter reads names ending in .prom")
    conf = config.load(config_path, with_keys=False)
    text, running = _metrics(conf)
    if textfile is None:
        click.echo(text, nl=False)
    else:
        _write(textfile, text)
    ctx.exit(0 if running else NotRunning.exit_code)


def _metrics(conf: config.Config) -> tuple[str, bool]:
    """The text, and whether a daemon gave it."""
    look = look_at(conf, SystemClock())
    if look["uptime_seconds"] is not None:
        return ask(conf, "metrics")["metrics"], True
    from leanbase_relay.observe.metrics import exposition

    return exposition(look), False


def _write(path: Path, text: str) -> None:
    """Whoever reads the file finds the old one or the new one."""
    try:
        descriptor, written = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
                os.fchmod(file.fileno(), _READABLE)
            Path(written).replace(path)
        except BaseException:
            Path(written).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise RelayError(f"cannot write {path}: {error.strerror}") from error
