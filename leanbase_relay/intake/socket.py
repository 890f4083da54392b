"""JSON Lines over the Unix socket.

Owns the promise that a producer reads ``stored`` only after the commit: replies are
written in `_Connection.settled`, which runs when the writer has settled a receipt,
and nowhere else. Everything here runs in the intake loop's thread, but for
`SocketIntake._on_settled`.

Memory is bounded: by what a connection, and all of them together, may have waiting for
a commit (beyond it the kernel slows the producers down), by the longest line and what
all unfinished ones may take, by what a client that never reads leaves unsent, and by
the number of connections.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from leanbase_relay.clock import Clock
from leanbase_relay.errors import RelayError, StoreFull
from leanbase_relay.intake.admission import Admission
from leanbase_relay.intake.event import Judge, Judged, Refusal
from leanbase_relay.intake.line import too_long
from leanbase_relay.intake.replies import Replies, complaint
from leanbase_relay.intake.turn import Share, Turn
from leanbase_relay.intake.unfinished import Unfinished
from leanbase_relay.listener import BACKLOG
from leanbase_relay.store.deposit import DeadLetter, Deposit
from leanbase_relay.store.writer import Receipt, Writer

log = logging.getLogger(__name__)

DEFAULT_PROJECT = "default"
MAX_READ_BYTES = 1 << 20
MAX_WAITING_BYTES = 4 << 20
"""Of one connection, given to the writer and not yet settled."""
MAX_WAITING_BYTES_TOGETHER = 12 << 20
# What producers know as "send it again later": nothing was accepted, nothing is kept.
_GIVEN_UP = "store unavailable: too many lines are unfinished at once"


@dataclass(slots=True)
class _Pending:
    """What a connection gave to the writer, and has no receipt for yet."""

    connection: "_Connection"
    first_line: int
    share: Share
    letters: tuple[DeadLetter, ...]


_Pendings = tuple[_Pending, ...]  # of one deposit


class SocketIntake:
    """All connections of the JSON Lines socket."""

    def __init__(
        self,
        *,
        judge: Judge,
        writer: Writer,
        clock: Clock,
        max_event_bytes: int,
        admission: Admission,
    ) -> None:
        self.judge = judge
        self.turn = Turn(self._judged, self._taken, self._soon)
        self.writer = writer
        self.clock = clock
        self.max_event_bytes = max_event_bytes
        self.admission = admission
        # One buffer serves all connections: what is read is taken out of it before
        # the loop turns to the next.
        self.buffer = memoryview(bytearray(MAX_READ_BYTES))
        self.waiting_bytes = 0
        self.unfinished = Unfinished(clock, max_line_bytes=max_event_bytes)
        self._connections: set[_Connection] = set()
        self._paused: set[_Connection] = set()
        self._settled: deque[tuple[_Pendings, RelayError | None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: asyncio.Server | None = None

    async def start(self, sock: socket.socket) -> None:
        """Serve a listening socket."""
        self._loop = asyncio.get_running_loop()
        self.writer.after_group(self._wake)
        self._server = await self._loop.create_server(
            lambda: _Connection(self), sock=sock
        )
        # asyncio listens anew, with a queue as short as what it accepts at once.
        sock.listen(BACKLOG)

    async def stop(self, within_seconds: float) -> None:
        """Take no more, settle what was received, reply, close."""
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._connections):
            connection.finish()
        gone = [connection.gone for connection in self._connections]
        if gone:
            await asyncio.wait(gone, timeout=within_seconds)
        for connection in tuple(self._connections):
            connection.abort()

    def submit(self, pendings: "_Pendings", deposit: Deposit) -> None:
        """Give a deposit to the writer."""
        self.waiting_bytes += sum(pending.share.size for pending in pendings)
        self.writer.submit(deposit, lambda receipt: self._on_settled(pendings, receipt))

    def joined(self, connection: "_Connection") -> None:
        self._connections.add(connection)

    def left(self, connection: "_Connection") -> None:
        self.unfinished.note(connection, 0)
        self._connections.discard(connection)
        self._paused.discard(connection)

    def paused(self, connection: "_Connection", *, paused: bool) -> None:
        """Remember who is not read because too much is waiting."""
        (self._paused.add if paused else self._paused.discard)(connection)

    def _judged(self, run: bytes) -> Judged:
        now_ms = round(self.clock.wall() * 1000)
        return self.judge.judge(run, project=DEFAULT_PROJECT, now_ms=now_ms)

    def _taken(
        self, judged: Judged, shares: "Sequence[tuple[_Connection, Share]]"
    ) -> None:
        taken = (connection.take(share) for connection, share in shares)
        pendings = tuple(one for one in taken if one is not None)
        letters = tuple(letter for one in pendings for letter in one.letters)
        if pendings:
            self.submit(pendings, Deposit(judged.chunks, letters))

    def _soon(self, end: Callable[[], None]) -> None:
        """Wait for the others of this turn, if there are any."""
        if self._loop is None or len(self._connections) == 1:
            end()
        else:
            self._loop.call_soon(end)

    def _on_settled(self, pendings: "_Pendings", receipt: Receipt) -> None:
        """In the writer's thread: lay it down for the loop."""
        self._settled.append((pendings, receipt.error))

    def _wake(self) -> None:
        """In the writer's thread, after a group: wake the loop once for all of it."""
        if self._settled and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._take_settled)

    def _take_settled(self) -> None:
        touched: dict[_Connection, None] = {}
        while self._settled:
            pendings, error = self._settled.popleft()
            for pending in pendings:
                self.waiting_bytes -= pending.share.size
                pending.connection.settled(pending, error)
                touched[pending.connection] = None
        for connection in touched:
            connection.reply()
        if self._paused and self.waiting_bytes < MAX_WAITING_BYTES_TOGETHER:
            for connection in tuple(self._paused):
                connection.read_on()


class _Connection(asyncio.BufferedProtocol):
    """One producer's connection."""

    def __init__(self, intake: SocketIntake) -> None:
        self._intake = intake
        self._transport: asyncio.Transport | None = None
        self.peer = "socket"
        self._tail = bytearray()  # a line that is not finished
        self._skipping = False  # the rest of a line that is too long
        self._lines = 0  # judged, blank ones too
        self._replies = Replies()
        self._waiting_bytes = 0
        self._waiting = 0
        self._reading = True
        self._writing = True
        self._ended = False
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # The transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "a stream socket"
        self._transport = transport
        self._intake.joined(self)
        sock = transport.get_extra_info("socket")
        self.peer, why_not = self._intake.admission.enter(sock)
        if why_not is not None:
            transport.write(complaint(why_not))
            self._skipping = self._ended = True
            transport.close()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's
        return self._intake.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._receive(bytes(self._intake.buffer[:nbytes]))
        self._pause_if_due()

    def eof_received(self) -> bool:
        """The producer is done; a last line without a newline counts."""
        self._end_of_lines()
        if self._lines:
            self._replies.are_due = True  # the last one comes, whatever was said before
        if not self._waiting:
            self.reply()
        return True  # the transport stays open for the replies

    def pause_writing(self) -> None:
        self._writing = False

    def resume_writing(self) -> None:
        self._writing = True
        self.reply()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and not self._ended:
            self._receive_rest()
        self._transport = None
        self._intake.admission.leave()
        self._intake.left(self)
        if not self.gone.done():
            self.gone.set_result(None)

    # Lines.

    def _receive(self, data: bytes) -> None:
        if self._skipping:
            _, newline, data = data.partition(b"\n")
            self._skipping = not newline
        end = data.rfind(b"\n") + 1
        if end:
            run = bytes(self._tail) + data[:end] if self._tail else data[:end]
            self._tail = bytearray(data[end:])
            self._intake.turn.add(self, run)
        else:
            self._tail += data
        # One more byte may be the \r of a line's end.
        if len(self._tail) > self._intake.max_event_bytes + 1:
            self._refuse_tail()
        self._intake.unfinished.note(self, len(self._tail))

    def _receive_rest(self) -> None:
        """A producer that is gone hears no reply; what it wrote before counts."""
        assert self._transport is not None, "lost only now"
        fileno = self._transport.get_extra_info("socket").fileno()
        with contextlib.suppress(OSError):
            while data := os.read(fileno, MAX_READ_BYTES):
                self._receive(data)
        self._end_of_lines()

    def _receive_last(self) -> None:
        """What the kernel has by now: a producer that waits for its answer gets it."""
        if self._transport is None or not self._reading or self._ended:
            return
        fileno = self._transport.get_extra_info("socket").fileno()
        with contextlib.suppress(OSError):
            self._receive(os.read(fileno, MAX_READ_BYTES))

    def _refuse_tail(self) -> None:
        """A line without an end is refused as soon as it is too long."""
        limit = self._intake.max_event_bytes
        refusal = self._intake.judge.refusal(
            1, too_long(limit), bytes(self._tail), project=DEFAULT_PROJECT
        )
        self._tail = bytearray()
        self._give_up_on(refusal)

    def give_up_line(self) -> None:
        """Let go of a line that has stood still, and skip what may come of it."""
        self._let_go_of_tail()
        self._give_up_on(Refusal(1, _GIVEN_UP, b"", DEFAULT_PROJECT), keep=False)

    def _let_go_of_tail(self) -> None:
        self._tail = bytearray()
        self._intake.unfinished.note(self, 0)

    def _end_of_lines(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._tail:
            run = bytes(self._tail)
            self._let_go_of_tail()
            self._intake.turn.add(self, run)
        self._intake.turn.end()

    def _give_up_on(self, refusal: Refusal, *, keep: bool = True) -> None:
        """Refuse a line that is not all there, and skip the rest of it."""
        self._skipping = True
        self._intake.turn.end()  # the lines before it are counted first
        pending = self.take(Share(0, (refusal,), 1, (), len(refusal.text)), keep=keep)
        assert pending is not None, "it is refused"
        self._intake.submit((pending,), Deposit(refused=pending.letters))

    def take(self, share: Share, *, keep: bool = True) -> _Pending | None:
        """Count the lines of a share; None if nothing of it waits for a commit.

        Args:
            share: what the next lines of this connection came to.
            keep: whether those that are refused become dead letters.
        """
        first_line = self._lines
        self._lines += share.lines
        if not share.events and not share.refusals:
            return None
        letters = tuple(
            refusal.dead_letter(f"{self.peer} line={first_line + refusal.line}")
            for refusal in share.refusals
            if keep
        )
        return self._waits(_Pending(self, first_line, share, letters))

    def _waits(self, pending: _Pending) -> _Pending:
        self._waiting += 1
        self._waiting_bytes += pending.share.size
        return pending

    # Receipts.

    def settled(self, pending: _Pending, why: RelayError | None) -> None:
        """The writer has settled: only now may anything be promised."""
        self._waiting -= 1
        self._waiting_bytes -= pending.share.size
        share, first = pending.share, pending.first_line
        if why is None:
            self._replies.stored(share.events)
        else:
            kept_out = {one.line for one in share.refusals} | set(share.blanks)
            for number in range(1, share.lines + 1):
                if number not in kept_out:
                    self._replies.refused(first + number, str(why))
        if isinstance(why, StoreFull) and pending.letters:
            # The events found no room, and their lines are settled; what was wrong
            # with their neighbours is still worth keeping.
            without_events = replace(share, events=0, lines=0)
            again = self._waits(replace(pending, share=without_events))
            self._intake.submit((again,), Deposit(refused=pending.letters))
            return
        for refusal in share.refusals:
            self._replies.refused(first + refusal.line, refusal.reason)

    def reply(self) -> None:
        """Send what is to be said, unless the client does not read."""
        if self._transport is None:
            return
        if self._replies.are_due and self._writing:
            self._transport.write(self._replies.take())
        self._close_if_done()

    # Flow.

    def _pause_if_due(self) -> None:
        too_much = (
            self._waiting_bytes >= MAX_WAITING_BYTES
            or self._intake.waiting_bytes >= MAX_WAITING_BYTES_TOGETHER
        )
        if too_much and self._reading and not self._ended and self._transport:
            self._reading = False
            self._intake.paused(self, paused=True)
            self._transport.pause_reading()

    def read_on(self) -> None:
        """Go on reading, if this connection was paused and may."""
        if not self._reading and self._waiting_bytes < MAX_WAITING_BYTES:
            self._reading = True
            self._intake.paused(self, paused=False)
            if self._transport is not None and not self._ended:
                self._transport.resume_reading()

    def finish(self) -> None:
        """The relay stops: settle what was received, then close."""
        self._receive_last()
        self._intake.turn.end()
        self._let_go_of_tail()  # a line half received was promised nothing
        self._ended = True
        if self._transport is not None and self._reading:
            self._reading = False
            self._transport.pause_reading()
        self._close_if_done()

    def abort(self) -> None:
        """Close whatever is open."""
        if self._transport is not None:
            self._transport.abort()

    def _close_if_done(self) -> None:
        # Replies that are left wait for a client that does not read yet.
        done = self._ended and not self._waiting and not self._replies.are_due
        if done and self._transport is not None:
            self._transport.close()
