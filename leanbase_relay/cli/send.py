"""``leanbase-relay send``: JSON Lines from files or stdin, through the socket."""

import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO, cast

import click

from leanbase_relay.cli.common import socket_options, socket_path
from leanbase_relay.cli.lines import Places, filled, head, runs, with_head
from leanbase_relay.cli.socket_client import SocketClient
from leanbase_relay.cli.words import plain
from leanbase_relay.errors import RelayError

SHOWN_ERRORS = 20
SOME_REFUSED = 4

Progress = Callable[[int], None]
"""Called with the bytes of a file that were read."""

EXAMPLE = """\b
Example: what an old system exported, into the project `shop`
  leanbase-relay send --project shop export-2026-*.jsonl.gz
  psql -At -c 'select row_to_json(e) from events e' | leanbase-relay send
  leanbase-relay send --historical-migration archive-2024.jsonl.gz
"""


@click.command(epilog=EXAMPLE)
@socket_options
@click.option("--project", metavar="P", help="Put the events into this project.")
@click.option(
    "--historical-migration",
    "historical",
    is_flag=True,
    help="An import of events that are days old or older: upstream they go the slow "
    "way, in requests of their own.",
)
@click.argument(
    "files",
    nargs=-1,
    metavar="[FILE]...",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
)
@click.pass_context
def send(
    ctx: click.Context,
    socket: Path | None,
    config_path: Path | None,
    project: str | None,
    files: tuple[str, ...],
    *,
    historical: bool,
) -> None:
    """Send JSON Lines to the relay and wait until all is stored.

    One event a line; .gz files are unpacked; - or no FILE is stdin. Refused lines are
    named on stderr, and the exit code is 4 then.
    """
    path = socket_path(socket, config_path)
    errors = Errors()
    members = head(project=project, historical=historical)
    with _bar(files) as progress, SocketClient(path, on_error=errors.add) as client:
        _send_all(client, errors.places, files or ("-",), members, progress)
    errors.close(client.refused)
    click.echo(f"stored {client.stored:,}, refused {client.refused:,}")
    ctx.exit(SOME_REFUSED if client.refused else 0)


class Errors:
    """Shows the first refused lines, by file and line, and counts the others."""

    def __init__(self) -> None:
        self.places = Places()
        self._shown = 0

    def add(self, line: int, reason: str) -> None:
        """Show one, if not too many were shown."""
        if self._shown < SHOWN_ERRORS:
            self._shown += 1
            click.echo(plain(f"{self.places.of(line)}: {reason}"), err=True)

    def close(self, refused: int) -> None:
        """Say how many were not shown."""
        if refused > self._shown:
            click.echo(f"… and {refused - self._shown:,} more", err=True)


def _send_all(
    client: SocketClient,
    places: Places,
    files: Iterable[str],
    members: bytes,
    progress: Progress,
) -> None:
    lines = events = 0
    for name in files:
        places.begin("stdin" if name == "-" else name, lines + 1)
        for run in _read(name, progress):
            lines += run.count(b"\n")
            events += filled(run)
            client.send(with_head(run, members) if members else run)
    client.finish(events)


def _read(name: str, progress: Progress) -> Iterator[bytes]:
    """The runs of lines of one file."""
    try:
        with _opened(name) as raw:
            counted = _Counted(raw, progress)
            if name.endswith(".gz"):
                yield from runs(gzip.GzipFile(fileobj=cast("BinaryIO", counted)).read1)
            else:
                yield from runs(counted.read)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RelayError(
            f"{name}: not readable as gzip: {error}; what came before was sent"
        ) from error
    except OSError as error:
        raise RelayError(f"{name}: {error.strerror or error}") from error


def _opened(name: str) -> AbstractContextManager[io.FileIO]:
    if name == "-":
        # Unbuffered: what a pipe has is sent at once, also when more is to come.
        return nullcontext(io.FileIO(sys.stdin.fileno(), "rb", closefd=False))
    return io.FileIO(name, "rb")


class _Counted:
    """A file that tells how much of it was read."""

    def __init__(self, raw: io.FileIO, progress: Progress) -> None:
        self._raw = raw
        self._progress = progress

    def read(self, size: int) -> bytes:
        data = self._raw.read(size)
        self._progress(len(data))
        return data


@contextmanager
def _bar(files: tuple[str, ...]) -> Iterator[Progress]:
    """A progress bar on a terminal; elsewhere nothing."""
    if not sys.stderr.isatty() or (not files and sys.stdin.isatty()):
        yield lambda _: None
        return
    from rich import progress as rich
    from rich.console import Console

    with rich.Progress(
        rich.TextColumn("sending"),
        rich.BarColumn(),
        rich.DownloadColumn(),
        rich.TransferSpeedColumn(),
        rich.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("sending", total=_size(files))
        yield lambda size: bar.advance(task, size)


def _size(files: tuple[str, ...]) -> int | None:
    """Bytes to be read; None if a pipe is among them."""
    looks = [os.fstat(0) if name == "-" else Path(name).stat() for name in files or "-"]
    if not all(stat.S_ISREG(look.st_mode) for look in looks):
        return None
    return sum(look.st_size for look in looks)
