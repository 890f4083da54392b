"""``leanbase-relay check-config``: what is wrong, or what is in effect."""

from pathlib import Path

import click

from leanbase_relay import config
from leanbase_relay.cli.common import config_option

EXAMPLE = """\b
Example: before the daemon is told to read it again
  leanbase-relay check-config && sudo systemctl reload leanbase-relay
"""


@click.command(epilog=EXAMPLE)
@config_option
def check_config(config_path: Path | None) -> None:
    """Check the configuration and print all of it, secrets masked.

    Touches nothing. All complaints come at once, and the exit code is 78 then.
    """
    click.echo(config.describe(config.load(config_path)), nl=False)
