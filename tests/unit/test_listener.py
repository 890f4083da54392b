import grp
import os
import socket
import stat
from pathlib import Path

import pytest

from leanbase_relay import listener
from leanbase_relay.errors import RelayError


def connect(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(path))


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_socket_has_its_mode(short_dir: Path, mode: int) -> None:
    path = short_dir / "relay.sock"
    with listener.listen(path, mode=mode):
        connect(path)

        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_the_umask_is_left_as_it_was(short_dir: Path) -> None:
    before = os.umask(0o027)
    try:
        with listener.listen(short_dir / "relay.sock", mode=0o660):
            assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_a_missing_directory_is_made(short_dir: Path) -> None:
    path = short_dir / "a" / "b" / "relay.sock"
    with listener.listen(path, mode=0o600):
        connect(path)


def test_a_socket_may_be_given_to_a_group(short_dir: Path) -> None:
    mine = grp.getgrgid(os.getgid())
    path = short_dir / "relay.sock"
    with listener.listen(path, mode=0o660, group=mine.gr_name):
        assert path.stat().st_gid == mine.gr_gid


def test_an_unknown_group_is_named_and_nothing_is_left(short_dir: Path) -> None:
    path = short_dir / "relay.sock"
    with pytest.raises(RelayError, match="no-such-group"):
        listener.listen(path, mode=0o660, group="no-such-group")

    assert not path.exists()


def test_a_socket_left_by_a_crash_is_cleaned_up(short_dir: Path) -> None:
    path = short_dir / "relay.sock"
    listener.listen(path, mode=0o600).close()
    assert path.is_socket()

    with listener.listen(path, mode=0o600):
        connect(path)


def test_a_living_listener_is_not_robbed(short_dir: Path) -> None:
    path = short_dir / "relay.sock"
    with (
        listener.listen(path, mode=0o600),
        pytest.raises(listener.SocketInUse, match="another process listens"),
    ):
        listener.listen(path, mode=0o600)


def test_a_file_of_that_name_is_left_alone(short_dir: Path) -> None:
    path = short_dir / "relay.sock"
    path.write_text("somebody needs this")

    with pytest.raises(RelayError, match="cannot listen on"):
        listener.listen(path, mode=0o600)
    assert path.read_text() == "somebody needs this"


def test_a_path_may_be_as_long_as_the_kernel_takes(short_dir: Path) -> None:
    longest = listener.MAX_PATH_BYTES - len(os.fsencode(short_dir)) - 1
    with listener.listen(short_dir / ("s" * longest), mode=0o600):
        pass
    with pytest.raises(RelayError, match="too long"):
        listener.listen(short_dir / ("s" * (longest + 1)), mode=0o600)


def test_to_unlink_what_is_gone_is_no_error(short_dir: Path) -> None:
    listener.unlink(short_dir / "relay.sock")


class TestPorts:
    @pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9"])
    def test_an_address_is_listened_on(self, host: str) -> None:
        (sock,) = listener.listen_tcp(host, 0)
        with sock:
            socket.create_connection(sock.getsockname()).close()

            assert sock.getsockname()[0] == host
            assert not sock.getblocking()

    def test_localhost_is_this_machine_in_both_families(self) -> None:
        socks = listener.listen_tcp("localhost", 0)
        try:
            addresses = [sock.getsockname()[:2] for sock in socks]
            port = addresses[0][1]

            assert addresses[0] == ("127.0.0.1", port)
            assert addresses[1:] in ([], [("::1", port)])  # where there is IPv6
        finally:
            for sock in socks:
                sock.close()

    def test_a_port_that_is_taken_is_refused_with_its_name(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]

            for host in ("127.0.0.1", "localhost"):
                with pytest.raises(
                    listener.SocketInUse, match=f"listens on 127.0.0.1:{port}; stop"
                ):
                    listener.listen_tcp(host, port)

    def test_localhost_is_not_shared_with_somebody_else(self) -> None:
        """Else half of the producers would reach that one."""
        try:
            taken = socket.create_server(("::1", 0), family=socket.AF_INET6)
        except OSError:
            pytest.skip("no IPv6 here")
        with taken, pytest.raises(listener.SocketInUse, match=r"\[::1\]"):
            listener.listen_tcp("localhost", taken.getsockname()[1])

    def test_an_address_of_nobody_is_refused(self) -> None:
        with pytest.raises(RelayError, match=r"cannot listen on 192\.0\.2\.1:1"):
            listener.listen_tcp("192.0.2.1", 1)
