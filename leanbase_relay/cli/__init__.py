"""The command line: one file a family of commands; the only place that prints.

A command's module is imported when the command is run, so that `status` need not
wait for what only the daemon needs.
"""

import os
from importlib import import_module
from keyword import iskeyword
from typing import Any

import click

from leanbase_relay import __version__
from leanbase_relay.errors import ConfigError, RelayError

INTERRUPTED = 130  # what a shell says of a command that Ctrl-C ended

COMMANDS = {
    "run": "run",
    "status": "status",
    "metrics": "metrics",
    "send": "send",
    "import": "send",
    "capture": "capture",
    "identify": "capture",
    "alias": "capture",
    "group": "capture",
    "pageview": "capture",
    "flush": "flush",
    "top": "top",
    "peek": "look",
    "export": "look",
    "query": "look",
    "backup": "backup",
    "dead-letters": "dead_letters",
    "purge": "purge",
    "check-config": "check_config",
    "doctor": "doctor",
    "sink": "sink",
    "demo": "demo",
}
"""Each command and the module that has it, in the order of `--help`."""

EXAMPLE = """\b
Example: see it work, then ask the relay of this machine how it is
  leanbase-relay demo
  leanbase-relay status
"""


class _Commands(click.Group):
    """Imports a command when it is asked for; turns errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = COMMANDS.get(cmd_name)
        if name is None:
            return super().get_command(ctx, cmd_name)
        module = import_module(f"{__name__}.{name}")
        attribute = cmd_name.replace("-", "_") + "_" * iskeyword(cmd_name)
        command: click.Command = getattr(module, attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RelayError as error:
            _complain(error)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt as error:
            click.echo(err=True)  # the shell's prompt is not to follow the ^C
            _tell_notes(error)
            ctx.exit(INTERRUPTED)


def _complain(error: RelayError) -> None:
    head = click.style("Error:", fg="red", bold=True)
    lines = error.problems if isinstance(error, ConfigError) else (str(error),)
    for line in lines:
        click.echo(f"{head} {line}", err=True)
    _tell_notes(error)


def _tell_notes(error: BaseException) -> None:
    """What to do now, which whoever raised it knew."""
    for note in getattr(error, "__notes__", ()):
        click.echo(note, err=True)


@click.group(
    cls=_Commands,
    epilog=EXAMPLE,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="leanbase-relay")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Keep product-analytics events safe until Leanbase has them."""
    if os.environ.get("NO_COLOR"):
        ctx.color = False
