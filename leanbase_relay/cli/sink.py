"""``leanbase-relay sink``: shows live what a relay or an SDK sends."""

import errno
import json
import os
import shutil
import signal
import sys
import textwrap
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from leanbase_relay.cli.words import count, plain, size
from leanbase_relay.clock import SystemClock
from leanbase_relay.sink import Counts, Request, Row, Sink

SHOWN_EVENTS = 10
SHOWN_REQUESTS = 4  # in one second; those after them are summed up
COLUMNS = 80
COLUMNS_ELSEWHERE = 120  # in files and pipes
COLUMN_CHARACTERS = 32
SHORTEST_CELLS = 8
LOOK_SECONDS = 0.25
INDENT = " " * 10
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM)

EXAMPLE = """\b
Example: in one terminal
  leanbase-relay sink
and in another
  curl http://127.0.0.1:8020/capture/ -H 'Content-Type: application/json' \\
    -d '{"api_key": "phc_try", "event": "hello", "distinct_id": "me"}'
"""


@click.command(
    epilog=EXAMPLE, short_help="Stand in for Leanbase, and print what arrives."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8020,
    show_default=True,
    help="0 takes any free one.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen here.")
@click.option(
    "--script",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Misbehave as this YAML file says; see docs/sink.md.",
)
@click.option(
    "--no-v1", is_flag=True, help="Do not know protocol v1: 404, as an older server."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a request.")
def sink(
    port: int, host: str, script: Path | None, *, no_v1: bool, as_json: bool
) -> None:
    """Stand in for Leanbase, as strict as the real one, and print what arrives.

    No account is needed and nothing leaves this machine. Ctrl-C ends it with a
    summary.
    """
    # Blocked before any thread exists, so that the signals wait for `sigtimedwait`.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    display = _display(as_json=as_json)
    stand_in = _stand_in(port, host, script, v1=not no_v1, on_request=display.show)
    try:
        stand_in.start()
    except OSError as error:
        raise click.ClickException(no_port(error, host, port)) from error
    try:
        click.echo(welcome(stand_in.url, script), err=as_json)
        clock = SystemClock()
        while signal.sigtimedwait(ENDING_SIGNALS, LOOK_SECONDS) is None:
            display.turn_to(clock.wall())
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)
        stand_in.stop()
    display.flush()
    click.echo(summary(stand_in.counts), err=as_json)


def _stand_in(
    port: int,
    host: str,
    script: Path | None,
    *,
    v1: bool,
    on_request: Callable[[Request], None],
) -> Sink:
    if script is None:
        return Sink(port, host=host, v1=v1, on_request=on_request, keep="counts")
    from leanbase_relay.sink.script_file import load

    file = load(script)
    return Sink(
        port,
        host=host,
        v1=v1,
        script=file.script,
        refuses=file.refuses,
        on_request=on_request,
        keep="counts",
    )


def _display(*, as_json: bool) -> "Display":
    if as_json:
        return Display(_say, describe_json)
    if not sys.stdout.isatty():
        return Display(_say, lambda request: describe(request, COLUMNS_ELSEWHERE))
    return Display(
        _say,
        lambda request: describe(request, shutil.get_terminal_size().columns),
        pace=SHOWN_REQUESTS,
    )


def _say(text: str) -> None:
    """Print; end the command once nobody reads it any more."""
    try:
        click.echo(text)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        os.kill(os.getpid(), signal.SIGTERM)


class Display:
    """Shows requests as they come, and no more of them than can be read.

    Args:
        say: prints.
        words: describes one request.
        pace: how many requests of one second are described; the others are summed up
            in a line. Once this goes on, all are but one that went wrong. None: none.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        words: Callable[[Request], str],
        *,
        pace: int | None = None,
    ) -> None:
        self._say = say
        self._words = words
        self._pace = pace
        self._lock = threading.Lock()  # requests come from the sink's threads
        self._second = 0
        self._shown = 0
        self._rest = Sum()
        self._goes_on = False

    def show(self, request: Request) -> None:
        """Describe a request, or keep it for the sum of its second."""
        with self._lock:
            self._turn_to(int(request.at))
            if self._is_described(request):
                self._shown += 1
                self._say(self._words(request))
            else:
                self._rest.add(request, self._words(request))

    def turn_to(self, now: float) -> None:
        """Sum up a second that is over."""
        with self._lock:
            self._turn_to(int(now))

    def flush(self) -> None:
        """Sum up what was kept."""
        with self._lock:
            self._sum_up()

    def _turn_to(self, second: int) -> None:
        if second == self._second:
            return
        is_next = second == self._second + 1
        self._goes_on = self._sum_up() and is_next
        self._second, self._shown = second, 0

    def _is_described(self, request: Request) -> bool:
        if self._pace is None:
            return True
        if self._goes_on:
            return self._shown == 0 and (request.status or 500) >= 300
        return self._shown < self._pace

    def _sum_up(self) -> bool:
        """True if there was more than can be described."""
        rest, self._rest = self._rest, Sum()
        if rest.requests + self._shown <= (self._pace or 0):
            for words in rest.described:
                self._say(words)
            return False
        if rest.requests:
            self._say(rest.line(more=self._shown > 0))
        return rest.requests > 0


class Sum:
    """What several requests of one second come to; keeps none of them."""

    def __init__(self) -> None:
        self.requests = 0
        self.described: list[str] = []  # the first, should they be all
        self._at = ""
        self._stored = 0
        self._statuses: Counter[str] = Counter()
        self._results: Counter[str] = Counter()

    def add(self, request: Request, words: str) -> None:
        """Count a request."""
        if self.requests < SHOWN_REQUESTS:
            self.described.append(words)
        self.requests += 1
        self._at = self._at or _clock_time(request)
        self._stored += len(request.rows)
        self._statuses[_status(request)] += 1
        self._results.update(request.results)

    def line(self, *, more: bool) -> str:
        """Status by status, and below it what protocol v1 remarked."""
        statuses = ", ".join(f"{n:,}x {status}" for status, n in self._statuses.items())
        noun = "more request" if more else "request"
        sums = f"{count(self.requests, noun)}, {count(self._stored, 'event')} stored"
        lines = [f"{self._at}  {sums}  {statuses}"]
        if remarks := _remarks(self._results):
            lines += _wrapped(remarks, "yellow", COLUMNS)
        return "\n".join(lines)


def welcome(url: str, script: Path | None = None) -> str:
    """The address, and the line that points a relay or an SDK at it."""
    follows = f"It misbehaves as {script} says.\n" if script else ""
    return (
        f"{click.style(url, bold=True)} takes events as Leanbase would. "
        f"Ctrl-C ends it.\n{follows}\n"
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


def describe(request: Request, columns: int = COLUMNS) -> str:
    """One line for the request, one for each of its first events."""
    lines = [_head(request, columns)]
    if request.reason:
        hint = f"  ({request.hint})" if request.hint else ""
        colour = "red" if (request.status or 500) >= 300 else "yellow"
        lines += _wrapped(request.reason + hint, colour, columns)
    if remarks := _remarks(request.results):
        lines += _wrapped(remarks, "yellow", columns)
    lines += _event_lines(request, request.rows[:SHOWN_EVENTS], columns)
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
            "results": dict(request.results),
            "events": request.events,
        }
    )


def summary(counts: Counts) -> str:
    """Everything that came, in one line."""
    refused = f" ({counts.refused_requests:,} refused)" * bool(counts.refused_requests)
    return (
        f"\n{count(counts.requests, 'request')}{refused}, "
        f"{count(counts.events, 'event')} stored: "
        f"{count(counts.rows, 'distinct row')}, "
        f"{count(counts.duplicates, 'duplicate')}"
    )


def _head(request: Request, columns: int) -> str:
    place = f"{request.method} {plain(request.path)}"
    amount = f"{count(request.event_count, 'event')}, {size(request.wire_bytes)}"
    head = f"{_clock_time(request)}  {_status(request)}  {place}  {amount}"
    if request.decoded_bytes in (0, request.wire_bytes):
        return head
    unpacked = f" ({size(request.decoded_bytes)} unpacked)"
    fits = len(click.unstyle(head) + unpacked) <= columns
    return head + unpacked if fits else head


def _clock_time(request: Request) -> str:
    at = datetime.fromtimestamp(request.at, UTC).astimezone()
    return f"{at:%H:%M:%S}"


def _remarks(results: Mapping[str, int]) -> str:
    """What protocol v1 said of events, beyond ok."""
    said = results.items()
    return ", ".join(f"{number:,}x {words}" for words, number in said if words != "ok")


def _wrapped(text: str, colour: str, columns: int) -> list[str]:
    lines = textwrap.wrap(plain(text), max(columns - len(INDENT), COLUMN_CHARACTERS))
    return [INDENT + click.style(line, fg=colour) for line in lines]


def _event_lines(request: Request, rows: tuple[Row, ...], columns: int) -> list[str]:
    ends = [f"{row.uuid[:8]}…{row.uuid[-4:]}  {_time(row, request)}" for row in rows]
    room = columns - len(INDENT) - 2 * len("  ") - max(map(len, ends), default=0)
    room = max(room, SHORTEST_CELLS)
    names = [plain(row.event) for row in rows]
    ids = [plain(row.distinct_id) for row in rows]
    id_cells = min(_widest(ids), room // 2)
    name_cells = min(_widest(names), room - id_cells)
    return [
        f"{INDENT}{_fitted(name, name_cells)}  {_fitted(distinct_id, id_cells)}  {end}"
        for name, distinct_id, end in zip(names, ids, ends, strict=True)
    ]


def _time(row: Row, request: Request) -> str:
    """At which time the event was stored; with its day if that is another one."""
    stamp = row.timestamp.replace(tzinfo=None)
    if stamp.date() == datetime.fromtimestamp(request.at, UTC).date():
        return f"{stamp.time().isoformat(timespec='milliseconds')}Z"
    return f"{stamp.isoformat(sep=' ', timespec='seconds')}Z"


def _status(request: Request) -> str:
    if request.status is None:
        return click.style("---", fg="yellow")
    colour = "green" if request.status < 300 else "red"
    return click.style(str(request.status), fg=colour)


def _widest(texts: list[str]) -> int:
    return min(max(map(_cells, texts), default=0), COLUMN_CHARACTERS)


def _fitted(text: str, cells: int) -> str:
    """The text in exactly so many cells of a terminal."""
    if _cells(text) > cells:
        text = text[:cells]
        while _cells(text) > cells - 1:
            text = text[:-1]
        text += "…"
    return text + " " * (cells - _cells(text))


def _cells(text: str) -> int:
    """How wide a terminal shows it: CJK and emoji take two cells, accents none."""
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.combining(char)
        else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )
