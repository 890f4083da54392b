"""Room: keeps database, write-ahead log and dead letters within `store.max_bytes`.

Judges before a group is written, from estimates that are never too low; only where
these come near the bound is the file itself asked. Belongs to the writer's thread.
"""

from dataclasses import dataclass

from leanbase_relay.store import schema
from leanbase_relay.store.chunk import MAX_CHUNK_BYTES, Packed
from leanbase_relay.store.deposit import DeadLetter
from leanbase_relay.store.store import LETTER_OVERHEAD_BYTES, Space, Store

_KEEP_FREE_BYTES = 4 << 20  # not worth giving back: the next events will fill it
_KEEP_LOG_BYTES = 1 << 20
_VACUUM_PAGES = 512  # 2 MiB a step: a few milliseconds in which nothing is committed


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
    def for_log(self) -> int:
        """What is set aside for the write-ahead log.

        It grows to about twice the size at which it is folded in, and starts over.
        """
        return 2 * schema.CHECKPOINT_PAGES * schema.PAGE_BYTES

    @property
    def for_pages(self) -> int:
        """What the database may take."""
        return self.max_bytes - self.for_log


class NoRoom(Exception):
    """Not even giving up old events would make room."""


class Room:
    """The room that is taken and left. Its methods raise what SQLite raises."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store = store
        self._limits = limits
        self._letter_bytes = store.dead_letter_bytes
        self.space = store.measure()
        self.full = False
        """Whether the last events were refused for want of room."""

    def judge(self, wanted: int) -> int:
        """Say how many bytes of old events must go for new ones to fit.

        Raises:
            NoRoom: the new ones are to be refused.
        """
        if self._lacks(wanted) or self._is_log_long(wanted):
            self.measure()  # acks may have made room since
        if self._is_log_long(wanted):
            self._store.truncate_log()
            self.measure()
        short = self._lacks(wanted)
        self.full = self._is_log_long(wanted) or (
            short > 0 and not self._limits.drop_oldest
        )
        if self.full:
            raise NoRoom
        return short

    def look_again(self) -> None:
        """Be full no more once a whole chunk would fit again."""
        if self.full:
            self.measure()
            self.full = self._lacks(self._limits.max_chunk_bytes) > 0

    def make_for(self, letters: tuple[DeadLetter, ...]) -> None:
        """Let old dead letters go first, so that the file does not grow by new ones."""
        self._fit_letters(
            sum(len(letter.line) + LETTER_OVERHEAD_BYTES for letter in letters)
        )

    def trim_letters(self) -> None:
        """See that what a transaction has buried keeps within the bounds."""
        if self._store.dead_letter_bytes > self._letter_bytes:
            self._fit_letters(0)

    def grew(self, rows_room: int) -> None:
        """Take note of what was committed."""
        letter_bytes = self._store.dead_letter_bytes
        grown = rows_room + max(letter_bytes - self._letter_bytes, 0)
        self._letter_bytes = letter_bytes
        self.space = Space(
            live=self.space.live + grown,
            free=max(self.space.free - grown, 0),
            log=self._store.log_bytes(),
        )

    def measure(self) -> None:
        self.space = self._store.measure()

    def tidy(self) -> bool:
        """Give free pages and log back, in a step that nobody notices.

        Returns:
            Whether there is more to give back.
        """
        self.measure()
        if self.space.free > _KEEP_FREE_BYTES:
            self._store.give_back(pages=_VACUUM_PAGES)
            return True
        if self.space.log > _KEEP_LOG_BYTES:
            self._store.truncate_log()
        return False

    def _lacks(self, wanted: int) -> int:
        """By how many bytes the database would exceed its part: less backlog helps."""
        return max(self.space.live + wanted - self._limits.for_pages, 0)

    def _is_log_long(self, wanted: int) -> bool:
        """Whether the log would take more than its part and what pages leave over.

        It cannot be folded in while somebody reads for long; then nothing but the end
        of that reading helps.
        """
        log = self.space.log + wanted
        pages = self.space.live + max(wanted, self.space.free)
        return log > self._limits.for_log and pages + log > self._limits.max_bytes

    def _fit_letters(self, wanted: int) -> None:
        kept = self._store.dead_letter_bytes
        left = self._limits.for_pages - self._store.measure().live - wanted
        most = min(self._limits.dead_letter_bytes - wanted, kept + min(left, 0))
        self._store.trim_dead_letters(max(most, 0))


def room_of(packed: Packed) -> int:
    """Bytes that a chunk's row takes in the file, at most: whole pages."""
    pages = -(-len(packed.data) // (schema.PAGE_BYTES - 4)) + 1
    return pages * schema.PAGE_BYTES
