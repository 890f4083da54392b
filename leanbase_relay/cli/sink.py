"""``leanbase-relay sink``: shows live what a relay or an SDK sends."""

import errno
import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import click

from leanbase_relay.sink import Counts, Request, Row, Sink

SHOWN_EVENTS = 10
COLUMN_CHARACTERS = 32
INDENT = " " * 10
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM)

EXAMPLE = """\b
Example: in one terminal
  leanbase-relay sink
and in another
  curl http://127.0.0.1:8020/capture/ -H 'Content-Type: application/json' \\
    -d '{"api_key": "phc_try", "event": "hello", "distinct_id": "me"}'
"""


@click.command(epilog=EXAMPLE)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8020,
    show_default=True,
    help="0 takes any free one.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen here.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a request.")
def sink(port: int, host: str, *, as_json: bool) -> None:
    """Stand in for Leanbase, as strict as the real one, and print what arrives.

    No account is needed and nothing leaves this machine. Ctrl-C ends it with a
    summary.
    """
    # Blocked before any thread exists, so that the signals wait for `sigwait` below.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    show = _printer(describe_json if as_json else describe)
    stand_in = Sink(port, host=host, on_request=show, keep="counts")
    try:
        stand_in.start()
    except OSError as error:
        raise click.ClickException(no_port(error, host, port)) from error
    try:
        click.echo(welcome(stand_in.url), err=as_json)
        signal.sigwait(ENDING_SIGNALS)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)
        stand_in.stop()
    click.echo(summary(stand_in.counts), err=as_json)


def _printer(words: Callable[[Request], str]) -> Callable[[Request], None]:
    """Prints each request; ends the command once nobody reads it any more."""

    def show(request: Request) -> None:
        try:
            click.echo(words(request))
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            os.kill(os.getpid(), signal.SIGTERM)

    return show


def welcome(url: str) -> str:
    """The address, and the line that points a relay or an SDK at it."""
    return (
        f"{click.style(url, bold=True)} takes events as Leanbase would. "
        "Ctrl-C ends it.\n\n"
        f"  for a relay   upstream: {{url: {url}}}\n"
        f'  for an SDK    Posthog("phc_try", host="{url}")\n'
    )


def no_port(error: OSError, host: str, port: int) -> str:
    """Why the port cannot be had, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is taken, perhaps by another sink; "
            "choose another with --port, or any free one with --port 0"
        )
    if error.errno == errno.EACCES:
        return f"port {port} needs root; choose one above 1023 with --port"
    return f"cannot listen on {host} port {port}: {error.strerror or error}"


def describe(request: Request) -> str:
    """One line for the request, one for each of its first events."""
    at = datetime.fromtimestamp(request.at, UTC).astimezone()
    place = f"{request.method} {_plain(request.path)}"
    amount = f"{_count(request.event_count, 'event')}, {_size(request)}"
    lines = [f"{at:%H:%M:%S}  {_status(request)}  {place}  {amount}"]
    if request.reason:
        hint = f"  ({request.hint})" if request.hint else ""
        lines.append(INDENT + click.style(_plain(request.reason + hint), fg="red"))
    lines += _event_lines(request.rows[:SHOWN_EVENTS])
    if (more := len(request.rows) - SHOWN_EVENTS) > 0:
        lines.append(click.style(f"{INDENT}… and {more:,} more", dim=True))
    return "\n".join(lines)


def describe_json(request: Request) -> str:
    """The request as one JSON object on one line."""
    return json.dumps(
        {
            "at": datetime.fromtimestamp(request.at, UTC).isoformat(),
            "method": request.method,
            "path": request.path,
            "status": request.status,
            "reason": request.reason,
            "hint": request.hint,
            "wire_bytes": request.wire_bytes,
            "decoded_bytes": request.decoded_bytes,
            "event_count": request.event_count,
            "stored": len(request.rows),
            "events": request.events,
        }
    )


def summary(counts: Counts) -> str:
    """Everything that came, in one line."""
    refused = f" ({counts.refused_requests:,} refused)" * bool(counts.refused_requests)
    return (
        f"\n{_count(counts.requests, 'request')}{refused}, "
        f"{_count(counts.events, 'event')} stored: "
        f"{_count(counts.rows, 'distinct row')}, "
        f"{_count(counts.duplicates, 'duplicate')}"
    )


def _event_lines(rows: tuple[Row, ...]) -> list[str]:
    cells = [
        (_cut(row.event), _cut(row.distinct_id), f"{row.uuid[:8]}…{row.uuid[-4:]}")
        for row in rows
    ]
    name_width = max((len(name) for name, _, _ in cells), default=0)
    id_width = max((len(distinct_id) for _, distinct_id, _ in cells), default=0)
    return [
        f"{INDENT}{name:{name_width}}  {distinct_id:{id_width}}  {uuid}  "
        f"{_time(row.timestamp)}"
        for row, (name, distinct_id, uuid) in zip(rows, cells, strict=True)
    ]


def _time(stamp: datetime) -> str:
    text = stamp.replace(tzinfo=None).isoformat(sep=" ", timespec="milliseconds")
    return f"{text}Z"


def _status(request: Request) -> str:
    if request.status is None:
        return click.style("---", fg="yellow")
    colour = "green" if request.status < 300 else "red"
    return click.style(str(request.status), fg=colour)


def _size(request: Request) -> str:
    wire, decoded = request.wire_bytes, request.decoded_bytes
    unpacked = f" ({decoded:,} unpacked)" if decoded not in (0, wire) else ""
    return f"{_count(wire, 'byte')}{unpacked}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + "s" * (number != 1)


def _cut(text: str) -> str:
    text = _plain(text)
    if len(text) <= COLUMN_CHARACTERS:
        return text
    return text[: COLUMN_CHARACTERS - 1] + "…"


def _plain(text: str) -> str:
    """Without what a terminal might obey: the text comes from strangers."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
