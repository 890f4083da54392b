"""The capture API: what SDKs speak over HTTP, answered once the events are on disk.

Owns the promise that no 200 is said before the commit: answers are given in
`CaptureApi._stored`, behind the receipt. Runs in the intake loop; large bodies are
unpacked and judged in a thread of their own, one at a time, so that neither the loop
nor the memory has more than one of them.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qsl

from leanbase_relay.clock import Clock
from leanbase_relay.errors import RelayError
from leanbase_relay.intake import capture_v0, capture_v1
from leanbase_relay.intake.answer import Answer, Declined, TooMuch
from leanbase_relay.intake.body import MAX_BODY_BYTES, inflated, unwrapped
from leanbase_relay.intake.callers import for_page, kept_out
from leanbase_relay.intake.complaints import Complaints
from leanbase_relay.intake.event import Judge
from leanbase_relay.intake.request import Bounds, Head, Portion, Read
from leanbase_relay.intake.room import Room
from leanbase_relay.intake.taking import Taken, Taker
from leanbase_relay.intake.web import Web
from leanbase_relay.keys import KeyRing
from leanbase_relay.store.deposit import Deposit
from leanbase_relay.store.writer import Receipt, Writer

AT_ONCE_BYTES = 64 << 10
"""Of a body that is judged in the loop itself: less than a millisecond."""
AT_ONCE = Portion(bytes=128 << 10, events=250)
WHOLE = Portion()
MAX_WAITING_BYTES = 12 << 20
"""Given to the writer and not yet settled, over all requests."""

HEALTH_PATHS = frozenset({"/", "/_readiness", "/_liveness"})

_QUICK_STARTS = (b"{", b"[", b"\x1f\x8b")  # plain or gzip; the rest takes its time
_MAX_QUERY_FIELDS = 100
_NOT_HERE = (
    "the relay carries events only: /batch, /capture, /e, /i/v0/e, /track, /engage and "
    "/i/v1/analytics/events; feature flags, session recordings, surveys and the rest "
    "are the upstream's"
)

Taking = Callable[[Taker, int], Taken]
"""Unpacks a body, up to so many bytes, and takes what is in it."""


class CaptureApi:
    """The capture API on all its addresses.

    Args:
        a_judge: makes a judge of events `from_sdk`, for each thread one.
        keys: of the projects.
        allow_uids: who may use the Unix sockets.
        bounds: of connections.
    """

    def __init__(
        self,
        *,
        a_judge: Callable[[], Judge],
        keys: KeyRing,
        writer: Writer,
        clock: Clock,
        allow_uids: tuple[int, ...] | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        self._judge, self._far_judge = a_judge(), a_judge()
        self._keys = keys
        self._writer = writer
        self._clock = clock
        self._web = Web(self._serve, allow_uids=allow_uids, bounds=bounds)
        self._waiting = Room(MAX_WAITING_BYTES)
        self._turn = Room(1)  # of the thread for large bodies
        self._far = ThreadPoolExecutor(1, "http")
        self._settled: deque[tuple[asyncio.Future[RelayError | None], Receipt]] = (
            deque()
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._complaints = Complaints(clock)

    async def start(self, socks: Sequence[socket.socket]) -> None:
        """Serve listening sockets."""
        self._loop = asyncio.get_running_loop()
        self._writer.after_group(self._wake)
        await self._web.start(socks)

    async def stop(self, within_seconds: float) -> None:
        """Take no more, settle what was received, answer, close."""
        await self._web.stop(within_seconds)
        self._far.shutdown(wait=False, cancel_futures=True)

    def problems(self) -> list[str]:
        """What the operator ought to know of the requests that were turned down."""
        return self._complaints.problems()

    # Routes.

    async def _serve(self, head: Head, read: Read) -> Answer:
        why = kept_out(head.headers) if head.on_port else None
        if why is not None:
            answer = Answer.text(403, why)
        else:
            answer = await self._routed(head, read)
            if head.on_port and (said := for_page(head.headers)):
                answer = answer.saying(said)
        if answer.status >= 400:
            self._complaints.note(answer.status, head.peer)
        return answer

    async def _routed(self, head: Head, read: Read) -> Answer:
        path = head.path.rstrip("/") or "/"
        if path in capture_v0.PATHS:
            early = _without_body(head, "GET", "POST")
            return early or await self._v0(head, read, path)
        if path == capture_v1.PATH:
            return _without_body(head, "POST") or await self._v1(head, read)
        if path in HEALTH_PATHS:
            return self._health(path)
        return Answer.text(404, _NOT_HERE)

    def _health(self, path: str) -> Answer:
        why = self._writer.trouble or ("store full" if self._writer.full else None)
        if path == "/_readiness" and why:
            return Answer.text(503, f"events cannot be stored: {why}")
        return Answer.text(200, "ok")

    # Protocols.

    async def _v0(self, head: Head, read: Read, path: str) -> Answer:
        def taking(taker: Taker, max_bytes: int) -> Taken:
            text = unwrapped(
                body, path=path, query=query, headers=head.headers, max_bytes=max_bytes
            )
            return capture_v0.take(text, taker, path=path, query=query, keys=self._keys)

        try:
            query = _parsed(head.query)
            body = await read(MAX_BODY_BYTES)
            quick = body.startswith(_QUICK_STARTS) and "data" not in query
            small = quick and len(body) <= AT_ONCE_BYTES
            return await self._answered(head, taking, at_once=small)
        except Declined as no:
            return capture_v0.declined(no)

    async def _v1(self, head: Head, read: Read) -> Answer:
        def taking(taker: Taker, max_bytes: int) -> Taken:
            text = inflated(body, context.encoding, max_bytes=max_bytes)
            return capture_v1.take(text, taker, context)

        try:
            context = capture_v1.read_context(head.headers, self._keys)
            body = await read(capture_v1.MAX_BODY_BYTES)
            small = len(body) <= AT_ONCE_BYTES
            answer = await self._answered(head, taking, at_once=small)
        except Declined as no:
            answer = capture_v1.declined(no)
        request_id = head.headers.get(capture_v1.REQUEST_ID)
        if request_id is None:
            return answer
        return answer.saying({capture_v1.REQUEST_ID: request_id})

    async def _answered(self, head: Head, taking: Taking, *, at_once: bool) -> Answer:
        """The answer, once what the request came to is committed."""
        if at_once:
            try:
                taken = taking(self._taker(self._judge, head, AT_ONCE), AT_ONCE.bytes)
            except TooMuch:
                pass  # it is not as small as it looks
            else:
                await self._wait_for(self._waiting, taken.size)
                return await self._stored(taken)
        return await self._stored(await self._taken_far(head, taking))

    async def _taken_far(self, head: Head, taking: Taking) -> Taken:
        """What a large body came to, with room for it among what waits for the disk.

        The turn is held until then: nobody else holds as much without room.
        """
        assert self._loop is not None, "started"
        await self._wait_for(self._turn, 1)
        try:
            taker = self._taker(self._far_judge, head, WHOLE)
            taken = await self._loop.run_in_executor(
                self._far, taking, taker, WHOLE.bytes
            )
            await self._wait_for(self._waiting, taken.size)
        finally:
            self._turn.give_back(1)
        return taken

    def _taker(self, judge: Judge, head: Head, portion: Portion) -> Taker:
        now_ms = round(self._clock.wall() * 1000)
        return Taker(judge, now_ms, portion.events, head.peer)

    async def _wait_for(self, room: Room, size: int) -> None:
        try:
            await room.take(size, self._web.bounds.disk_seconds)
        except TimeoutError:
            raise _later("the disk is slow, and too much waits for it") from None

    # Receipts.

    async def _stored(self, taken: Taken) -> Answer:
        """Have it committed, once it has its room; only then say what it came to."""
        try:
            error = await self._receipt(taken.deposit)
        finally:
            self._waiting.give_back(taken.size)
        if error is not None:
            raise _later(str(error))
        return taken.answer

    def _receipt(self, deposit: Deposit) -> asyncio.Future[RelayError | None]:
        assert self._loop is not None, "started"
        outcome: asyncio.Future[RelayError | None]
        outcome = self._loop.create_future()
        self._writer.submit(
            deposit, lambda receipt: self._settled.append((outcome, receipt))
        )
        return outcome

    def _wake(self) -> None:
        """In the writer's thread, after a group: wake the loop once for all of it."""
        if self._settled and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._take_settled)

    def _take_settled(self) -> None:
        while self._settled:
            outcome, receipt = self._settled.popleft()
            if not outcome.done():  # nobody waits any more for one that is
                outcome.set_result(receipt.error)


def _without_body(head: Head, *methods: str) -> Answer | None:
    """The answer to a preflight, or to a method that has no business here."""
    if head.method == "OPTIONS":
        return Answer(200)
    if head.method in methods:
        return None
    allowed = ", ".join((*methods, "OPTIONS"))
    return Answer.text(405, f"method not allowed: {head.method}", Allow=allowed)


def _parsed(query: str) -> Mapping[str, str]:
    if not query:
        return {}
    try:
        return dict(
            parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_QUERY_FIELDS)
        )
    except ValueError:
        raise Declined(400, "failed to decode request: too long a query") from None


def _later(why: str) -> Declined:
    return Declined(
        503, f"{why}; nothing of this request was kept, send it again later", again=True
    )
