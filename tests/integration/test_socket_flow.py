"""The socket under way: commits before promises, bounds, slow clients, the stop."""

import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from leanbase_relay.intake.replies import MAX_UNSENT_BYTES
from leanbase_relay.intake.socket import (
    MAX_READ_BYTES,
    MAX_WAITING_BYTES,
    MAX_WAITING_BYTES_TOGETHER,
)
from tests.support.intake import (
    PATIENCE_SECONDS,
    Client,
    RunningIntake,
    counts,
    errors,
    event,
)
from tests.support.waiting import eventually

BAD = b'{"event":"e"}\n'
MIB = 1 << 20
BIG = event(1, pad="x" * (MIB // 4))


@pytest.fixture
def relay(short_dir: Path) -> Iterator[RunningIntake]:
    with RunningIntake(short_dir) as relay:
        yield relay


def resident_bytes() -> int:
    """The memory of this process, in which the relay of the test lives too."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) << 10


def push(client: Client, data: bytes) -> int:
    """Send what the kernel takes at this moment."""
    sent = 0
    client.socket.setblocking(False)  # noqa: FBT003 - the library's
    try:
        while sent < len(data):
            sent += client.socket.send(data[sent : sent + MIB])
    except BlockingIOError:
        pass
    finally:
        client.socket.settimeout(PATIENCE_SECONDS)
    return sent


def unsent_bytes(relay: RunningIntake) -> int:
    """What the relay keeps for clients that do not read."""
    unsent = 0
    for connection in relay.intake._connections:
        assert connection._transport is not None
        unsent += connection._transport.get_write_buffer_size()
        unsent += connection._replies._unsent_bytes
    return unsent


class TestThePromise:
    def test_stored_is_not_said_before_the_commit(self, relay: RunningIntake) -> None:
        relay.hold()
        with relay.connect() as client:
            client.send(event(1) + BAD)
            relay.await_held()

            assert client.hears_nothing()
            assert relay.backlog() == []
            relay.let_go()
            assert counts(client.replies_until(2)) == (1, 1)
            assert relay.backlog() == [event(1).strip()]

    def test_nor_is_it_at_the_end_of_the_stream(self, relay: RunningIntake) -> None:
        relay.hold()
        with relay.connect() as client:
            client.send(event(1).strip())
            client.half_close()
            relay.await_held()

            assert client.hears_nothing()
            relay.let_go()
            assert client.rest() == [{"stored": 1, "refused": 0}]

    def test_each_reply_stands_for_commits_that_happened(
        self, relay: RunningIntake
    ) -> None:
        with relay.connect() as client:
            for number in range(50):
                client.send(event(number))
                told = counts(client.replies_until(number + 1))
                assert told == (len(relay.backlog()), 0)

    def test_replies_to_many_commits_may_be_merged(self, relay: RunningIntake) -> None:
        relay.hold()
        with relay.connect() as client:
            client.send(event(1))
            relay.await_held()
            for number in range(2, 20):
                client.send(event(number))
                relay.settle_loop()
            relay.let_go()
            replies = client.replies_until(19)

        assert counts(replies) == (19, 0)
        assert len(replies) < 19


class TestManyClients:
    def test_64_connections_are_served_at_once(self, relay: RunningIntake) -> None:
        clients = [relay.connect() for _ in range(64)]
        for round_ in range(5):
            for number, client in enumerate(clients):
                client.send(event(round_ * 64 + number))
            for client in clients:
                replies = client.replies_until(round_ + 1)
                assert counts(replies) == (round_ + 1, 0)
        for client in clients:
            client.close()

        assert sorted(relay.backlog()) == sorted(
            event(number).strip() for number in range(320)
        )

    def test_one_that_writes_byte_by_byte_delays_no_other(
        self, relay: RunningIntake
    ) -> None:
        with relay.connect() as slow, relay.connect() as other:
            for number, byte in enumerate(event(1000)):
                slow.send(bytes([byte]))
                if number % 10 == 0:
                    other.send(event(number))
                    other.replies_until(number // 10 + 1)

            assert slow.replies_until(1) == [{"stored": 1, "refused": 0}]

    def test_one_that_never_reads_is_served_and_hears_the_end_if_it_reads_at_last(
        self, relay: RunningIntake
    ) -> None:
        lines = 30_000
        before = resident_bytes()
        with relay.connect() as deaf, relay.connect() as other:
            deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            for _ in range(lines // 1000):
                deaf.send(BAD * 1000)
            deaf.half_close()
            other.send(event(1))
            assert other.replies_until(1) == [{"stored": 1, "refused": 0}]
            eventually(lambda: relay.totals().refused == lines, PATIENCE_SECONDS)

            unsent = relay.in_loop(lambda: unsent_bytes(relay))
            assert unsent < 4 * MAX_UNSENT_BYTES
            assert resident_bytes() - before < 48 * MIB
            replies = deaf.rest()

        assert counts(replies) == (0, lines)
        told = errors(replies)
        assert 0 < len(told) < lines
        assert set(told.values()) == {"distinct_id: missing"}

    def test_one_that_writes_and_goes_is_served_all_the_same(
        self, relay: RunningIntake
    ) -> None:
        """The first reply meets nobody; what is unread by then still counts."""
        relay.hold()
        with relay.connect() as client:
            client.send(event(1))
            relay.await_held()
            with relay.frozen():
                client.send(event(2) * 400 + event(3).strip())
                client.close()
                relay.let_go()
        eventually(lambda: not relay.intake._connections, PATIENCE_SECONDS)

        relay.send(event(4))
        assert relay.totals().accepted == 403
        assert relay.backlog()[-2:] == [event(3).strip(), event(4).strip()]

    def test_one_that_never_reads_and_goes_is_forgotten(
        self, relay: RunningIntake
    ) -> None:
        with relay.connect() as deaf:
            for _ in range(10):
                deaf.send(BAD * 1000)
        eventually(lambda: relay.totals().refused == 10_000, PATIENCE_SECONDS)

        eventually(lambda: not relay.intake._connections, PATIENCE_SECONDS)
        assert counts(relay.send(event(1))) == (1, 0)


class TestBounds:
    def test_a_line_of_100_mb_without_end_takes_no_memory(
        self, relay: RunningIntake
    ) -> None:
        piece = b"x" * MIB
        before = most = resident_bytes()
        with relay.connect() as client:
            client.send(event(1))
            for _ in range(100):
                client.send(piece)
                most = max(most, resident_bytes())
            client.send(b"\n" + event(3))
            replies = client.send_all(b"")

        assert errors(replies) == {
            2: "line is longer than events.max_bytes (921600 bytes)"
        }
        assert counts(replies) == (2, 1)
        assert most - before < 16 * MIB
        assert [len(letter.line) for letter in relay.letters()] == [900 << 10]

    def test_the_relay_stops_reading_while_nothing_can_be_committed(
        self, relay: RunningIntake
    ) -> None:
        relay.hold()
        with relay.connect() as client:
            sent = push(client, BIG)
            client.send(BIG[sent:])
            relay.await_held()
            sent = 0
            rest = BIG * 100
            for _ in range(200):
                sent += push(client, rest[sent:])
                relay.settle_loop()
            waiting = relay.in_loop(lambda: relay.intake.waiting_bytes)

            assert MAX_WAITING_BYTES <= waiting <= MAX_WAITING_BYTES + MAX_READ_BYTES
            assert sent < MAX_WAITING_BYTES + 4 * MIB
            relay.let_go()
            client.send(rest[sent:])
            assert counts(client.replies_until(101)) == (101, 0)
        assert relay.in_loop(lambda: relay.intake.waiting_bytes) == 0

    def test_all_connections_together_have_a_bound_as_well(
        self, relay: RunningIntake
    ) -> None:
        relay.hold()
        clients = [relay.connect() for _ in range(16)]
        left = [BIG * 12] * len(clients)
        for _ in range(60):
            for number, client in enumerate(clients):
                left[number] = left[number][push(client, left[number]) :]
            relay.settle_loop()
        waiting = relay.in_loop(lambda: relay.intake.waiting_bytes)

        most = MAX_WAITING_BYTES_TOGETHER + len(clients) * MAX_READ_BYTES
        assert MAX_WAITING_BYTES_TOGETHER <= waiting <= most
        relay.let_go()
        for client, rest in zip(clients, left, strict=True):
            client.send(rest)
        for client in clients:
            assert counts(client.replies_until(12)) == (12, 0)
            client.close()

    def test_a_paused_client_delays_no_other(self, relay: RunningIntake) -> None:
        relay.hold()
        with relay.connect() as fat, relay.connect() as thin:
            rest = BIG * 40
            sent = 0
            for _ in range(100):
                sent += push(fat, rest[sent:])
                relay.settle_loop()
            thin.send(event(1))
            relay.let_go()

            assert thin.replies_until(1) == [{"stored": 1, "refused": 0}]
            assert sent < len(rest)


class TestACrowd:
    def test_unfinished_lines_have_a_bound_together(self, relay: RunningIntake) -> None:
        """Forty producers stop in the middle of a large event; one goes on writing."""
        large = event(1, properties={"x": "x" * (800 << 10)})
        half, end = large[:-4], large[-4:]
        before = resident_bytes()
        idle = [relay.connect() for _ in range(40)]
        with relay.connect() as busy:
            busy.send(half)
            for client in idle:
                client.send(half)
                busy.send(b"x")
            relay.settle_loop()

            assert resident_bytes() - before < 24 * MIB
            (told, _) = idle[0].replies_until(1)
            assert told == {
                "line": 1,
                "error": "store unavailable: too many lines are unfinished at once",
            }
            idle[0].send(end + event(2))
            assert counts(idle[0].replies_until(2)) == (1, 1)
            for client in (busy, idle[-1]):
                client.send(end)
                assert counts(client.replies_until(1)) == (1, 0)
        for client in idle:
            client.close()
        assert relay.letters() == []

    def test_more_than_there_may_be_are_told_and_hung_up_on(
        self, short_dir: Path
    ) -> None:
        with RunningIntake(short_dir, max_connections=2) as relay:
            one, two = relay.connect(), relay.connect()
            with relay.connect() as third:
                said = third.rest()
            assert said == [{"error": "too many connections: 2 are open"}]
            assert "2 producers are connected" in relay.intake.admission.problems()[0]

            two.close()
            eventually(lambda: not relay.intake.admission.problems())
            with relay.connect() as fourth:
                assert counts(fourth.send_all(event(1))) == (1, 0)
            one.close()


class TestTheStop:
    def test_what_was_received_is_settled_and_told(self, relay: RunningIntake) -> None:
        relay.hold()
        with relay.connect() as client:
            client.send(event(1) + BAD + event(2))
            relay.await_held()
            stopping = threading.Thread(target=relay.stop)
            stopping.start()
            relay.settle_loop()
            assert client.hears_nothing()
            relay.let_go()
            replies = client.rest()
            stopping.join()

        assert errors(replies) == {2: "distinct_id: missing"}
        assert counts(replies) == (2, 1)
        assert relay.backlog() == [event(1).strip(), event(2).strip()]

    def test_a_line_half_received_is_not_an_event(self, relay: RunningIntake) -> None:
        with relay.connect() as client:
            client.send(event(1) + event(2).strip())
            client.replies_until(1)
            relay.settle_loop()
            relay.stop()

            assert client.rest() == []
        assert relay.backlog() == [event(1).strip()]

    def test_what_the_kernel_has_by_then_is_taken_too(
        self, relay: RunningIntake
    ) -> None:
        """Else a producer that waits for its answer is cut off by each restart."""
        with relay.connect() as client:
            client.send(event(1))
            client.replies_until(1)

            def sent_as_it_stops() -> None:
                client.send(event(2))
                for connection in tuple(relay.intake._connections):
                    connection.finish()

            relay.in_loop(sent_as_it_stops)

            assert counts(client.rest()) == (2, 0)
        assert relay.backlog() == [event(1).strip(), event(2).strip()]

    def test_idle_connections_are_closed(self, relay: RunningIntake) -> None:
        with relay.connect() as idle, relay.connect() as used:
            used.send(event(1))
            used.replies_until(1)
            relay.stop()

            assert idle.rest() == used.rest() == []

    def test_nobody_connects_any_more(self, relay: RunningIntake) -> None:
        relay.stop()

        with pytest.raises(ConnectionRefusedError):
            relay.connect()

    def test_it_waits_no_longer_than_it_may_for_a_disk_that_hangs(
        self, relay: RunningIntake
    ) -> None:
        """And a receipt that comes when nobody waits any more harms nobody."""
        relay.hold()
        with relay.connect() as client:
            client.send(event(1))
            relay.await_held()
            relay.stop(within_seconds=0.05)

            assert client.rest() == []
        relay.let_go()

    def test_it_waits_no_longer_than_it_may_for_a_client_that_never_reads(
        self, relay: RunningIntake
    ) -> None:
        with relay.connect() as deaf:
            for _ in range(30):
                deaf.send(BAD * 1000)
            relay.send(event(1))
            relay.stop(within_seconds=0.05)

        assert relay.in_loop(lambda: len(relay.intake._connections)) == 0
