"""A lane's backlog: what waits for the upstream, and the doors by which it leaves.

Owns the lane's position. Whatever leaves goes by `ack` or `bury`, in order; a crash
between the upstream's yes and the ack sends the batch again, with the same identities.
Knows nothing of requests and answers.
"""

import contextlib
import logging

from leanbase_relay.clock import Clock
from leanbase_relay.errors import Stopping, StoreError
from leanbase_relay.forward.batch import Batch, DamagedChunk, build
from leanbase_relay.forward.letter import of_chunk, of_event
from leanbase_relay.forward.verdict import Judgement
from leanbase_relay.store import stamps
from leanbase_relay.store.chunk import Damaged, head_of, pack, true_owner, unpack
from leanbase_relay.store.deposit import DeadLetter
from leanbase_relay.store.reader import Reader, StoredChunk
from leanbase_relay.store.store import Store
from leanbase_relay.store.totals import Position, Totals
from leanbase_relay.store.writer import Change, Receipt, Writer

log = logging.getLogger(__name__)

AGAIN_SECONDS = 1.0
"""Between two tries to have the store write what has to be written."""

SAY_AGAIN_SECONDS = 60.0
"""Between two log lines about buried events; each tells how many there were."""


class Backlog:
    """One project's backlog, as its lane sees it. Belongs to the lane's thread."""

    def __init__(
        self, project: str, *, reader: Reader, writer: Writer, clock: Clock
    ) -> None:
        self.project = project
        self.position = writer.totals.get(project, Totals()).position
        self._reader = reader
        self._writer = writer
        self._clock = clock
        self._poke = clock.poke()
        self._acked: Receipt | None = None
        self._frozen = self.totals.frozen_chunk
        self._look_inside = False
        self._unsaid = 0
        self._say_again_at = clock.monotonic()

    @property
    def totals(self) -> Totals:
        """As last committed."""
        return self._writer.totals.get(self.project, Totals())

    def oldest_waits_since(self) -> float | None:
        """When the oldest event was accepted, by the wall clock; None without one."""
        oldest = self._reader.oldest(self.project, self.position)
        return None if oldest is None else oldest.accepted_at_ms / 1000

    def next_batch(self, *, max_events: int, max_bytes: int) -> Batch | None:
        """The oldest events; what is damaged among them is buried on the way."""
        while True:
            chunks = self._claimed(max_events, max_bytes)
            if not chunks:
                return None
            if self._put_right(chunks):
                continue
            try:
                return build(
                    chunks,
                    self.position,
                    max_events=max_events,
                    max_bytes=max_bytes,
                    look_inside=self._look_inside,
                )
            except DamagedChunk as damaged:
                if not self._count_anew(damaged.chunk):
                    self._bury_chunk(damaged)

    def look_inside(self) -> None:
        """From now on see that chunks can be unpacked before they are sent.

        One could not, though its checksum is right: what is behind it would never
        leave.
        """
        self._look_inside = True

    def _claimed(self, max_events: int, max_bytes: int) -> list[StoredChunk]:
        """The oldest chunks; from now on they stay the rows that they are."""
        claims = self._writer.claims
        with claims.lock:
            chunks = self._reader.peek(
                self.project,
                self.position,
                max_events=max_events,
                max_bytes=max_bytes,
            )
            if chunks:
                claims.claim(self.project, chunks[-1].id)
            return chunks

    # Out.

    def ack(self, upto: Position) -> None:
        """Have the position moved.

        The next batch need not wait for that commit: a later ack stands for an
        earlier one, and a crash in between repeats work.
        """
        self.position = upto
        self.settle_ack()
        self._acked = self._writer.apply(lambda store: store.ack(self.project, upto))

    def settle_ack(self) -> bool:
        """Wait for the last ack; if it failed, ask again. False if that may fail."""
        if self._acked is None:
            return True
        try:
            self._acked.wait()
        except Stopping:
            self._acked = None
        except StoreError:
            upto = self.position
            self._acked = self._writer.apply(
                lambda store: store.ack(self.project, upto)
            )
            return False
        else:
            self._acked = None
        return True

    def bury(
        self, event: Batch, judgement: Judgement, *, dead_in_a_row: int, upstream: int
    ) -> None:
        """Turn a batch of one event into a dead letter.

        Args:
            event: the batch.
            judgement: why.
            dead_in_a_row: with this one, and
            upstream: of which; see `taught_by`.
        """
        self._say_buried(judgement)

        def count(store: Store) -> None:
            store.count_dead(self.project, dead_in_a_row, upstream=upstream)

        letter = of_event(self.project, event, judgement)
        self._bury_upto(event.end, letter, count)

    def _say_buried(self, judgement: Judgement) -> None:
        """Log it, but a night of bad events is some lines and not ten thousand."""
        self._unsaid += 1
        now = self._clock.monotonic()
        if now < self._say_again_at:
            return
        self._say_again_at = now + SAY_AGAIN_SECONDS
        log.warning(
            "event_buried project=%s events=%d status=%s reason=%s",
            self.project,
            self._unsaid,
            judgement.status,
            judgement.reason,
        )
        self._unsaid = 0

    def _count_anew(self, chunk: StoredChunk) -> bool:
        """Put a row right that says a wrong number of events; True if it was that."""
        owner = true_owner(chunk.packed, [self.project])
        if owner is None or owner.events == chunk.events:
            return False
        log.warning(
            "chunk_counted_anew project=%s chunk=%d events=%d before=%d",
            self.project,
            chunk.id,
            owner.events,
            chunk.events,
        )
        while True:
            with contextlib.suppress(StoreError):
                self._writer.apply(
                    lambda store: store.recount(chunk.id, owner.events)
                ).wait()
                return True
            if self._clock.wait(AGAIN_SECONDS, self._poke):
                raise Stopping("the relay is stopping")

    def _bury_chunk(self, damaged: DamagedChunk) -> None:
        chunk = damaged.chunk
        log.error(
            "chunk_damaged project=%s chunk=%d events=%d reason=%s",
            self.project,
            chunk.id,
            chunk.events,
            damaged,
        )
        letter = of_chunk(self.project, chunk, str(damaged))
        self._bury_upto(Position(chunk.id + 1, 0), letter)

    def _bury_upto(
        self, upto: Position, letter: DeadLetter, also: Change = lambda _: None
    ) -> None:
        """Bury, and be sure of it.

        `bury` counts all that it passes as dead, so that what was delivered before
        must be acked first.
        """
        now_ms = round(self._clock.wall() * 1000)

        def bury(store: Store) -> None:
            store.bury(self.project, upto, letter, now_ms=now_ms)
            also(store)

        while True:
            try:
                if self.settle_ack():
                    self._writer.apply(bury).wait()
                    self.position = upto
                    return
            except StoreError:
                pass
            if self._clock.wait(AGAIN_SECONDS, self._poke):
                raise Stopping("the relay is stopping")

    # What the upstream taught.

    def taught_by(self, upstream: int) -> Totals:
        """What was learnt of this upstream and no other, by this life or an earlier.

        Args:
            upstream: its number; see `Identity`.
        """
        totals = self.totals
        return totals if totals.taught_by in (0, upstream) else Totals()

    def learn(self, size: int, upstream: int) -> None:
        """Remember how large a request may be; 0 = forget it."""
        self._writer.apply(
            lambda store: store.learn(self.project, size, upstream=upstream)
        )

    def count_dead(self, in_a_row: int, upstream: int) -> None:
        """Remember how many died since the last delivery."""
        self._writer.apply(
            lambda store: store.count_dead(self.project, in_a_row, upstream=upstream)
        )

    # Stamps, on a machine whose clock was set; see `store.stamps`.

    def freeze(self, batch: Batch) -> int:
        """From now on the upstream may know these events: stamps stay as they are.

        Returns:
            How far they were frozen before, for `thaw`.
        """
        before, upto = self._frozen, _last_stamped(batch)
        if upto <= before:
            return before
        # A store that cannot be written must not keep events from leaving it.
        with contextlib.suppress(StoreError):
            self._writer.apply(lambda store: store.freeze(self.project, upto)).wait()
        self._frozen = upto
        return before

    def thaw(self, before: int) -> None:
        """No byte of this attempt left: what it froze may still be put right.

        What an earlier attempt or life froze stays, since that one may have arrived.
        """
        if self._frozen > before:
            self._writer.apply(lambda store: store.freeze(self.project, before))
            self._frozen = before

    def was_clock_set(self, batch: Batch) -> bool:
        """Whether stamps of this batch may and should be put right."""
        return any(
            piece.chunk > self._frozen
            and stamps.shift_ms(piece.stamped, self._clock) != 0
            for piece in batch.pieces
        )

    def is_gone(self, batch: Batch) -> bool:
        """Whether the operator gave the first of its events that wait up meanwhile.

        Those before the position are gone by our own ack.
        """
        ours = (p.chunk for p in batch.pieces if p.chunk >= self.position.chunk)
        first = next(ours, None)
        return first is not None and not self._reader.has(first)

    def _put_right(self, chunks: list[StoredChunk]) -> bool:
        """Put right the stamps of a clock that was set since; True if any were."""
        moved = [self._put_right_one(chunk) for chunk in chunks]  # all of them
        return any(moved)

    def _put_right_one(self, chunk: StoredChunk) -> bool:
        by_ms = stamps.shift_ms(chunk.stamped, self._clock)
        begun = chunk.id == self.position.chunk and self.position.events > 0
        if not by_ms or begun or chunk.id <= self._frozen or chunk.stamped is None:
            return False
        try:
            event_bytes = stamps.shifted(unpack(chunk.packed), chunk.stamped, by_ms)
        except Damaged:
            return False
        packed = pack(event_bytes, head_of(self.project, chunk.events))
        size = len(event_bytes)
        try:
            self._writer.apply(
                lambda store: store.restamp(self.project, chunk.id, packed, size=size)
            ).wait()
        except StoreError:
            return False
        log.info(
            "stamps_put_right project=%s events=%d by_seconds=%.1f",
            self.project,
            chunk.events,
            by_ms / 1000,
        )
        return True


def _last_stamped(batch: Batch) -> int:
    """The last chunk with stamps of the relay's; 0 if there is none."""
    return max((p.chunk for p in batch.pieces if p.stamped is not None), default=0)
