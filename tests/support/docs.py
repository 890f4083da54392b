"""The commands that the pages and the help texts show, one by one."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from leanbase_relay.cli import main

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]

_BLOCK = re.compile(r"^```(console|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PROMPT = re.compile(r"[$#] ")
_COMMENT = re.compile(r"\s{2,}# .*$", re.MULTILINE)
_INLINE = re.compile(r"`+([^`\n]+)`+")


class Shown(NamedTuple):
    """A command, and where it is shown."""

    where: str
    command: str

    def __str__(self) -> str:
        return f"{self.where}: {self.command}"


def of_pages() -> Iterator[Shown]:
    """All commands of blocks, in order."""
    for page in PAGES:
        for kind, block in _BLOCK.findall(page.read_text()):
            for command in (_prompted if kind == "console" else _bare)(block):
                yield Shown(str(page.relative_to(ROOT)), _COMMENT.sub("", command))


def of_help() -> Iterator[Shown]:
    """The examples of every command's help."""
    for name, command in commands():
        for example in _bare(_examples(command.epilog or "")):
            yield Shown(f"{name} --help", example)


def inline() -> Iterator[Shown]:
    """What stands in a sentence, or a table, and begins as a command of ours does."""
    for page in PAGES:
        text = _BLOCK.sub("", page.read_text())
        for code in _INLINE.findall(text):
            if re.match(r"(sudo )?leanbase-relay [a-z]|make [a-z]", code):
                yield Shown(str(page.relative_to(ROOT)), code)


def commands(
    group: click.Group = main, prefix: str = "leanbase-relay"
) -> Iterator[tuple[str, click.Command]]:
    """Every command by its whole name, those below another one too."""
    yield prefix, group
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def _examples(epilog: str) -> str:
    """The indented lines: those are to be typed."""
    lines = [line[2:] for line in epilog.splitlines() if line.startswith("  ")]
    return "\n".join(lines) + "\n"


def _prompted(block: str) -> Iterator[str]:
    """Lines with a prompt, each with those that go on with it."""
    lines = iter(block.splitlines())
    for line in lines:
        if _PROMPT.match(line):
            command = line[2:]
            while command.endswith("\\"):
                command += "\n" + next(lines)
            yield command


def _bare(block: str) -> Iterator[str]:
    """All lines; what is quoted or goes on may take several."""
    command = ""
    for line in _COMMENT.sub("", block).splitlines():
        command = f"{command}\n{line}" if command else line
        whole = command.count("'") % 2 == 0 and not command.endswith("\\")
        if whole and command.strip():
            yield command
        if whole:
            command = ""
