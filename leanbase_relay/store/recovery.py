"""Recovery: a damaged store is set aside and salvaged, and the relay starts.

The damaged file stays where it is until the fresh one is made and synced; what is left
then is to rename both. So a crash at any point repeats work and loses nothing: whatever
the next start finds, it can either begin anew or finish the renaming.
"""

import contextlib
import logging
import os
import sqlite3
import stat
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from leanbase_relay import lasting, systemd
from leanbase_relay.clock import Clock
from leanbase_relay.errors import Stopping, StoreUnavailable
from leanbase_relay.store import aside, damage, place, reserve, schema
from leanbase_relay.store.aside import PARTS, Report
from leanbase_relay.store.salvage import Salvaged, Tell, salvage
from leanbase_relay.store.size import file_bytes, log_path
from leanbase_relay.store.store import Store

log = logging.getLogger(__name__)

SAY_SECONDS = 5.0
"""Between two words of how far a salvage is."""
MORE_SECONDS = 60.0
"""What systemd is asked for each time; the last sync of a large store may take it."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """Opens a store, whatever state it is in.

    Attributes:
        path: of the store; its lock is ours.
        clock: for stamps, and for what the looking may take.
        projects: those that are configured.
        is_stopping: asked in the course of a salvage, which may take long.
    """

    path: Path
    clock: Clock
    projects: Collection[str]
    is_stopping: Callable[[], bool]

    def open(self) -> Store:
        """Open it, after its recovery if need be.

        Raises:
            Stopping: we were told to; the next start begins anew.
            StoreUnusable: what is there is not ours; nothing was touched.
            StoreError: it was made by a newer version; nothing was touched.
            StoreUnavailable: the disk does not let us.
        """
        finish(self.path)
        try:
            return self._open()
        except StoreUnavailable as error:  # the index of its log may find no room
            if not (damage.is_for_want_of_room(error) and reserve.give_up(self.path)):
                raise
        return self._open()

    def _open(self) -> Store:
        fault = self._fault()
        if fault is not None:
            self._recover(fault)
        try:
            return Store.open(self.path)
        except (sqlite3.Error, StoreUnavailable) as error:
            if fault is not None or not damage.is_damage(error):
                raise
            fault = str(error)
        self._recover(fault)
        return Store.open(self.path)

    def _fault(self) -> str | None:
        try:
            schema.doubt_cache(self.path)
        except OSError as error:
            raise place.refusal(Path(log_path(self.path)), error) from error
        return damage.fault_of(self.path, self.clock)

    def _recover(self, fault: str) -> None:
        log.error("store_damaged path=%s reason=%s", self.path, fault)
        began = self.clock.monotonic()
        stamp = aside.new_stamp(self.path, self.clock.wall())
        reserve.give_up(self.path)  # the writer makes it anew
        try:
            told = self._salvage_or_begin_anew(stamp, fault)
        except (OSError, sqlite3.Error, StoreUnavailable) as error:
            remove_half_salvaged(self.path)
            raise StoreUnavailable(
                f"{self.path} is damaged ({fault}), and cannot be salvaged now: "
                f"{error}. Nothing was touched. It takes up to {self._room()} of room "
                f"in {self.path.parent}"
            ) from error
        except BaseException:
            remove_half_salvaged(self.path)
            raise
        aside.half_salvaged(self.path, stamp).rename(aside.salvaged(self.path, stamp))
        lasting.sync_directory(self.path.parent)
        finish(self.path)
        log.warning(
            "store_salvaged events=%d lost=%d dead_letters=%d seconds=%.1f file=%s",
            told.events,
            told.lost_events,
            told.dead_letters,
            self.clock.monotonic() - began,
            told.file,
        )

    def _salvage_or_begin_anew(self, stamp: str, fault: str) -> Report:
        """Where there is no room, what is damaged is set aside as it is."""
        try:
            return self._salvage(stamp, fault)
        except (OSError, sqlite3.Error) as error:
            if not damage.is_for_want_of_room(error):
                raise
            log.error(  # noqa: TRY400 - no trace
                "store_not_salvaged room_wanted=%s error=%s", self._room(), error
            )
        remove_half_salvaged(self.path)
        fresh = aside.half_salvaged(self.path, stamp)
        schema.connect(fresh).close()
        _sync_like(fresh, self.path)
        told = Report(
            file=str(aside.damaged(self.path, stamp)),
            reason=fault,
            is_progress_whole=False,
            is_salvaged=False,
        )
        aside.report(self.path, stamp, told)
        return told

    def _room(self) -> str:
        """What a salvage takes, at most."""
        size = file_bytes(str(self.path)) + file_bytes(log_path(self.path))
        return f"{-(-size >> 20)} MiB"

    def _salvage(self, stamp: str, fault: str) -> Report:
        """Make the fresh store, on the disk, and the report of it."""
        fresh = aside.half_salvaged(self.path, stamp)
        damaged = aside.damaged(self.path, stamp)
        with damage.image_of(self.path) as image:
            found = salvage(
                image,
                fresh,
                projects=self.projects,
                origin=f"store {damaged.name}",
                now_ms=round(self.clock.wall() * 1000),
                tell=self._teller(),
            )
        _sync_like(fresh, self.path)
        told = _report(damaged, fault, found)
        aside.report(self.path, stamp, told)
        return told

    def _teller(self) -> Tell:
        """Tells the log and systemd how far it is, now and then."""
        say_at = self.clock.monotonic()

        def tell(done: int, of: int) -> None:
            nonlocal say_at
            if self.is_stopping():
                raise Stopping("the relay is stopping")
            if self.clock.monotonic() < say_at:
                return
            say_at = self.clock.monotonic() + SAY_SECONDS
            share = f"{done / max(of, 1):.0%}"
            systemd.ask_for_time(
                MORE_SECONDS, f"salvaging a damaged store: {share} done"
            )
            log.info("salvaging done=%s", share)

        return tell


def finish(path: Path) -> None:
    """Put a salvaged store in its place, where one waits; throw away half ones."""
    remove_half_salvaged(path)
    stamp = aside.stamp_of_salvaged(path)
    if stamp is not None:
        aside.clear(path)
        for part in reversed(PARTS):
            with contextlib.suppress(FileNotFoundError):
                _part(path, part).rename(_part(aside.damaged(path, stamp), part))
        aside.salvaged(path, stamp).rename(path)
        lasting.sync_directory(path.parent)
    for report in aside.lone_reports(path):
        report.unlink(missing_ok=True)


def remove_half_salvaged(path: Path) -> None:
    """Throw away what interrupted salvages have left."""
    for half in aside.all_half_salvaged(path):
        half.unlink(missing_ok=True)


def _part(path: Path, part: str) -> Path:
    return path.with_name(path.name + part)


def _sync_like(fresh: Path, old: Path) -> None:
    """Have it on the disk, for the same people as the old one."""
    file = os.open(fresh, os.O_RDWR | os.O_CLOEXEC)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.fchmod(file, stat.S_IMODE(old.stat().st_mode))
        os.fsync(file)
    finally:
        os.close(file)


def _report(damaged: Path, fault: str, found: Salvaged) -> Report:
    shares = found.projects
    return Report(
        file=str(damaged),
        reason=fault,
        events=sum(share.events for share in shares.values()),
        chunks=sum(share.chunks for share in shares.values()),
        lost={name: share.lost for name, share in shares.items() if share.lost != 0},
        dead_letters=found.dead_letters,
        lost_dead_letters=found.lost_dead_letters,
        known_ids=found.known_ids,
        spool_files=found.spool_files,
        is_progress_whole=found.is_progress_whole,
    )
