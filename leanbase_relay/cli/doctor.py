"""``leanbase-relay doctor``: what is wrong, and what to type."""

import json
import shutil
import textwrap
from dataclasses import asdict
from pathlib import Path

import click

from leanbase_relay.cli.common import config_option
from leanbase_relay.cli.words import plain
from leanbase_relay.clock import SystemClock

EXAMPLE = """\b
Example: with the relay stopped the store is looked at whole
  sudo leanbase-relay doctor
Exit code: 0 all is well, 1 something needs attention.
"""

_COLOURS = {"ok": "green", "note": "yellow", "attention": "red"}
_STATE = max(map(len, _COLOURS)) + 1
_LOOK = 15


@click.command(epilog=EXAMPLE, short_help="Look for trouble, and say what to type.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON value, nothing else.")
@click.pass_context
def doctor(ctx: click.Context, config_path: Path | None, *, as_json: bool) -> None:
    """Look at configuration, files, store, machine and upstream; change nothing.

    Beside a running relay it only reads, and shortly. The upstream is asked by a
    request without events.
    """
    from leanbase_relay.cli import looks
    from leanbase_relay.cli.finding import State

    findings = looks.examine(config_path, SystemClock())
    well = all(finding.state is not State.ATTENTION for finding in findings)
    if as_json:
        told = [asdict(finding) for finding in findings]
        click.echo(json.dumps({"healthy": well, "findings": told}))
    else:
        columns, _ = shutil.get_terminal_size()
        for finding in findings:
            click.echo(_line(finding.state, finding.look, finding.found, columns))
            if finding.mend:
                click.echo(_line("", "", f"→ {finding.mend}", columns))
    ctx.exit(0 if well else 1)


def _line(state: str, look: str, text: str, columns: int) -> str:
    """One finding, or its mend, below which it goes on where the first line began."""
    margin = " " * (_STATE + _LOOK)
    head = click.style(f"{state:{_STATE}}", fg=_COLOURS.get(state)) + f"{look:{_LOOK}}"
    # A path or a command is to be copied in one piece.
    lines = textwrap.wrap(
        plain(text),
        max(columns - len(margin), 40),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return head + f"\n{margin}".join(lines)
