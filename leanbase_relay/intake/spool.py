"""The spool: takes JSON Lines files out of a directory, each line once.

One thread. `step` is one scan: it goes through the directory, oldest file first, and
takes whatever is complete. The watcher only says that a scan may be worth while; the
scan is the truth.

A file goes in three steps. Its end is committed, and with it that the file is finished
(`spool_taking`). Then its name is removed (`spool_removal`). Then the directory is
synced and its progress forgotten (`spool_progress`). Killed after the first step, the
next start finds the file in the very state in which it was finished, and only removes
it; so it does when a power cut brings the name back. Killed after the second, it knows
progress of a file that is gone: a new file under the reused inode number has another
ctime and is taken from its beginning.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from watchdog.events import (
    DirCreatedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from leanbase_relay.clock import Clock, Poke
from leanbase_relay.config import SpoolConfig
from leanbase_relay.errors import Stopping, StoreError
from leanbase_relay.intake import lease
from leanbase_relay.intake.event import Judge
from leanbase_relay.intake.lease import Writers
from leanbase_relay.intake.spool_directory import (
    Directory,
    Entry,
    Listing,
    SpoolDirectory,
    open_file,
)
from leanbase_relay.intake.spool_file import SpoolFile
from leanbase_relay.intake.spool_log import TakenFiles
from leanbase_relay.intake.spool_problems import Problem, Problems, cause, of_opening
from leanbase_relay.intake.spool_progress import ProgressBook
from leanbase_relay.intake.spool_removal import MAX_REMOVED, Removal
from leanbase_relay.intake.spool_taking import Taker
from leanbase_relay.store.deposit import FileId, FileProgress
from leanbase_relay.store.writer import Writer

if TYPE_CHECKING:
    from watchdog.observers.api import BaseObserver

log = logging.getLogger(__name__)

# What may bring a complete file. Not what the spool itself does, reading and removing,
# or it would keep itself busy; nor each write: lines added in place wait for the scan.
_NEWS: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileClosedEvent,
]
_MAX_UNTOLD = 512
_PAUSE_SECONDS = 0.05  # at least: a burst of new files is one scan, not thirty
_TRY_TO_REMOVE_SECONDS = 60.0
_HELD_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class SpoolSnapshot:
    """What `status` tells about the spool."""

    path: Path
    waiting_files: int
    ignored_files: int
    problems: tuple[str, ...]


class Spool:
    """Serves the spool directory until told to stop.

    Args:
        config: where and how; its path must be given.
        judge: this thread's own.
        writer: stores what is taken.
        projects: the configured names; a subdirectory of that name is served too.
        max_event_bytes: longer lines are refused.
        max_removed: files that are kept open after their removal.
        progress: what the store knows of spool files.
    """

    def __init__(
        self,
        config: SpoolConfig,
        judge: Judge,
        writer: Writer,
        clock: Clock,
        *,
        projects: frozenset[str],
        max_event_bytes: int,
        max_removed: int = MAX_REMOVED,
        progress: Iterable[FileProgress] = (),
    ) -> None:
        if config.path is None:
            raise ValueError("spool.path is null: there is no spool to serve")
        self._path = config.path
        self._config = config
        self._clock = clock
        self._directory = SpoolDirectory(
            config.path, patterns=config.patterns, projects=projects
        )
        self._taker = Taker(
            judge,
            writer,
            clock,
            max_event_bytes=max_event_bytes,
            on_committed=self._note_progress,
            on_finished=self._finish,
        )
        self._removal = Removal(
            self._taker, clock, late_grace_seconds=config.late_grace_seconds
        )
        self._max_removed = max_removed
        self._book = ProgressBook(writer, progress)
        self._problems = Problems(clock)
        self._taken = TakenFiles(clock)
        self._waiting = 0
        self._ignored = 0
        self._news = clock.poke()
        self._pause = clock.poke()
        self._store_refused = False
        self._watcher: _Watcher | None = None

    def prepare(self) -> None:
        """Make the directory where it is missing, before the relay says it is ready."""
        self._directory.make()

    def run(self) -> None:
        """The thread's body: a scan when there may be news, and every interval."""
        self._watcher = _Watcher(self._news)
        try:
            while not self._clock.stopping:
                started = self._clock.monotonic()
                self.step()
                took = self._clock.monotonic() - started
                if self._clock.wait(self._rest_seconds(took), self._pause):
                    break
                self._clock.wait(self._config.scan_interval_seconds, self._news)
        finally:
            self.close()

    def step(self) -> None:
        """One scan: take whatever is complete in every file, once."""
        self._store_refused = False
        try:
            self._scan()
        except Stopping:
            return
        except StoreError as no:
            self._store_refused = True
            self._problems.add(Problem.STORE, "store", str(no))
        self._problems.end_scan()

    def close(self) -> None:
        """Let go of everything, after a last look at the removed files."""
        if self._watcher is not None:
            self._watcher.close()
        self._taker.heed_stop = False
        self._removal.close()
        self._directory.close()

    def poke(self) -> None:
        """Have a scan soon."""
        self._news.set()

    def snapshot(self) -> SpoolSnapshot:
        """How it stands; for any thread."""
        return SpoolSnapshot(
            self._path, self._waiting, self._ignored, self._problems.sentences
        )

    # A scan.

    def _scan(self) -> None:
        book = self._book
        with self._directory.listed(
            self._problems, book.files, book.in_vain
        ) as listing:
            self._waiting = listing.waiting
            self._ignored = self._problems.count(Problem.IGNORED)
            self._watch(listing.directories)
            self._book.forget_gone(listing)
            try:
                self._removal.look()  # at those of the last scan
                for entry in listing.entries:
                    self._taker.check_stop()
                    self._visit(entry)
                    self._make_room(listing)
                self._taker.land_all()
            except BaseException:
                self._taker.see_through()
                raise
            self._book.tell_store(listing, self._problems)

    def _watch(self, directories: Sequence[Directory]) -> None:
        if self._watcher is not None and directories:
            trouble = self._watcher.follow(directories)
            if trouble is not None:
                self._problems.add(Problem.WATCHER, "watcher", trouble)

    def _rest_seconds(self, scan_seconds: float) -> float:
        """How long not even news begin the next scan."""
        interval = self._config.scan_interval_seconds
        if self._store_refused:
            return interval
        return min(max(_PAUSE_SECONDS, scan_seconds), interval)

    def _make_room(self, listing: Listing) -> None:
        if self._book.untold >= _MAX_UNTOLD:
            self._taker.land_all()
            self._book.tell_store(listing, self._problems)
        self._removal.let_go(keep=self._max_removed)

    # One file.

    def _visit(self, entry: Entry) -> None:
        try:
            file = open_file(entry)
        except OSError as error:
            self._note_trouble(entry, error)
            return
        if file is None:
            return
        ended = False
        try:
            ended = self._serve(file)
        except OSError as error:
            self._note_trouble(entry, error)
        finally:
            if not ended:
                file.close()

    def _note_trouble(self, entry: Entry, error: OSError) -> None:
        problem = of_opening(error)
        self._problems.add(problem, entry.name, cause(error))
        if problem is Problem.UNREADABLE:
            self._book.in_vain.add(entry.id)

    def _serve(self, file: SpoolFile) -> bool:
        """Take what there is; whether it is at its end, and others close it."""
        now = self._clock.monotonic()
        file.trail = self._book.trail(file.id, file.stamp, now=now)
        if file.gzip and not self._may_end(file, whole=True):
            return False  # while it is written it cannot be read
        known = self._book.progress(file.id)
        reached = self._taker.begin(file, known)
        if known is not None:
            if reached:
                self._book.claim(file, known)
            elif known.file == file.id:
                self._start_over(file, known)
        if self._taker.take(file, lambda: self._may_end(file, whole=file.is_whole)):
            return True
        self._taker.land_all()
        if file.progress.finished_ctime_ns is not None:
            self._book.note_unfinished(file)
        if file.runs.paused:
            self._problems.add(Problem.ENDLESS, file.name, file.where)
        return False

    def _start_over(self, file: SpoolFile, known: FileProgress) -> None:
        """What is known was of another file, or the file was cut short in place."""
        self._book.start_over(file.id)
        file.trail.refused = file.trail.blank = 0
        if file.stamp.size < known.offset and not file.gzip:
            log.warning("file_truncated name=%s size=%d", file.name, file.stamp.size)

    def _may_end(self, file: SpoolFile, *, whole: bool) -> bool:
        """Whether nobody will write to it any more, as far as that can be known.

        Args:
            file: read to its present end.
            whole: it ends as a finished file ends. Such a file need not settle when
                nobody has it open: it goes, and whoever opens it by its name later
                makes a new one.
        """
        now, trail = self._clock.monotonic(), file.trail
        writers = lease.writers_of(file.fd)
        self._note_writers(file, writers, now)
        if writers is Writers.SOME or file.stat() != trail.stamp:
            return False
        if now < trail.leave_until:
            self._problems.add(Problem.UNREMOVABLE, file.name, trail.left_because)
            return False
        settled = now - trail.since >= self._config.settle_seconds
        return settled or (whole and writers is Writers.NONE)

    def _note_writers(self, file: SpoolFile, writers: Writers, now: float) -> None:
        trail = file.trail
        if writers is not Writers.SOME:
            trail.held_since = None
        elif trail.held_since is None:
            trail.held_since = now
        elif now - trail.held_since >= _HELD_SECONDS:
            self._problems.add(Problem.HELD, file.name, "an hour")
        if writers is Writers.UNKNOWN:
            why = "the system grants no lease on it"
            self._problems.add(Problem.NO_LEASE, file.name, why)

    def _note_progress(self, file: SpoolFile) -> None:
        if not file.removed:
            self._book.note(file)

    # Its end.

    def _finish(self, file: SpoolFile) -> None:
        """All of it is stored: remove it, and forget it."""
        if file.removed:
            return
        if not file.trail.left_because:
            self._taken.note(file)
        if not self._remove(file):
            file.save()
            self._book.note_unfinished(file)
            file.close()
            return
        self._waiting -= 1
        self._book.forget(file.id, file.project)

    def _remove(self, file: SpoolFile) -> bool:
        try:
            return self._removal.remove(file)
        except OSError as error:
            file.trail.leave_until = self._clock.monotonic() + _TRY_TO_REMOVE_SECONDS
            file.trail.left_because = cause(error)
            self._book.in_vain.add(file.id)
            self._problems.add(Problem.UNREMOVABLE, file.name, cause(error))
            return False


class _Watcher:
    """Sets a poke when a file may have come. A hint, and nobody waits for it alone."""

    def __init__(self, news: Poke) -> None:
        self._hint = _Hint(news)
        self._news = news
        self._observer: BaseObserver | None = None
        self._watched: frozenset[tuple[Path, FileId]] = frozenset()

    def follow(self, directories: Sequence[Directory]) -> str | None:
        """Watch these; why that cannot be, if it cannot."""
        wanted = frozenset((directory.path, directory.id) for directory in directories)
        if wanted == self._watched and self._is_well():
            return None
        self.close()
        observer = Observer()
        try:
            for directory in directories:
                path = str(directory.path)
                observer.schedule(self._hint, path, event_filter=_NEWS)
            observer.start()
        except OSError as error:
            observer.stop()
            return cause(error)
        self._observer, self._watched = observer, wanted
        self._news.set()  # for what came while nobody watched
        return None

    def _is_well(self) -> bool:
        """Whether every directory is watched: one that was removed is watched no more.

        Made again, it may have the same inode number, and the observer seems alive.
        """
        observer = self._observer
        if observer is None or not observer.is_alive():
            return False
        return all(emitter.is_alive() for emitter in observer.emitters)

    def close(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None


class _Hint(FileSystemEventHandler):
    """Only pokes: an exception here would end the watching."""

    def __init__(self, news: Poke) -> None:
        self._news = news

    def on_any_event(self, event: FileSystemEvent) -> None:  # noqa: ARG002 - a hint
        self._news.set()
