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
import json
import logging
import os
import socket
from collections import deque
from dataclasses import dataclass

from leanbase_relay.clock import Clock
from leanbase_relay.errors import RelayError, StoreFull
from leanbase_relay.intake.admission import Admission
from leanbase_relay.intake.event import Judge, Judged, Refusal
from leanbase_relay.intake.line import too_long
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
MAX_UNSENT_BYTES = 64 << 10
"""Of `error` replies that a client does not read; beyond it they are left out. The
counts are always right, and the dead letters keep every refused line."""

_COUNTS = b'{"stored":%d,"refused":%d}\n'
# What producers know as "send it again later": nothing was accepted, nothing is kept.
_GIVEN_UP = "store unavailable: too many lines are unfinished at once"


@dataclass(slots=True)
class _Pending:
    """What was given to the writer and has no receipt yet."""

    connection: "_Connection"
    first_line: int
    judged: Judged
    size: int
    letters: tuple[DeadLetter, ...]


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
        self._settled: deque[tuple[_Pending, RelayError | None]] = deque()
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

    def submit(self, pending: _Pending, deposit: Deposit) -> None:
        """Give a deposit to the writer."""
        self.waiting_bytes += pending.size
        self.writer.submit(deposit, lambda receipt: self._on_settled(pending, receipt))

    def joined(self, connection: "_Connection") -> None:
        self._connections.add(connection)

    def left(self, connection: "_Connection") -> None:
        self.unfinished.note(connection, 0)
        self._connections.discard(connection)
        self._paused.discard(connection)

    def paused(self, connection: "_Connection", *, paused: bool) -> None:
        """Remember who is not read because too much is waiting."""
        (self._paused.add if paused else self._paused.discard)(connection)

    def _on_settled(self, pending: _Pending, receipt: Receipt) -> None:
        """In the writer's thread: lay it down for the loop."""
        self._settled.append((pending, receipt.error))

    def _wake(self) -> None:
        """In the writer's thread, after a group: wake the loop once for all of it."""
        if self._settled and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._take_settled)

    def _take_settled(self) -> None:
        touched: dict[_Connection, None] = {}
        while self._settled:
            pending, error = self._settled.popleft()
            self.waiting_bytes -= pending.size
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
        self._stored = 0
        self._refused = 0
        self._waiting_bytes = 0
        self._waiting = 0
        self._errors: list[bytes] = []
        self._unsent_bytes = 0
        self._reading = True
        self._writing = True
        self._ended = False
        self._news = False
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # The transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "a stream socket"
        self._transport = transport
        self._intake.joined(self)
        sock = transport.get_extra_info("socket")
        self.peer, why_not = self._intake.admission.enter(sock)
        if why_not is not None:
            transport.write(_line(error=why_not))
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
            self._news = True  # the last reply comes, whatever was said before
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
            self._take(run)
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

    def _take(self, run: bytes) -> None:
        intake = self._intake
        judged = intake.judge.judge(
            run, project=DEFAULT_PROJECT, now_ms=round(intake.clock.wall() * 1000)
        )
        self._submit(judged)

    def _refuse_tail(self) -> None:
        """A line without an end is refused as soon as it is too long."""
        limit = self._intake.max_event_bytes
        refusal = self._intake.judge.refusal(
            1, too_long(limit), bytes(self._tail), project=DEFAULT_PROJECT
        )
        self._tail = bytearray()
        self._skipping = True
        self._submit(Judged((), (refusal,), 1))

    def give_up_line(self) -> None:
        """Let go of a line that has stood still, and skip what may come of it."""
        self._let_go_of_tail()
        self._skipping = True
        refusal = Refusal(1, _GIVEN_UP, b"", DEFAULT_PROJECT)
        self._give(self._lines, Judged((), (refusal,), 1), Deposit())
        self._lines += 1

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
            self._take(run)

    def _submit(self, judged: Judged) -> None:
        first_line = self._lines
        self._lines += judged.lines
        if not judged.chunks and not judged.refusals:
            return
        letters = tuple(
            refusal.dead_letter(f"{self.peer} line={first_line + refusal.line}")
            for refusal in judged.refusals
        )
        self._give(first_line, judged, Deposit(judged.chunks, letters))

    def _give(self, first_line: int, judged: Judged, deposit: Deposit) -> None:
        pending = _Pending(self, first_line, judged, deposit.size, deposit.refused)
        self._waiting += 1
        self._waiting_bytes += pending.size
        self._intake.submit(pending, deposit)

    # Receipts.

    def settled(self, pending: _Pending, error: RelayError | None) -> None:
        """The writer has settled: only now may anything be promised."""
        self._waiting -= 1
        self._waiting_bytes -= pending.size
        judged, first = pending.judged, pending.first_line
        self._news = True
        if error is None:
            self._stored += judged.events
            self._refused += len(judged.refusals)
            for refusal in judged.refusals:
                self._add_error(first + refusal.line, refusal.reason)
            return
        kept_out = {refusal.line for refusal in judged.refusals} | set(judged.blanks)
        for number in range(1, judged.lines + 1):
            if number not in kept_out:
                self._refused += 1
                self._add_error(first + number, str(error))
        if isinstance(error, StoreFull) and pending.letters:
            # The events found no room, and their lines are settled; what was wrong
            # with their neighbours is still worth keeping.
            without_events = Judged((), judged.refusals, 0)
            self._give(first, without_events, Deposit(refused=pending.letters))
            return
        for refusal in judged.refusals:
            self._refused += 1
            self._add_error(first + refusal.line, refusal.reason)

    def reply(self) -> None:
        """Send what is to be said, unless the client does not read."""
        if self._transport is None:
            return
        if self._news and self._writing:
            self._news = False
            counts = _COUNTS % (self._stored, self._refused)
            self._transport.write(b"".join([*self._errors, counts]))
            self._errors.clear()
            self._unsent_bytes = 0
        self._close_if_done()

    def _add_error(self, line: int, reason: str) -> None:
        text = _line(line=line, error=reason)
        if self._unsent_bytes + len(text) <= MAX_UNSENT_BYTES:
            self._errors.append(text)
            self._unsent_bytes += len(text)

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
        # News that are left wait for a client that does not read yet.
        done = self._ended and not self._waiting and not self._news
        if done and self._transport is not None:
            self._transport.close()


def _line(**members: object) -> bytes:
    return json.dumps(members, separators=(",", ":")).encode() + b"\n"
