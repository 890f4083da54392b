"""``leanbase-relay run``: the daemon, in the foreground."""

from pathlib import Path

import click

from leanbase_relay import config, logs
from leanbase_relay.cli.common import config_option

EXAMPLE = """\b
Example: with a configuration of your own; Ctrl-C ends it
  leanbase-relay run --config ./config.yaml
"""


@click.command(epilog=EXAMPLE, short_help="Be the daemon, in the foreground.")
@config_option
@click.pass_context
def run(ctx: click.Context, config_path: Path | None) -> None:
    """Take events, keep them, deliver them, until SIGTERM or Ctrl-C.

    SIGHUP reads the configuration again; SIGUSR1 shows what every thread does.
    """
    from leanbase_relay import daemon

    def load() -> config.Config:
        loaded = config.load(config_path)
        logs.set_up(loaded.log.level, loaded.log.format)  # at SIGHUP too
        return loaded

    ctx.exit(daemon.run(load))
