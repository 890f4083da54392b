"""Writes the man page, from the help of the commands: what `--help` says, it says.

Used by deb/build; `python deb/man.py | man -l -` shows it.
"""

import inspect
import re
import sys
from collections.abc import Iterator

import click

from leanbase_relay import __version__
from leanbase_relay.cli import main

NAME = "leanbase-relay"

FILES = """\
/etc/leanbase-relay/config.yaml | the configuration
/etc/leanbase-relay/api_key | the project's key
/var/lib/leanbase-relay/relay.db | the store
/var/spool/leanbase-relay | files of events, to be taken
/run/leanbase-relay/relay.sock | the socket for events
"""
EXIT_CODES = """\
0 | done, healthy
1 | unexpected failure; for status and doctor: something needs attention
2 | wrong command line
3 | not running; for run: another daemon holds this store
4 | some lines were refused (send, import), some dead letters cannot come back
78 | the configuration is wrong, or what is at store.path cannot be the relay's
"""


def escaped(text: str) -> str:
    """Text as troff takes it: no requests, no hyphens that are none."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def paragraphs(text: str) -> Iterator[str]:
    """A help text: paragraphs, and what click was told to leave as it is."""
    for block in re.split(r"\n\s*\n", inspect.cleandoc(text).strip()):
        as_it_is = block.startswith("\b")
        yield ".PP"
        yield from [".nf"] * as_it_is
        yield escaped(block.removeprefix("\b").strip("\n"))
        yield from [".fi"] * as_it_is


def table(text: str) -> Iterator[str]:
    """Lines ``name | what it is``."""
    for line in text.splitlines():
        name, _, what = line.partition(" | ")
        yield f".TP\n.B {escaped(name)}\n{escaped(what)}"


def options(command: click.Command, context: click.Context) -> Iterator[str]:
    """The options of a command, `--help` left out."""
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is not None:
            yield f".TP\n.B {escaped(record[0])}\n{escaped(record[1])}"


def commands(group: click.Group, context: click.Context) -> Iterator[str]:
    """A section for each command, those below another one too."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        own = click.Context(command, info_name=name, parent=context)
        usage = " ".join(command.collect_usage_pieces(own))
        yield f".SS {escaped(f'{own.command_path} {usage}')}"
        yield from paragraphs(command.help or "")
        yield from options(command, own)
        yield from paragraphs(command.epilog or "")
        if isinstance(command, click.Group):
            yield from commands(command, own)


def page() -> Iterator[str]:
    """The whole page."""
    context = click.Context(main, info_name=NAME)
    yield f'.TH LEANBASE\\-RELAY 1 "" "leanbase\\-relay {__version__}"'
    yield f".SH NAME\n{escaped(f'{NAME} - {main.get_short_help_str(200)}')}"
    yield f".SH SYNOPSIS\n.B {escaped(NAME)}\n.I COMMAND\n[OPTIONS] [ARGUMENTS]"
    yield ".SH DESCRIPTION"
    yield from paragraphs(main.help or "")
    yield from options(main, context)
    yield from paragraphs(main.epilog or "")
    yield ".SH COMMANDS"
    yield from commands(main, context)
    yield ".SH FILES"
    yield from table(FILES)
    yield ".SH EXIT STATUS"
    yield from table(EXIT_CODES)
    yield ".SH SEE ALSO"
    yield escaped("/usr/share/doc/leanbase-relay, systemctl(1), journalctl(1)")


if __name__ == "__main__":
    sys.stdout.write("\n".join(page()) + "\n")
