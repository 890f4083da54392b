"""The daemon and a damaged store: it starts, says so, delivers, and does not loop."""

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from leanbase_relay.sink import Sink
from leanbase_relay.store import aside
from leanbase_relay.store.schema import PAGE_BYTES
from leanbase_relay.store.store import Store
from tests.support.damage import (
    Content,
    noise,
    overwrite,
    overwrite_page,
    page_of,
    stopped_store,
    uuid,
)
from tests.support.intake import Client, event
from tests.support.process import COMMAND, RelayProcess, environment
from tests.support.root import only_root
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

EVENT = b'{"event":"after","distinct_id":"u1"}\n'
NEW_SECONDS = 10  # within which a new event is upstream, whatever the store was


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Content:
    path = tmp_path_factory.mktemp("sound") / "relay.db"
    return stopped_store(path, chunks=40, longest=30_000)


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture
def relay(short_dir: Path, sink: Sink, sound: Content) -> Iterator[RelayProcess]:
    """Not started; with a store, and two projects that have events waiting."""
    projects = {
        "default": {"api_key": "phc_test"},
        "shop": {"api_key": "phc_shop"},
    }
    relay = RelayProcess(short_dir, sink.url, {"projects": projects})
    sound.copy_to(short_dir)
    yield relay
    if relay._child is not None and relay.child.poll() is None:
        relay.kill()


def arrived(sink: Sink) -> set[str]:
    return {str(event["uuid"]) for event in sink.events}


def uuids(chunks: set[int]) -> set[str]:
    """Those of the first events of chunks; chunk ids begin at 1, numbers at 0."""
    return {uuid(number - 1) for number in chunks}


def gets_through(relay: RelayProcess, sink: Sink) -> None:
    """A new event, at once."""
    done = relay.command("send", stdin=EVENT)
    assert done.returncode == 0, done.stderr
    eventually(
        lambda: any(event["event"] == "after" for event in sink.events), NEW_SECONDS
    )


def drained(relay: RelayProcess) -> dict[str, int]:
    """The totals, once all has left."""
    eventually(lambda: relay.status()["backlog"]["events"] == 0, within=10)
    totals: dict[str, int] = relay.status()["totals"]
    assert totals["accepted"] == (
        totals["delivered"] + totals["dead"] + totals["dropped"]
    )
    return totals


def header(path: Path, _: Content) -> None:
    overwrite(path, 0, bytes(100))


def root_of_chunks(path: Path, sound: Content) -> None:
    overwrite_page(path, sound.roots["chunk"], noise(1))


def a_leaf(path: Path, sound: Content) -> None:
    overwrite_page(path, sound.leaves["chunk"][-1], bytes(PAGE_BYTES))


def half(path: Path, _: Content) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def everything(path: Path, _: Content) -> None:
    path.write_bytes(noise(2, 100_000))


@pytest.mark.parametrize(
    ("harm", "all_saved"),
    [
        (header, True),
        (root_of_chunks, True),
        (a_leaf, False),
        (half, False),
        (everything, False),
    ],
)
def test_it_starts_on_a_damaged_store_and_says_what_became_of_it(
    relay: RelayProcess,
    sink: Sink,
    sound: Content,
    harm: Callable[[Path, Content], None],
    *,
    all_saved: bool,
) -> None:
    harm(relay.store, sound)

    relay.start()

    (problem,) = [p for p in relay.status()["problems"] if "was damaged" in p]
    assert "events were salvaged" in problem
    assert "relay.db.damaged-" in problem
    gets_through(relay, sink)
    totals = drained(relay)
    if all_saved:
        begun = {one.position.chunk for one in sound.totals.values()}
        assert arrived(sink) >= uuids(set(sound.data) - begun)
        assert totals["accepted"] == 1 + sum(
            one.accepted for one in sound.totals.values()
        )
    assert relay.stop() == 0
    assert "store_salvaged" in relay.log
    _, stopped = relay.status_command()
    assert problem in stopped["problems"]


def test_an_empty_file_is_a_new_store(relay: RelayProcess, sink: Sink) -> None:
    relay.store.write_bytes(b"")

    relay.start()

    assert relay.status()["problems"] == []
    gets_through(relay, sink)


def test_damage_that_a_lane_meets_ends_the_process_once(
    relay: RelayProcess, sink: Sink, sound: Content
) -> None:
    """No start can see it: a chunk's data go on upon a page that is not there.

    1. The lane meets it; the process ends, and leaves a mark.
    2. The next start salvages. That chunk is a dead letter, all others arrive.
    """
    number = max(n for n, places in sound.places.items() if len(places) > 2)
    overwrite_page(relay.store, sound.places[number][1], b"\xff\xff\xff\xff")

    relay.launch()
    assert relay.wait() == 1
    assert aside.suspicion(relay.store) is not None
    relay.start()

    gets_through(relay, sink)
    totals = drained(relay)
    dead_before = sum(one.dead for one in sound.totals.values())
    assert totals["dead"] == dead_before + sound.events[number]
    begun = {one.position.chunk for one in sound.totals.values()}
    assert arrived(sink) >= uuids(set(sound.data) - begun - {number})
    assert relay.log.count("store_damaged error=") == 1
    assert "Traceback" not in relay.log
    assert relay.stop() == 0


def test_damage_that_the_writer_meets_ends_the_process_once(
    relay: RelayProcess, sink: Sink
) -> None:
    """The list of free pages is damaged: it shows when a page is wanted."""
    with closing(Store.open(relay.store)) as store:
        with store.transaction():
            store.drop_oldest(60_000)
        store.truncate_log()
    trunk = int.from_bytes(page_of(relay.store, 1)[32:36])
    assert trunk
    overwrite_page(relay.store, trunk, noise(3))
    relay.configure()  # nobody takes what is there, so that no lane is first
    relay.start()

    large = EVENT.replace(b"after", b"large" + noise(4, 60_000).hex().encode())
    refused = relay.command("send", stdin=large)
    assert refused.returncode != 0
    assert relay.wait() == 1
    assert aside.suspicion(relay.store) is not None
    relay.configure(sink.url)
    relay.start()

    gets_through(relay, sink)
    assert len(aside.reports(relay.store)) == 1


def test_a_command_changes_nothing_in_a_damaged_store(
    relay: RelayProcess, sound: Content
) -> None:
    """With the relay stopped it would open the store itself."""
    overwrite_page(relay.store, sound.leaves["chunk"][3], noise(6))
    before = relay.store.read_bytes()

    done = relay.command("dead-letters", "purge", "--yes")

    assert done.returncode == 1
    assert "start the relay" in done.stderr
    assert relay.store.read_bytes() == before


# What is no damage.


@pytest.mark.parametrize("what", ["directory", "device", "pipe", "another program's"])
def test_what_cannot_be_a_store_is_left_alone(relay: RelayProcess, what: str) -> None:
    relay.store.unlink()
    if what == "directory":
        relay.store.mkdir()
    elif what == "device":
        relay.store.symlink_to("/dev/null")
    elif what == "pipe":
        os.mkfifo(relay.store)
    else:
        with closing(sqlite3.connect(relay.store)) as conn:
            conn.execute("create table songs (title)")
    before = relay.store.lstat()

    done = relay.command("run")

    assert done.returncode == 78
    assert "othing was touched" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    after = relay.store.lstat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def as_nobody(relay: RelayProcess) -> "subprocess.CompletedProcess[str]":
    code = (
        "import os, leanbase_relay.daemon, leanbase_relay.cli.run, encodings.idna\n"
        "from leanbase_relay.cli import main\n"
        "os.setgroups([]); os.setresgid(*[65534] * 3); os.setresuid(*[65534] * 3)\n"
        f"main(['run', '-c', '{relay.config}'])\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


@only_root
@pytest.mark.parametrize("which", ["file", "directory"])
def test_a_store_that_is_not_ours_to_write_is_said_kindly(
    relay: RelayProcess, which: str
) -> None:
    relay.directory.chmod(0o777 if which == "file" else 0o755)
    relay.store.chmod(0o644 if which == "file" else 0o666)
    before = relay.store.read_bytes()

    done = as_nobody(relay)

    assert done.returncode == 78
    assert "may not be written by the user" in done.stderr
    assert "root:root" in done.stderr
    assert "sudo chown" in done.stderr
    assert "Traceback" not in done.stderr
    assert relay.store.read_bytes() == before
    assert not list(relay.directory.glob("*damaged*"))


@only_root
@pytest.mark.skipif(
    shutil.which("unshare") is None,
    reason="NOT TESTED: a disk that can only be read; needs unshare",
)
def test_a_file_system_that_can_only_be_read_is_said(relay: RelayProcess) -> None:
    script = (
        f"mount -t tmpfs relay-test {relay.directory} && "
        f"mount -o remount,ro {relay.directory} && "
        f"exec timeout 20 {COMMAND} run -c /dev/stdin"
    )
    with relay.config.open("rb") as config:
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script],
            stdin=config,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env=environment({}),
        )
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip("NOT TESTED: a disk that can only be read; nobody may mount here")

    assert done.returncode == 1
    assert "can only be read" in done.stderr
    assert "Traceback" not in done.stderr


# What systemd hears.


def test_systemd_is_asked_for_time_before_a_salvage(
    relay: RelayProcess, sound: Content
) -> None:
    header(relay.store, sound)
    address = relay.directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(address))
        notified.settimeout(10)

        relay.launch(NOTIFY_SOCKET=str(address))
        told = [notified.recv(4096).decode() for _ in range(2)]
        relay.signal(signal.SIGTERM)
        assert relay.wait() == 0

    assert told[0].startswith("EXTEND_TIMEOUT_USEC=60000000\nSTATUS=salvaging")
    assert told[1].startswith("READY=1")


@pytest.mark.slow
def test_the_start_is_quick_on_a_backlog_of_five_million_events(
    relay: RelayProcess,
) -> None:
    """They are in chunks of 5,000; a start looks at some of them, and not at all."""
    relay.store.unlink()
    data = noise(5, 60_000)
    with closing(Store.open(relay.store)) as store, store.transaction():
        store._conn.executemany(
            "insert into chunk (project, events, bytes, accepted_at_ms, checksum, data)"
            " values ('default', 5000, 1000000, 1, 0, ?)",
            ((data,) for _ in range(1000)),
        )
        store._conn.execute(
            "insert into project (name, accepted, backlog_bytes)"
            " values ('default', 5000000, 1000000000)"
        )
    relay.configure()

    before = os.times()
    relay.start()
    relay.kill()
    after = os.times()

    assert relay.log.count("store_damaged") == 0
    used = after.children_user - before.children_user
    used += after.children_system - before.children_system
    assert used < 1.5, "of the processor, all told"


@pytest.mark.parametrize(
    ("gone", "kept"), [(("-wal",), True), (("", "-wal", "-shm"), False)]
)
def test_files_that_are_removed_while_it_runs_end_it_and_nothing_is_called_stored(
    short_dir: Path, gone: tuple[str, ...], *, kept: bool
) -> None:
    """Steps: store; remove; an event that is not stored; start again.

    What is in the log alone is saved when the relay ends, as long as its file is there.
    """
    with RelayProcess(short_dir) as relay:
        with Client(relay.socket) as client:
            client.send(event(0))
            assert client.reply() == {"stored": 1, "refused": 0}
            for part in gone:
                (short_dir / f"relay.db{part}").unlink()
            with contextlib.suppress(BrokenPipeError):  # it may have seen it already
                client.send(event(1))
            assert client.rest() == []
        assert relay.child.wait(10) == 1
        assert "store_gone error=" in relay.log
        assert "was removed or replaced while the relay ran" in relay.log

        relay.start()
        # The second event may be there too: it was on its way, and never acknowledged.
        assert (relay.status()["totals"]["accepted"] >= 1) == kept
