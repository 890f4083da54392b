"""The peers: what one would use instead, under the same load, set up as well as we can.

Each is a program of this machine, a child with a directory and a configuration of its
own. Where it is not installed the table says so, and how to get it. Their promises are
weaker than the relay's: none of them syncs before it goes on, and none tells the
producer that an event is safe.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import process
from benchmarks.child import Child, ChildFailed, running

_START_SECONDS = 15.0
_LOOK_AGAIN_SECONDS = 0.01

_SYSLOG_NG = """\
@version: 3.35
options { threaded(yes); stats-freq(0); log-msg-size(1048576); use-dns(no); };
source producers {
    unix-stream("%(place)s/peer.sock"
        flags(no-parse) max-connections(100) log-iw-size(100000));
};
destination upstream {
    http(url("http://127.0.0.1:%(port)d/batch/") method("POST")
        headers("Content-Type: application/json")
        body-prefix('{"api_key":"phc_benchmark","batch":[')
        body("$MSG") delimiter(",") body-suffix("]}")
        batch-lines(1000) batch-timeout(1000) workers(1)
        disk-buffer(reliable(yes) dir("%(place)s")
            disk-buf-size(4294967296) mem-buf-size(67108864)));
};
log { source(producers); destination(upstream); flags(flow-control); };
"""

_RSYSLOG = """\
global(workDirectory="%(place)s" maxMessageSize="1m")
module(load="imptcp")
template(name="line" type="list") {
    property(name="rawmsg" droplastlf="on") constant(value="\\n")
}
ruleset(name="through") {
    action(type="omfwd" target="127.0.0.1" port="%(port)d" protocol="tcp"
        template="line"
        queue.type="Disk" queue.filename="queue" queue.maxDiskSpace="4g"
        queue.maxFileSize="64m" queue.dequeueBatchSize="1000"
        queue.timeoutEnqueue="600000"
        action.resumeRetryCount="-1" action.resumeInterval="1")
}
input(type="imptcp" path="%(place)s/peer.sock" unlink="on" ruleset="through")
"""

_FLUENT_BIT = """\
[SERVICE]
    flush             1
    log_level         error
    storage.path      %(place)s/storage
    storage.sync      full
    storage.max_chunks_up 128
[INPUT]
    name              unix_socket
    socket_path       %(place)s/peer.sock
    socket_mode       stream
    format            json
    chunk_size        512
    buffer_size       4096
    storage.type      filesystem
    storage.pause_on_chunks_overlimit on
[OUTPUT]
    name              http
    match             *
    host              127.0.0.1
    port              %(port)d
    uri               /batch/
    format            json
    json_date_key     false
    compress          gzip
    retry_limit       no_limits
    workers           1
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """Something that takes lines by a Unix socket and brings them to an upstream.

    Attributes:
        key: what its figures are called by.
        name: for people, with what is particular to its set-up.
        program: its binary; None where it is not installed.
        get: how it is to be had.
        speaks: what its upstream has to understand: ``http`` or ``lines``.
    """

    key: str
    name: str
    program: str | None
    get: str
    speaks: str
    _config: str
    _command: Callable[[str, Path, Path], list[str]]

    @property
    def absent(self) -> str:
        """What the table says where it is not there."""
        return f"NOT MEASURED: {self.get}"

    def version(self) -> str:
        """What it calls itself."""
        assert self.program is not None, "it is there"
        command = [self.program, "--version" if self.key != "rsyslog" else "-v"]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        return " ".join(said.stdout.partition("\n")[0].partition(" (aka")[0].split())

    @contextmanager
    def started(self, place: Path, *, port: int) -> "Iterator[RunningPeer]":
        """It, on a directory of its own, with an upstream on this port.

        Raises:
            ChildFailed: it does not listen in time.
        """
        assert self.program is not None, "it is there"
        config = place / "peer.conf"
        config.write_text(self._config % {"place": place, "port": port})
        command = self._command(self.program, place, config)
        with running(command, log=place / "peer.log") as child:
            peer = RunningPeer(child, place / "peer.sock")
            peer.wait_until_it_listens()
            yield peer


@dataclass(frozen=True, slots=True)
class RunningPeer:
    """A peer at work, and the socket that leads to it."""

    child: Child
    socket: Path

    def usage(self) -> process.Usage:
        """Its memory and processor time."""
        return process.look(self.child.pid)

    def wait_until_it_listens(self) -> None:
        """Wait for its socket."""
        deadline = time.monotonic() + _START_SECONDS
        while not self.socket.exists():
            if not self.child.alive or time.monotonic() > deadline:
                raise ChildFailed(f"{self.child.name}: {self.child.last_words()}")
            time.sleep(_LOOK_AGAIN_SECONDS)


def _syslog_ng(program: str, place: Path, config: Path) -> list[str]:
    files = (f"--{name}={place}/peer.{name}" for name in ("persist-file", "pidfile"))
    control = f"--control={place}/peer.ctl"
    return [program, "--foreground", f"--cfgfile={config}", *files, control]


def _rsyslog(program: str, place: Path, config: Path) -> list[str]:
    modules = next(Path(program).parents[1].glob("lib/*/rsyslog"), None)
    where = ["-M", str(modules)] if modules else []
    return [program, "-n", "-f", str(config), "-i", f"{place}/peer.pid", *where]


def _fluent_bit(program: str, _: Path, config: Path) -> list[str]:
    return [program, "-c", str(config)]


def _found(variable: str, *names: str) -> str | None:
    """The program that a variable of the environment names, or that is installed."""
    named = os.environ.get(variable)
    ways = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    candidates = (shutil.which(name, path=ways) for name in (named, *names) if name)
    return next(filter(None, candidates), None)


PEERS = (
    Peer(
        "syslog_ng",
        "syslog-ng, reliable disk-buffer, HTTP by 1,000",
        _found("SYSLOG_NG", "syslog-ng"),
        "apt-get install syslog-ng-core syslog-ng-mod-http",
        "http",
        _SYSLOG_NG,
        _syslog_ng,
    ),
    Peer(
        "rsyslog",
        "rsyslog, disk queue, bare TCP",
        _found("RSYSLOGD", "rsyslogd"),
        "name it in RSYSLOGD (Debian does not install it beside syslog-ng)",
        "lines",
        _RSYSLOG,
        _rsyslog,
    ),
    Peer(
        "fluent_bit",
        "Fluent Bit, storage on disk, HTTP with gzip",
        _found("FLUENT_BIT"),
        "name the binary in FLUENT_BIT",
        "http",
        _FLUENT_BIT,
        _fluent_bit,
    ),
)
