"""The spool directory: which names in it are taken, and in what order.

The directory is this relay's alone: of two, both could take a file before one removes
it. Nothing is followed and nothing but a regular file is opened: every name is looked
up in an open directory, and what was opened is looked at before it is read.
"""

import fcntl
import fnmatch
import heapq
import os
import re
import stat
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from leanbase_relay import lasting
from leanbase_relay.intake.spool_file import SpoolFile, file_id
from leanbase_relay.intake.spool_problems import Problem, Problems, cause, shown
from leanbase_relay.store.deposit import FileId

MAX_ENTRIES = 100_000
"""Files that one scan visits, the oldest; the next ones wait for the next scan. Those
that cannot be opened or removed come after all others, or they would keep them out."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TEMPORARY = (".tmp", ".part")

# The group may write; the sticky bit keeps producers from each other's files.
_MODE = stat.S_ISVTX | stat.S_IRWXU | stat.S_IRWXG


class Directory(NamedTuple):
    """An open directory whose files are taken."""

    fd: int
    path: Path
    project: str
    prefix: str
    id: FileId


class Entry(NamedTuple):
    """A file that is to be taken; they sort by age, those in vain behind all others."""

    in_vain: bool
    mtime_ns: int
    base: str
    directory: Directory
    id: FileId

    @property
    def name(self) -> str:
        """Its path below the spool directory, for people."""
        return shown(self.directory.prefix + self.base)


@dataclass(slots=True)
class Listing:
    """What one look at the directory found.

    Attributes:
        entries: the files to take, oldest first.
        waiting: how many there are, be they in `entries` or not.
        directories: those that were listed.
        unserved: subdirectories that are no project's.
        present: of the files that were asked for, those that are there.
        complete: whether all that should be listed could be.
    """

    entries: list[Entry] = field(default_factory=list)
    waiting: int = 0
    directories: list[Directory] = field(default_factory=list)
    unserved: set[str] = field(default_factory=set)
    present: set[FileId] = field(default_factory=set)
    complete: bool = True


class SpoolDirectory:
    """The directory and its rules for names."""

    def __init__(
        self, path: Path, *, patterns: Iterable[str], projects: frozenset[str]
    ) -> None:
        self.path = path
        self._projects = projects
        self._pattern = re.compile("|".join(map(fnmatch.translate, patterns)))
        self._lock = _Lock()

    def close(self) -> None:
        """Leave it to another relay."""
        self._lock.let_go()

    def make(self) -> None:
        """Have it there before apps look for it; what hinders, the next look tells."""
        with suppress(OSError):
            os.close(_open_or_make(self.path))

    @contextmanager
    def listed(
        self,
        problems: Problems,
        known: AbstractSet[FileId],
        in_vain: AbstractSet[FileId] = frozenset(),
    ) -> Iterator[Listing]:
        """List it all; its directories are open until the end of the block.

        Args:
            problems: are added to.
            known: files of which is to be told whether they are there.
            in_vain: files that are not visited but when there is time.
        """
        with ExitStack() as opened:
            look = _Look(self._projects, self._pattern, problems, known, opened)
            entries = (
                entry._replace(in_vain=entry.id in in_vain)
                for entry in look.entries(self.path, self._lock)
            )
            look.listing.entries = heapq.nsmallest(MAX_ENTRIES, entries)
            yield look.listing


class _Look:
    """One look: goes through the directories, and keeps what it finds."""

    def __init__(
        self,
        projects: frozenset[str],
        pattern: re.Pattern[str],
        problems: Problems,
        known: AbstractSet[FileId],
        opened: ExitStack,
    ) -> None:
        self.listing = Listing()
        self._served: list[str] = []
        self._projects = projects
        self._pattern = pattern
        self._problems = problems
        self._known = known
        self._opened = opened

    def entries(self, path: Path, lock: "_Lock") -> Iterator[Entry]:
        """The files of the spool directory, then those of each project's own."""
        with self._noting_trouble(str(path)):
            top = _open_or_make(path)
            self._opened.callback(os.close, top)
            if not lock.holds(top):
                self.listing.complete = False
                self._problems.add(Problem.LOCKED, shown(str(path)), "it is locked")
                return
            yield from self._list(top, path, "default", "")
            for name in self._served:
                with self._noting_trouble(name):
                    fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
                    self._opened.callback(os.close, fd)
                    yield from self._list(fd, path / name, name, f"{name}/")

    @contextmanager
    def _noting_trouble(self, where: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.listing.complete = False
            self._problems.add(Problem.DIRECTORY, shown(where), cause(error))

    def _list(self, fd: int, path: Path, project: str, prefix: str) -> Iterator[Entry]:
        status = os.fstat(fd)
        directory = Directory(
            fd, path, project, prefix, file_id(status.st_dev, status.st_ino)
        )
        with os.scandir(fd) as entries:
            self.listing.directories.append(directory)
            for entry in entries:
                self._note(file_id(status.st_dev, entry.inode()))
                if self._is_to_be_taken(entry, directory):
                    yield from self._entry(entry, directory)

    def _entry(self, entry: os.DirEntry[str], directory: Directory) -> Iterator[Entry]:
        """The file, unless it is gone."""
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return
        file = file_id(status.st_dev, status.st_ino)
        self._note(file)
        self.listing.waiting += 1
        yield Entry(
            in_vain=False,
            mtime_ns=status.st_mtime_ns,
            base=entry.name,
            directory=directory,
            id=file,
        )

    def _note(self, file: FileId) -> None:
        if file in self._known:
            self.listing.present.add(file)

    def _is_to_be_taken(self, entry: os.DirEntry[str], directory: Directory) -> bool:
        name = entry.name
        if name.startswith(".") or name.endswith(_TEMPORARY):
            return False
        if not directory.prefix and entry.is_dir(follow_symlinks=False):
            if name in self._projects:
                self._served.append(name)
                return False
            self.listing.unserved.add(name)
            why = "no project has this directory's name"
        elif not self._pattern.match(name):
            why = "no pattern matches the name"
        elif not entry.is_file(follow_symlinks=False):
            why = "it is no regular file"
        else:
            return True
        self._problems.add(Problem.IGNORED, shown(directory.prefix + name), why)
        return False


class _Lock:
    """Of the spool directory, held for life; the kernel lets go of it when we die."""

    def __init__(self) -> None:
        self._fd = -1

    def holds(self, directory: int) -> bool:
        """Whether the directory is ours; from now on, if nobody else has it."""
        if self._fd >= 0 and os.path.samestat(os.fstat(self._fd), os.fstat(directory)):
            return True
        self.let_go()  # of one that was removed, or mounted over
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True  # NFS locks no directories: it is served as if we were alone
        self._fd = os.dup(directory)  # the lock lives as long as one of them is open
        return True

    def let_go(self) -> None:
        """Give it back; again is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def open_file(entry: Entry) -> SpoolFile | None:
    """Open a listed file; None if it is gone or became something else.

    Raises:
        OSError: it is there and cannot be opened.
    """
    directory = entry.directory
    try:
        fd = os.open(entry.base, _FILE, dir_fd=directory.fd)
    except FileNotFoundError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            return None
        return SpoolFile(
            fd,
            directory=directory.fd,
            base=entry.base,
            name=entry.name,
            project=directory.project,
        )
    except OSError:
        os.close(fd)
        raise


def _open_or_make(path: Path) -> int:
    try:
        return os.open(path, _DIRECTORY)
    except FileNotFoundError:
        lasting.make_directory(path)  # or files that apps rename into it go with it
        path.chmod(_MODE)  # not by mkdir, which asks the umask
        return os.open(path, _DIRECTORY)
