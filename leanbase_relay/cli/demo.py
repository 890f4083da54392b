"""``leanbase-relay demo``: see it work in a minute, without an account or a trace.

A stand-in for Leanbase in this process, a real relay as a child, and a directory that
goes with them. Ctrl-C ends all of it.
"""

import shlex
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from leanbase_relay import control
from leanbase_relay.cli.capture import as_json, as_object
from leanbase_relay.cli.socket_client import SocketClient
from leanbase_relay.cli.words import count, plain, size
from leanbase_relay.clock import Poke, SystemClock
from leanbase_relay.errors import NotRunning, RelayError
from leanbase_relay.sink import Request, Row, Sink

SOCKET_EVENTS = 400
SPOOL_FILES = 4
SPOOL_FILE_EVENTS = 50
ALL_EVENTS = SOCKET_EVENTS + SPOOL_FILES * SPOOL_FILE_EVENTS
START_SECONDS = 10.0
LAST_WORDS_SECONDS = 1.0
STOP_SECONDS = 10.0
DELIVERY_SECONDS = 30.0
LOOK_SECONDS = 0.1
SHOWN_EVENTS = 6

_NAMES = ("page viewed", "product viewed", "added to cart", "order placed", "searched")

EXAMPLE = """\b
Example:
  leanbase-relay demo
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the demonstration has its files."""

    directory: Path

    @property
    def config(self) -> Path:
        return self.directory / "config.yaml"

    @property
    def socket(self) -> Path:
        return self.directory / "relay.sock"

    @property
    def control(self) -> Path:
        return self.directory / "control.sock"

    @property
    def spool(self) -> Path:
        return self.directory / "spool"

    @property
    def log(self) -> Path:
        return self.directory / "relay.log"

    def furnish(self, url: str) -> None:
        """Write the configuration of a relay that delivers to this address."""
        self.spool.mkdir()
        self.config.write_text(
            f"""\
upstream: {{url: "{url}"}}
projects: {{default: {{api_key: phc_demo}}}}
batch: {{max_events: 100, max_wait: 500ms}}
retry: {{max_delay: 2s}}
store: {{path: "{self.directory}/relay.db", max_bytes: 64MiB}}
dead_letters: {{max_bytes: 8MiB}}
socket: {{path: "{self.socket}"}}
control: {{path: "{self.control}"}}
spool: {{path: "{self.spool}", settle: 1s, scan_interval: 500ms}}
"""
        )


class Arrivals:
    """The last events that the stand-in stored; filled by its threads."""

    def __init__(self) -> None:
        self._rows: deque[Row] = deque(maxlen=SHOWN_EVENTS)

    def take(self, request: Request) -> None:
        """Called by the sink for each request."""
        self._rows.extend(request.rows[-SHOWN_EVENTS:])

    def lines(self) -> list[str]:
        """The newest last."""
        return [
            f"{row.timestamp.astimezone():%H:%M:%S}  {plain(row.event)[:32]:32}  "
            f"{plain(row.distinct_id)[:32]}"
            for row in tuple(self._rows)
        ]


class Show:
    """The running demonstration: sink, relay, place, and time."""

    def __init__(self, sink: Sink, place: Place, relay: "subprocess.Popen[bytes]"):
        self.sink = sink
        self.place = place
        self._relay = relay
        self._clock = SystemClock()
        self._poke: Poke = self._clock.poke()
        self._started_at = self._clock.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self._clock.monotonic() - self._started_at

    def look(self) -> dict[str, Any] | None:
        """The relay's status; None while it does not answer.

        Raises:
            RelayError: it has died.
        """
        if self._relay.poll() is not None:
            code = self._relay.returncode
            log = self.place.log.read_text(errors="replace").rstrip()
            raise RelayError(f"the relay ended with exit code {code}; its log:\n{log}")
        try:
            look: dict[str, Any] = control.ask(self.place.control, "status")
        except (NotRunning, TimeoutError):
            return None
        return look

    def send(self, first: int = 0, events: int = SOCKET_EVENTS) -> None:
        """Some events through the socket, and wait until they are stored."""
        try:
            with SocketClient(self.place.socket) as client:
                client.send(_lines(first, events))
                client.finish(events)
        except RelayError:
            with suppress(subprocess.TimeoutExpired):
                self._relay.wait(LAST_WORDS_SECONDS)
            self.look()  # its log says more than the socket, if it has died
            raise

    def pause(self) -> None:
        """Between two looks."""
        self._clock.wait(LOOK_SECONDS, self._poke)

    def await_ready(self) -> None:
        """Wait until the relay takes events."""
        while self.look() is None:
            if self.seconds > START_SECONDS:
                raise RelayError("the relay does not start; its log is empty")
            self.pause()


@click.command(epilog=EXAMPLE, short_help="See it work in one minute, live.")
def demo() -> None:
    """Run a relay and a stand-in for Leanbase, send some events, show it live.

    Needs no account and no configuration, and leaves nothing behind. On a terminal it
    stays until Ctrl-C, and shows how to send events of your own.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the same way out
    arrivals = Arrivals()
    try:
        with ExitStack() as house:
            directory = house.enter_context(TemporaryDirectory(prefix="lb-demo-"))
            place = Place(Path(directory))
            sink = house.enter_context(Sink(on_request=arrivals.take, keep="counts"))
            place.furnish(sink.url)
            show = Show(sink, place, house.enter_context(_relay(place)))
            show.await_ready()
            if sys.stdout.isatty():
                _on_terminal(show, arrivals)
            else:
                _in_lines(show)
    except KeyboardInterrupt:
        click.echo("\nEnded; nothing is left behind.")


def _in_lines(show: Show) -> None:
    """Plain progress, then a summary."""
    click.echo(f"A stand-in for Leanbase listens on {show.sink.url}.")
    click.echo(f"A relay delivers to it; its socket is {show.place.socket}.")
    show.send()
    click.echo(f"{SOCKET_EVENTS} events sent through the socket: stored.")
    _spool(show.place)
    files = count(SPOOL_FILES, "file")
    click.echo(f"{ALL_EVENTS - SOCKET_EVENTS} events in {files} moved to the spool.")
    said = -1
    while (arrived := show.sink.counts.rows) < ALL_EVENTS or not _is_done(show.look()):
        if arrived != said:
            click.echo(f"{arrived} of {ALL_EVENTS} events delivered …")
            said = arrived
        if show.seconds > DELIVERY_SECONDS:
            raise RelayError(f"only {arrived} of {ALL_EVENTS} events were delivered")
        show.pause()
    click.echo(
        f"{ALL_EVENTS} events in, {show.sink.counts.rows} delivered in "
        f"{show.seconds:.1f} s: nothing is lost."
    )


def _is_done(look: dict[str, Any] | None) -> bool:
    return (
        look is not None
        and look["totals"]["delivered"] >= ALL_EVENTS
        and look["backlog"]["events"] == 0
    )


def _on_terminal(show: Show, arrivals: Arrivals) -> None:
    from rich.live import Live

    click.echo(_welcome(show))
    with Live(auto_refresh=False) as live:

        def redraw() -> None:
            live.update(_picture(show, arrivals), refresh=True)

        redraw()
        for sent in range(0, SOCKET_EVENTS, 20):  # slowly enough to be seen
            show.send(sent, 20)
            redraw()
            show.pause()
        _spool(show.place)
        while True:
            redraw()
            show.pause()


def _welcome(show: Show) -> str:
    """What to paste into a second terminal; printed once, so that it can be copied."""
    command, place = own_command(), show.place
    event = '{"event":"from a file","distinct_id":"me"}'
    commands = (
        f"{command} capture 'hello relay' --distinct-id me -c {place.config}",
        f"(cd {place.spool} && echo '{event}' > .mine && mv .mine mine.jsonl)",
        f"{command} status -c {place.config}",
    )
    pasted = "\n\n".join(f"  {command}" for command in commands)
    return (
        f"{click.style('leanbase-relay demo', bold=True)}: a relay, and a stand-in for "
        f"Leanbase.\nSend events of your own from a second terminal:\n\n{pasted}\n\n"
        "Ctrl-C ends the demo and removes all of it.\n"
    )


def _picture(show: Show, arrivals: Arrivals) -> Any:
    """What changes: the figures, and the last events."""
    from rich.text import Text

    look = show.look()
    if look is None:
        return Text("the relay does not answer yet …")
    totals, backlog = look["totals"], look["backlog"]
    lines = [
        f"accepted   {count(totals['accepted'], 'event'):>14}",
        f"backlog    {count(backlog['events'], 'event'):>14}  {size(backlog['bytes'])}",
        f"delivered  {count(totals['delivered'], 'event'):>14}",
    ]
    if totals["refused"]:
        lines.append(f"refused    {count(totals['refused'], 'line'):>14}")
    lines += ["", "the last events that arrived:", ""]
    lines += [f"  {line}" for line in arrivals.lines()]
    return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")


def own_command() -> str:
    """How this very program is called from another shell."""
    me = Path(sys.argv[0])
    if me.name == "__main__.py":
        return shlex.join([sys.executable, "-m", "leanbase_relay"])
    found = shutil.which(me.name)
    if found is not None and me.exists() and me.samefile(found):
        return me.name
    return shlex.quote(str(me.absolute()))


@contextmanager
def _relay(place: Place) -> Iterator["subprocess.Popen[bytes]"]:
    """The relay as a child, ended with SIGTERM."""
    command = [sys.executable, "-P", "-m", "leanbase_relay", "run", "-c"]
    with place.log.open("wb") as log:
        relay = subprocess.Popen(  # noqa: S603 - this very program
            [*command, str(place.config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for us; the relay gets its SIGTERM
        )
    try:
        yield relay
    finally:
        relay.terminate()
        try:
            relay.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            relay.kill()
            relay.wait()


def _spool(place: Place) -> None:
    """Files as they should come: written under another name, then renamed."""
    for number in range(SPOOL_FILES):
        draft = place.spool / f".{number}"
        first = SOCKET_EVENTS + number * SPOOL_FILE_EVENTS
        draft.write_bytes(_lines(first, SPOOL_FILE_EVENTS))
        draft.rename(place.spool / f"shop-{number}.jsonl")


def _lines(first: int, events: int) -> bytes:
    return b"".join(_event(number) for number in range(first, first + events))


def _event(number: int) -> bytes:
    """An event such as a shop would have."""
    properties = {
        "$current_url": f"https://shop.example.com/products/{number * 7 % 41}",
        "price": f"{number * 13 % 97}.90",
        "items": str(number % 4 + 1),
    }
    members = {"event": _NAMES[number % 5], "distinct_id": f"visitor-{number % 23}"}
    line = {name: as_json(text) for name, text in members.items()}
    line["properties"] = as_object({k: as_json(v) for k, v in properties.items()})
    return as_object(line).encode() + b"\n"
