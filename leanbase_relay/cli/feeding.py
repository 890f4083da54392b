"""Feeding files of events to a relay: all of them, or up to a line that is named.

Owns the rule that whoever sends a long file can go on where it ended: whatever ends a
feed, be it a relay that goes away, a store that is full, a broken file or Ctrl-C, what
was sent is waited for where it can be, and the first line that is not settled is told.
"""

import gzip
import io
import os
import shlex
import stat
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import click

from leanbase_relay.cli.lines import Places, from_line, with_head
from leanbase_relay.cli.socket_client import SocketClient
from leanbase_relay.cli.words import plain
from leanbase_relay.errors import RelayError

SHOWN_ERRORS = 20
SOME_REFUSED = 4
STDIN = "-"

_TURNED_AWAY = ("store full", "store unavailable")

Read = Callable[[int], bytes]
Runs = Callable[[Read], Iterator[bytes]]
Convert = Callable[[bytes, int], bytes]
"""Makes a run's lines what the relay takes; told the number of the first one."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What is fed.

    Attributes:
        command: by which one goes on, with its options.
        runs: of lines, from what a file holds.
        convert: each run, one line for a line; None leaves it as it is.
    """

    command: str
    runs: Runs
    convert: Convert | None


@dataclass(frozen=True, slots=True)
class Fed:
    """How it ended; both count since its beginning."""

    stored: int
    refused: int


def feed(
    kind: Kind, path: Path, files: Sequence[str], *, first: int, members: bytes
) -> Fed:
    """Send files and wait until all is settled.

    Args:
        kind: what they hold.
        path: the relay's socket.
        files: names; `-` is stdin, and so is none at all.
        first: of the first file, the line to begin with.
        members: see `lines.head`.

    Raises:
        RelayError: the relay went away, or a file cannot be read.
    """
    files = files or (STDIN,)
    errors = Errors()
    with SocketClient(path, on_error=errors.add) as client, _bar(files, client) as bar:
        feeding = _Feeding(kind, client, errors, bar)
        try:
            feeding.send(files, first, members)
        except (KeyboardInterrupt, RelayError) as error:
            errors.close(client.refused)
            settled = client.stored + client.refused
            error.add_note(feeding.how_to_go_on(files, errors.places.after(settled)))
            raise
    errors.close(client.refused)
    if errors.turned_away is not None:
        line, reason = errors.turned_away
        click.echo(f"The relay takes no more: {reason}.", err=True)
        click.echo(feeding.how_to_go_on(files, line), err=True)
    return Fed(client.stored, client.refused)


class Errors:
    """Shows the first refused lines, by file and line, and counts the others."""

    def __init__(self) -> None:
        self.places = Places()
        self.turned_away: tuple[int, str] | None = None
        """The first line for which there was no room or no disk, and which it was."""
        self._shown = 0

    def add(self, line: int, reason: str) -> None:
        """Show one, if not too many were shown."""
        if reason.startswith(_TURNED_AWAY):
            line_before, _ = self.turned_away or (line, reason)
            self.turned_away = min(line, line_before), reason
        if self._shown < SHOWN_ERRORS:
            self._shown += 1
            click.echo(plain(f"{self.places.of(line)}: {reason}"), err=True)

    def close(self, refused: int) -> None:
        """Say how many were not shown."""
        if refused > self._shown:
            click.echo(f"… and {refused - self._shown:,} more", err=True)


class _Feeding:
    """One feed: what was read, and how far the relay is with it."""

    def __init__(
        self,
        kind: Kind,
        client: SocketClient,
        errors: Errors,
        progress: Callable[[int], None],
    ) -> None:
        self._kind = kind
        self._client = client
        self._errors = errors
        self._progress = progress

    def send(self, files: Sequence[str], first: int, members: bytes) -> None:
        places = self._errors.places
        broken: RelayError | None = None
        for name in files:
            places.begin("stdin" if name == STDIN else name, first)
            try:
                self._send_file(name, first, members)
            except _Broken as error:
                broken = error
                break
            if self._errors.turned_away is not None:
                break
            first = 1
        self._client.finish(places.filled)
        if broken is not None:
            raise broken

    def _send_file(self, name: str, first: int, members: bytes) -> None:
        number = first
        convert = self._kind.convert
        for run in from_line(self._read(name), first):
            if self._errors.turned_away is not None:
                return  # and what was sent already is waited for
            self._errors.places.add(run)
            sent = convert(run, number) if convert else run
            number += run.count(b"\n")
            self._client.send(with_head(sent, members) if members else sent)

    def _read(self, name: str) -> Iterator[bytes]:
        """The runs of lines of one file."""
        try:
            with _opened(name) as raw:
                counted = _Counted(raw, self._progress)
                if name.endswith(".gz"):
                    packed = gzip.GzipFile(fileobj=cast("BinaryIO", counted))
                    yield from self._kind.runs(packed.read1)
                else:
                    yield from self._kind.runs(counted.read)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _Broken(
                f"{name}: not readable as gzip: {error}; what came before was sent"
            ) from error
        except OSError as error:
            raise _Broken(f"{name}: {error.strerror or error}") from error

    def how_to_go_on(self, files: Sequence[str], line: int) -> str:
        """The command that begins with this line of the connection."""
        file, number = self._errors.places.at(line)
        named = shlex.join(files[file:])
        return (
            f"Go on with: leanbase-relay {self._kind.command} --from {number} {named}"
        )


class _Broken(RelayError):
    """A file cannot be read to its end."""


def _opened(name: str) -> AbstractContextManager[io.FileIO]:
    if name == STDIN:
        # Unbuffered: what a pipe has is sent at once, also when more is to come.
        return nullcontext(io.FileIO(sys.stdin.fileno(), "rb", closefd=False))
    return io.FileIO(name, "rb")


class _Counted:
    """A file that tells how much of it was read."""

    def __init__(self, raw: io.FileIO, progress: Callable[[int], None]) -> None:
        self._raw = raw
        self._progress = progress

    def read(self, size: int) -> bytes:
        data = self._raw.read(size)
        self._progress(len(data))
        return data


@contextmanager
def _bar(files: Sequence[str], client: SocketClient) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal; elsewhere nothing."""
    if not sys.stderr.isatty() or (STDIN in files and sys.stdin.isatty()):
        yield lambda _: None
        return
    from rich import progress as rich
    from rich.console import Console

    with rich.Progress(
        rich.TextColumn("sending"),
        rich.BarColumn(bar_width=None),
        rich.DownloadColumn(),
        rich.TransferSpeedColumn(),
        rich.TimeRemainingColumn(),
        rich.TextColumn("{task.fields[stored]:,} stored"),
        console=Console(stderr=True),
        transient=True,
        expand=True,
    ) as bar:
        task = bar.add_task("sending", total=_size(files), stored=0)
        yield lambda size: bar.update(task, advance=size, stored=client.stored)


def _size(files: Sequence[str]) -> int | None:
    """Bytes to be read; None if a pipe is among them."""
    looks = [os.fstat(0) if name == STDIN else Path(name).stat() for name in files]
    if not all(stat.S_ISREG(look.st_mode) for look in looks):
        return None
    return sum(look.st_size for look in looks)
