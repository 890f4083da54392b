"""The writer: the one thread that changes the store.

It takes whatever waits, puts it into one transaction, commits (which syncs), and only
then gives the receipts. No timer: while one commit syncs, the next group gathers. So
one fsync stands for one event when one waits, and for thousands when thousands do.

The promise "stored" stands on the order of the lines in `_commit`: the transaction
ends, then the receipts are settled.
"""

import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from leanbase_relay.clock import Clock
from leanbase_relay.errors import (
    ChangeFailed,
    RelayError,
    Stopping,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from leanbase_relay.seldom import Seldom
from leanbase_relay.store import schema, stamps
from leanbase_relay.store.chunk import MAX_CHUNK_BYTES
from leanbase_relay.store.commits import Commits
from leanbase_relay.store.damage import is_damage, is_for_want_of_room
from leanbase_relay.store.deposit import Deposit
from leanbase_relay.store.merging import OLD_SECONDS, Claims, Merging
from leanbase_relay.store.presence import Presence
from leanbase_relay.store.reserve import MARGIN_BYTES, Reserve
from leanbase_relay.store.row import Row, merged, row_of
from leanbase_relay.store.size import Space
from leanbase_relay.store.store import Store
from leanbase_relay.store.totals import Totals
from leanbase_relay.store.vacuum import Vacuum

log = logging.getLogger(__name__)

MAX_GROUP_BYTES = 8 << 20
"""Event bytes that one transaction takes, roughly: what bounds its time and memory."""

IDLE_SECONDS = 5.0
"""The longest between two steps: so it can be seen that the writer is well."""

_KEEP_FREE_BYTES = 4 << 20  # not worth giving back: the next events will fill it
_KEEP_LOG_BYTES = 1 << 20
_FOR_LEAVING_BYTES = 4 << 20  # of the log's share, while it cannot be folded in
_STEP_BYTES = 4 << 20  # what a step of tidying writes to the log, at most
_TIDY_SOON_SECONDS = 1.0
_MERGE_NEXT_SECONDS = 0.01

_CHECK_LOCK_SECONDS = 1.0

_DISK_FULL = "the disk is full"
_TIDY_AFTER_TROUBLE_SECONDS = 60.0

Change = Callable[[Store], None]
"""What lanes and commands ask for: called inside the group's transaction."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the store, all in bytes but `max_chunk_events`.

    Attributes:
        max_bytes: database, write-ahead log and dead letters together.
        drop_oldest: at that bound, give up the oldest events instead of refusing new.
        dead_letter_bytes: above this the oldest dead letters go.
        max_chunk_events, max_chunk_bytes: of one chunk, unless it came larger.
    """

    max_bytes: int
    drop_oldest: bool
    dead_letter_bytes: int
    max_chunk_events: int
    max_chunk_bytes: int = MAX_CHUNK_BYTES

    @property
    def for_pages(self) -> int:
        """What the database may take, in bytes.

        The rest is for the write-ahead log, which grows to about twice the size at
        which it is folded in, and then starts over.
        """
        return self.max_bytes - self.for_log

    @property
    def max_known_ids(self) -> int:
        """How many ids of persons are kept, at some 14 bytes each: a 35th."""
        return self.max_bytes // 512

    @property
    def for_log(self) -> int:
        """What the write-ahead log may take, while no long reader holds it."""
        return 2 * schema.CHECKPOINT_PAGES * schema.PAGE_BYTES


class Receipt:
    """Proof that something is committed. Settled by the writer, once."""

    __slots__ = ("_on_settled", "_settled", "error")

    def __init__(self, on_settled: Callable[["Receipt"], None] | None = None) -> None:
        self.error: RelayError | None = None
        self._settled = threading.Event() if on_settled is None else None
        self._on_settled = on_settled

    def wait(self) -> None:
        """Wait for the commit.

        Raises:
            StoreFull, StoreUnavailable: nothing was stored.
            Stopping: the writer ended before it got to it; nothing was stored.
            ChangeFailed: the change itself raised; what it did was undone.
        """
        assert self._settled is not None, "its outcome goes to a callback"
        self._settled.wait()
        if self.error is not None:
            raise self.error

    def settle(self, error: RelayError | None) -> None:
        """Tell the outcome; None is the good one. The writer's to call."""
        self.error = error
        if self._settled is not None:
            self._settled.set()
        elif self._on_settled is not None:
            self._on_settled(self)


@dataclass(slots=True)
class _Work:
    asked: Deposit | Change
    size: int
    receipt: Receipt
    fault: ChangeFailed | None = None  # of the change's own


class Writer:
    """Commits what it is given, in groups, until `finish`.

    Args:
        store: opened; the writer's alone from now on.
        reserve: what is given up for those that leave, when the disk is full.
        lock: of the store, if there is one; looked at now and then.
        on_committed: told the new totals after each commit, in the writer's thread,
            when the receipts of the group are settled.
        on_stored: told, at the same time, the rows that were stored.
        on_damage: told that the file itself is damaged, which no reopening mends.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        limits: Limits,
        reserve: Reserve | None = None,
        lock: Presence | None = None,
        on_committed: Callable[[Mapping[str, Totals]], None] = lambda _: None,
        on_stored: Callable[[Sequence[Row]], None] = lambda _: None,
        on_damage: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._on_committed = on_committed
        self._on_stored = on_stored
        self._on_damage = on_damage
        self._after_group: list[Callable[[], None]] = []
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting_bytes = 0
        self._ended = False
        self._broken = False
        self._reserve = reserve or Reserve(store.path, 0)
        self.claims = Claims()
        self.commits = Commits()
        self._full_seldom, self._trouble_seldom = Seldom(clock), Seldom(clock)
        self._said_full = self._said_trouble = False
        self._merging = Merging(
            store,
            clock,
            self.claims,
            max_events=limits.max_chunk_events,
            max_bytes=limits.max_chunk_bytes,
        )
        self._space = store.measure()
        self._letter_bytes = store.dead_letter_bytes
        self._tidy_at: float | None = clock.monotonic() + _TIDY_SOON_SECONDS
        self._vacuum = Vacuum(store, clock)
        self.trouble: str | None = None
        """Why nothing can be stored, while that is so."""
        self.full = False
        """Whether the last events were refused for want of room."""
        self._lock_presence = lock or Presence()
        self._check_lock_at = clock.monotonic()
        # What an earlier life gave up is not for new events: without it nothing could
        # leave any more.
        self._disk_full = not self._reserve.take()
        if self._disk_full:
            self._say_trouble(_DISK_FULL)
        self.stepped_at = clock.monotonic()
        """When the last step began; another begins after a few seconds at most."""

    # What others call.

    def submit(
        self, deposit: Deposit, on_settled: Callable[[Receipt], None] | None = None
    ) -> Receipt:
        """Have a deposit stored. Never blocks: callers bound what they have waiting.

        Args:
            deposit: committed as a whole or not at all.
            on_settled: called in the writer's thread instead of waking `wait`.
        """
        return self._enqueue(deposit, deposit.size, on_settled)

    def after_group(self, tell: Callable[[], None]) -> None:
        """Have `tell` called, in the writer's thread, when a group is settled.

        Who settles many receipts at once wakes its own thread once for all of them.
        """
        self._after_group.append(tell)

    def apply(self, change: Change) -> Receipt:
        """Have a change made to the store, in a transaction with others."""
        return self._enqueue(change, 0, None)

    @property
    def waiting_bytes(self) -> int:
        """Bytes submitted and not yet settled."""
        return self._waiting_bytes

    @property
    def totals(self) -> Mapping[str, Totals]:
        """The totals as last committed."""
        return self._store.totals

    @property
    def space(self) -> Space:
        """The room taken, as last measured."""
        return self._space

    def finish(self) -> None:
        """Commit what waits, then end."""
        self._queue.put(None)

    # The thread.

    def run(self) -> None:
        """The thread's body: until `finish`."""
        try:
            while self.step():
                pass
        finally:
            self._end()

    def step(self) -> bool:
        """Commit one group, or tidy up when nothing waits; False after `finish`."""
        self.stepped_at = self._clock.monotonic()
        group = self._gather()
        if group:
            self._commit([work for work in group if work is not None])
        else:
            self._store.check_presence()
            self._check_lock()
        if self._queue.empty():
            self._tidy_if_due()
        return None not in group

    def _gather(self) -> list[_Work | None]:
        group: list[_Work | None] = []
        size = 0
        try:
            work = self._queue.get(timeout=self._patience())
            while True:
                group.append(work)
                if work is None:
                    break
                size += work.size
                if size >= MAX_GROUP_BYTES:
                    break
                work = self._queue.get_nowait()
        except queue.Empty:
            pass
        return group

    def _commit(self, group: list[_Work]) -> None:
        if self._disk_full:
            group = self._without_deposits(group)
        packed = self._pack(group)
        wanted = sum(row.room for row in packed)
        short, refused = self._judge_room(wanted)
        if refused is not None:
            group = self._without_events(group, refused)
            packed = []
        began = self._clock.monotonic()
        error = self._transact(group, packed, short)
        self.commits.seconds.note(self._clock.monotonic() - began)
        self._note_full(wanted, refused)
        for work in group:
            self._settle(work, error or work.fault)
        for tell in self._after_group:
            tell()
        if packed and error is None:
            self._on_stored(packed)
        self._on_committed(self._store.totals)

    def _transact(
        self, group: list[_Work], packed: list[Row], short: int
    ) -> StoreUnavailable | None:
        """One transaction: all of the group, or the reason why none of it."""
        now_ms = round(self._clock.wall() * 1000)
        try:
            if self._broken:
                self._store.reopen()
                self._broken = False
            self._check_lock()
            with self._store.transaction():
                if short:
                    self._store.drop_oldest(short)
                for row in packed:
                    self._store.append(row, now_ms=now_ms)
                for work in group:
                    self._do(work, now_ms)
                self._trim_letters(packed)
                self._store.trim_known_ids(self._limits.max_known_ids)
            self._store.check_presence()
        except (sqlite3.Error, StoreUnavailable) as error:
            return self._fell(error)
        except BaseException:  # a fault ends the thread, but none waits on it
            for work in group:
                self._settle(work, Stopping("the relay is stopping"))
            raise
        self._recovered()
        self._grew(packed)
        return None

    def _do(self, work: _Work, now_ms: int) -> None:
        """A change with a fault is undone alone: that is nobody else's."""
        if isinstance(work.asked, Deposit):
            self._store_rest(work.asked, now_ms)
            return
        try:
            with self._store.alone():
                work.asked(self._store)
        except (sqlite3.Error, StoreUnavailable):
            raise
        except Exception as error:
            log.exception("change_failed")
            said = f"the relay could not do it: {error!r}; its log has more"
            work.fault = ChangeFailed(said)
            work.fault.__cause__ = error

    def _store_rest(self, deposit: Deposit, now_ms: int) -> None:
        """Everything of it but its chunks, which are rows by now."""
        for letter in deposit.refused:
            self._store.refuse(letter, now_ms=now_ms)
        if deposit.progress is not None:
            self._store.set_progress(deposit.progress)
        for file in deposit.forget:
            self._store.forget(file)

    def _pack(self, group: list[_Work]) -> list[Row]:
        """The rows of the group's chunks; small neighbours of a project share one."""
        chunks = merged(
            chain.from_iterable(
                work.asked.chunks for work in group if isinstance(work.asked, Deposit)
            ),
            max_events=self._limits.max_chunk_events,
            max_bytes=self._limits.max_chunk_bytes,
        )
        return [
            row_of(chunk, stamped=stamps.noted(chunk.stamped, self._clock))
            for chunk in chunks
        ]

    # Room.

    def _judge_room(self, wanted: int) -> tuple[int, StoreFull | None]:
        """How many bytes of old events must go; or that there is no room to be had."""
        if not wanted:
            return 0, None
        if self._lacks(wanted) or self._is_log_long(wanted):
            self._measure()  # acks may have made room since
        if self._is_log_long(wanted):
            self._fold_log()
        short = self._lacks(wanted)
        if self._is_log_long(wanted) or (short and not self._limits.drop_oldest):
            return 0, StoreFull("store full")
        return short, None

    def _lacks(self, wanted: int) -> int:
        """By how many bytes the rows exceed the room for pages: less backlog helps."""
        return max(self._space.live + wanted - self._limits.for_pages, 0)

    def _is_log_long(self, wanted: int) -> bool:
        """Whether the log would take more than its share and what pages leave over.

        It cannot be folded in while somebody reads for long; then nothing but the end
        of that reading helps. What leaves is written to it all the same.
        """
        log = self._space.log + wanted
        if log <= self._limits.for_log - _FOR_LEAVING_BYTES:
            return False
        space = self._space
        # The file on the disk may be larger than the pages that are left to it: it is
        # cut when the log is folded in.
        pages = max(space.live + max(wanted, space.free), self._store.file_bytes())
        return pages + log > self._limits.max_bytes - _FOR_LEAVING_BYTES

    def _note_full(self, wanted: int, refused: StoreFull | None) -> None:
        if wanted:
            self.full = refused is not None
        elif self.full:  # until a whole chunk would fit again
            self._measure()
            self.full = self._lacks(self._limits.max_chunk_bytes) > 0
        if self._said_full and not self.full:
            self._said_full = False
            log.info("store_has_room bytes=%d", self._space.live)

    def _trim_letters(self, packed: list[Row]) -> None:
        """Keep dead letters within their bound, and the store within its own."""
        store = self._store
        store.trim_dead_letters(self._limits.dead_letter_bytes)
        if store.dead_letter_bytes <= self._letter_bytes:
            return
        grown = store.dead_letter_bytes + sum(row.room for row in packed)
        if self._lacks(grown):
            excess = store.measure().live - self._limits.for_pages
            if excess > 0:
                store.trim_dead_letters(max(store.dead_letter_bytes - excess, 0))

    def _grew(self, packed: list[Row]) -> None:
        letters = self._store.dead_letter_bytes
        grown = sum(row.room for row in packed) + max(letters - self._letter_bytes, 0)
        self._letter_bytes = letters
        self._space = Space(
            live=self._space.live + grown,
            free=max(self._space.free - grown, 0),
            log=self._store.log_bytes(),
        )
        if self._tidy_at is None:
            self._tidy_at = self._clock.monotonic() + _TIDY_SOON_SECONDS

    def _fold_log(self) -> None:
        try:
            self._store.truncate_log()
        except sqlite3.Error as error:
            self._fell(error)
        self._measure()

    def _measure(self) -> None:
        try:
            self._space = self._store.measure()
        except sqlite3.Error as error:
            self._fell(error)

    def _without_deposits(self, group: list[_Work]) -> list[_Work]:
        """While the disk is full only what leaves is written."""
        error = StoreUnavailable(f"store unavailable: {_DISK_FULL}")
        kept = []
        for work in group:
            if isinstance(work.asked, Deposit):
                self._settle(work, error)
            else:
                kept.append(work)
        return kept

    def _without_events(self, group: list[_Work], error: StoreFull) -> list[_Work]:
        """Settle the deposits that bring events; the others go on."""
        kept = []
        for work in group:
            if isinstance(work.asked, Deposit) and work.asked.chunks:
                self._settle(work, error)
            else:
                kept.append(work)
        if not self.full and (times := self._full_seldom.times()):
            self._said_full = True
            max_bytes = self._limits.max_bytes
            log.warning("store_full max_bytes=%d times=%d", max_bytes, times)
        return kept

    def _check_lock(self) -> None:
        """See, now and then, that no other daemon could take it."""
        now = self._clock.monotonic()
        if now >= self._check_lock_at:
            self._check_lock_at = now + _CHECK_LOCK_SECONDS
            self._lock_presence.check()

    # Trouble, and its end.

    def _fell(self, error: Exception) -> StoreUnavailable:
        """After a failed write the connection is not to be believed: begin anew."""
        self._say_trouble(str(error))
        self._broken = True
        if is_for_want_of_room(error) and self._reserve.give_up():
            self._disk_full = True
            self.trouble = _DISK_FULL
            self._tidy_at = self._clock.monotonic() + _TIDY_SOON_SECONDS
        self._tell_damage(error)
        return StoreUnavailable(f"store unavailable: {error}")

    def _say_trouble(self, error: str) -> None:
        if self.trouble is None and (times := self._trouble_seldom.times()):
            self._said_trouble = True
            log.error("store_unavailable times=%d error=%s", times, error)
        self.trouble = error

    def _tell_damage(self, error: Exception) -> None:
        if is_damage(error):
            self._on_damage(error)

    def _recovered(self) -> None:
        """A transaction went well; on a full disk that is thanks to the reserve."""
        if self.trouble is not None and not self._disk_full:
            if self._said_trouble:
                log.info("store_recovered")
            self.trouble, self._said_trouble = None, False
        elif self._disk_full and self._store.log_bytes() > _KEEP_LOG_BYTES:
            self._fold_log()

    def _look_for_room(self) -> None:
        """Take events again once the reserve finds its room, and some more."""
        if self._disk_full and self._reserve.take(margin=MARGIN_BYTES):
            self._disk_full = False
            self._recovered()

    # Tidying.

    def _patience(self) -> float:
        if self._tidy_at is None:
            return IDLE_SECONDS
        return min(max(self._tidy_at - self._clock.monotonic(), 0), IDLE_SECONDS)

    def _tidy_if_due(self) -> None:
        """Merge small rows, give free pages and log back, in steps nobody notices."""
        now = self._clock.monotonic()
        if self._tidy_at is None or now < self._tidy_at:
            return
        self._look_for_room()
        if self._broken:  # until somebody wants something written
            self._tidy_at = now + _TIDY_SOON_SECONDS if self._disk_full else None
            return
        try:
            self._tidy_at = self._tidy(now)
        except (sqlite3.Error, StoreUnavailable) as error:
            log.warning("store_not_tidied error=%s", error)
            self._broken = True
            self._tell_damage(error)
            later = (
                _TIDY_SOON_SECONDS if self._disk_full else _TIDY_AFTER_TROUBLE_SECONDS
            )
            self._tidy_at = now + later

    def _tidy(self, now: float) -> float | None:
        """One step; when the next one is due, if one is."""
        if self._is_log_kept():
            return now + _TIDY_SOON_SECONDS
        if not self._disk_full and self._merging.step():
            took = self._clock.monotonic() - now
            # Two thirds of the time are left to whoever wants to read the disk.
            return now + took + max(2 * took, _MERGE_NEXT_SECONDS)
        self._space = self._store.measure()
        if self._space.free > _KEEP_FREE_BYTES:
            return self._vacuum.step() + self._clock.monotonic()
        if self._space.log > _KEEP_LOG_BYTES:
            self._store.truncate_log()
        if self._disk_full:
            return now + _TIDY_SOON_SECONDS
        # What is young now may be merged then.
        return now + OLD_SECONDS if self._store.has_backlog else None

    def _is_log_kept(self) -> bool:
        """Whether there is no room for what a step writes to the log.

        So it is while somebody reads for long: nothing that is moved or deleted then
        makes the file smaller, and the log takes it all.
        """
        self._space = self._store.measure()
        if not self._is_log_long(_STEP_BYTES):
            return False
        self._store.truncate_log()
        self._space = self._store.measure()
        return self._is_log_long(_STEP_BYTES)

    # Book-keeping.

    def _enqueue(
        self,
        asked: Deposit | Change,
        size: int,
        on_settled: Callable[[Receipt], None] | None,
    ) -> Receipt:
        work = _Work(asked, size, Receipt(on_settled))
        with self._lock:
            self._waiting_bytes += size
            ended = self._ended
            if not ended:
                self._queue.put(work)
        if ended:
            self._settle(work, Stopping("the relay is stopping"))
            for tell in self._after_group:
                tell()
        return work.receipt

    def _settle(self, work: _Work, error: RelayError | None) -> None:
        with self._lock:
            self._waiting_bytes -= work.size
        self._count(work.asked, error)
        work.receipt.settle(error)

    def _count(self, asked: Deposit | Change, error: RelayError | None) -> None:
        if not isinstance(asked, Deposit):
            return
        if error is None:
            self.commits.committed(asked.refused)
        elif isinstance(error, StoreError):
            self.commits.refuse(asked, error)

    def _end(self) -> None:
        """Nobody waits for ever on a writer that is gone."""
        with self._lock:
            self._ended = True
        while True:
            try:
                work = self._queue.get_nowait()
            except queue.Empty:
                return
            if work is not None:
                self._settle(work, Stopping("the relay is stopping"))
                for tell in self._after_group:
                    tell()
