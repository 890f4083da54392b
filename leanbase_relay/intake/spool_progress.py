"""What is known of each spool file: its progress, as the store has it, and its trail.

Progress reaches the store together with events. Where no events carry it along, when a
file is gone, stays although it seemed finished, or is on a device that has another
number today, `tell_store` does.
"""

from collections.abc import Iterable
from dataclasses import replace

from leanbase_relay import lasting
from leanbase_relay.intake.spool_directory import Listing
from leanbase_relay.intake.spool_file import SpoolFile, Stamp, Trail
from leanbase_relay.intake.spool_problems import Problem, Problems, cause, shown
from leanbase_relay.store.deposit import Deposit, FileId, FileProgress
from leanbase_relay.store.writer import Writer


class ProgressBook:
    """Every file that is not wholly taken and removed.

    Args:
        progress: what the store knows at the start.
    """

    def __init__(self, writer: Writer, progress: Iterable[FileProgress]) -> None:
        self._writer = writer
        self._progress = {known.file: known for known in progress}
        self._astray: dict[int, FileProgress] = {}
        self._trails: dict[FileId, Trail] = {}
        self._forgotten: set[FileId] = set()
        self._changed: set[FileId] = set()
        self._shrunk: set[str] = set()
        self.in_vain: set[FileId] = set()
        """Files that could not be opened or removed, when it was tried last."""

    @property
    def files(self) -> set[FileId]:
        """All that something is known of."""
        return self._progress.keys() | self._trails.keys() | self.in_vain

    @property
    def untold(self) -> int:
        """How many files the store is yet to forget."""
        return len(self._forgotten)

    def progress(self, file: FileId) -> FileProgress | None:
        """How far a file is taken; for whoever has that inode number now.

        The number of a device may be another after a restart of the machine. So what
        is known of a device that is not there now may be of this file, too.
        """
        return self._progress.get(file) or self._astray.get(file.inode)

    def claim(self, file: SpoolFile, known: FileProgress) -> None:
        """It is the file that this is known of."""
        if known.file != file.id:
            self.forget(known.file)
            del self._astray[file.id.inode]
            self._progress[file.id] = file.progress
            self._changed.add(file.id)

    def trail(self, file: FileId, stamp: Stamp, *, now: float) -> Trail:
        """What is remembered of a file, brought up to date."""
        trail = self._trails.setdefault(file, Trail(stamp, now))
        if trail.stamp != stamp:
            trail.stamp, trail.since = stamp, now
        return trail

    def note(self, file: SpoolFile) -> None:
        """Something of it was committed."""
        self._progress[file.id] = file.progress
        self._forgotten.discard(file.id)  # the number is in use again

    def note_unfinished(self, file: SpoolFile) -> None:
        """It stays and may grow, so it must be known by its content from now on."""
        file.progress = replace(file.progress, finished_ctime_ns=None)
        self._progress[file.id] = file.progress
        self._changed.add(file.id)

    def start_over(self, file: FileId) -> None:
        """What was known is not of this file."""
        self._progress.pop(file, None)

    def forget(self, file: FileId, *projects: str) -> None:
        """The file is gone from the directory of a project; of one of these."""
        self._trails.pop(file, None)
        self.in_vain.discard(file)
        self._progress.pop(file, None)
        self._forgotten.add(file)
        self._shrunk.update(projects)

    def forget_gone(self, listing: Listing) -> None:
        """Forget the files that others removed.

        But not those of a file system that is not mounted now, or of a project that
        is not configured now: they may come back.
        """
        self._astray = {}
        if not listing.complete:
            return
        devices = {directory.id.device for directory in listing.directories}
        projects = {directory.project for directory in listing.directories}
        for file in self.files - listing.present:
            self._trails.pop(file, None)
            self.in_vain.discard(file)
            progress = self._progress.get(file)
            if progress is None:
                continue
            if file.device not in devices:
                self._astray[file.inode] = progress
            elif progress.name.partition("/")[0] not in listing.unserved:
                self.forget(file, *projects)

    def tell_store(self, listing: Listing, problems: Problems) -> None:
        """Bring the stored progress up to date.

        A name that is gone may be back when the power fails, as long as its directory
        is not synced. Until then the progress alone tells that the file was taken.

        Raises:
            StoreFull, StoreUnavailable, Stopping: it is to be told again.
        """
        for file in tuple(self._changed):
            if file in self._progress:
                self._writer.submit(Deposit(progress=self._progress[file])).wait()
            self._changed.discard(file)
        if self._forgotten and self._are_names_saved(listing, problems):
            self._writer.submit(Deposit(forget=tuple(self._forgotten))).wait()
            self._forgotten.clear()

    def _are_names_saved(self, listing: Listing, problems: Problems) -> bool:
        for directory in listing.directories:
            if directory.project not in self._shrunk:
                continue
            try:
                lasting.sync_names(directory.fd)
            except OSError as error:
                path = shown(str(directory.path))
                problems.add(Problem.DIRECTORY, path, cause(error))
                return False
        self._shrunk.clear()
        return True
