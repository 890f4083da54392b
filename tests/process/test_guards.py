"""Who may come in, who may read, and whose socket and store it is."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.intake import Client, event
from tests.support.process import RelayProcess
from tests.support.root import only_root
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

SOCKETS = {"relay.sock", "control.sock"}
SEND_AS_NOBODY = """
import os, socket, sys
os.setgroups([]); os.setresgid(*[65534] * 3); os.setresuid(*[65534] * 3)
with socket.socket(socket.AF_UNIX) as producer:
    producer.connect(sys.argv[1])
    try:
        producer.sendall(sys.argv[2].encode())
    except BrokenPipeError:
        pass  # it may have said why
    print(producer.makefile().readline())
"""


def modes(directory: Path) -> dict[str, int]:
    """What each file lets whom do."""
    return {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()
    }


def test_whatever_the_umask_nothing_is_for_everybody_to_read(short_dir: Path) -> None:
    """The log and the configuration are not the daemon's."""
    relay = RelayProcess(short_dir, through=("sh", "-c", 'umask 0; exec "$@"', "sh"))
    with relay:
        with Client(relay.socket) as client:
            client.send_all(event(1) + b"bad\\n")
        found = modes(short_dir)
        relay.kill()
        found |= modes(short_dir)

    ours = {name: mode for name, mode in found.items() if name.startswith("relay.db")}
    assert ours.keys() >= {f"relay.db{end}" for end in ("", "-wal", "-shm", ".lock")}
    assert {name: oct(mode) for name, mode in ours.items() if mode & ~0o640} == {}
    assert {found[name] for name in SOCKETS} == {0o660}


@only_root
def test_a_uid_that_is_not_allowed_is_told_and_nothing_of_it_is_taken(
    short_dir: Path,
) -> None:
    settings = {"socket": {"mode": "0666", "allow_uids": [os.getuid()]}}
    with RelayProcess(short_dir, settings=settings) as relay:
        short_dir.chmod(0o755)
        stranger = subprocess.run(
            [sys.executable, "-c", SEND_AS_NOBODY, relay.socket, event(1).decode()],
            capture_output=True,
            text=True,
            check=True,
        )
        with Client(relay.socket) as friend:
            assert friend.send_all(event(2)) == [{"stored": 1, "refused": 0}]

        assert stranger.stdout.strip() == (
            '{"error":"uid 65534 is not in socket.allow_uids"}'
        )
        assert relay.status()["totals"]["accepted"] == 1
        assert relay.log.count("connection_refused times=1 uid=65534") == 1


@only_root
def test_a_uid_that_the_mode_keeps_out_cannot_connect(short_dir: Path) -> None:
    with RelayProcess(short_dir) as relay:
        short_dir.chmod(0o755)
        stranger = subprocess.run(
            [sys.executable, "-c", SEND_AS_NOBODY, relay.socket, event(1).decode()],
            capture_output=True,
            text=True,
            check=False,
        )

    assert "PermissionError" in stranger.stderr


def test_a_socket_that_another_relay_listens_on_is_not_taken_from_it(
    short_dir: Path,
) -> None:
    """It has a store of its own, so that the lock does not keep it out."""
    (short_dir / "b").mkdir()
    with RelayProcess(short_dir) as first:
        other = RelayProcess(
            short_dir / "b", settings={"socket": {"path": str(first.socket)}}
        )
        done = other.command("run")

        assert done.returncode == 1
        assert f"another process listens on {first.socket}" in done.stderr
        with Client(first.socket) as client:
            assert client.send_all(event(1)) == [{"stored": 1, "refused": 0}]


def test_sockets_left_by_a_kill_are_cleaned_up(short_dir: Path) -> None:
    with RelayProcess(short_dir) as relay:
        relay.kill()
        with (
            socket.socket(socket.AF_UNIX) as dead,
            pytest.raises(ConnectionRefusedError),
        ):
            dead.connect(str(relay.socket))

        relay.start()

        with Client(relay.socket) as client:
            assert client.send_all(event(1)) == [{"stored": 1, "refused": 0}]


def test_a_crowd_of_clients_on_the_control_socket_keeps_no_event_out(
    short_dir: Path,
) -> None:
    with RelayProcess(short_dir) as relay:
        crowd = [socket.socket(socket.AF_UNIX) for _ in range(200)]
        for client in crowd:
            client.connect(str(relay.control))
            client.sendall(b'{"command": "sta')

        with Client(relay.socket) as producer:
            assert producer.send_all(event(1)) == [{"stored": 1, "refused": 0}]
        for client in crowd:
            client.close()
        eventually(lambda: "error" not in relay.status())
        assert relay.stop() == 0
