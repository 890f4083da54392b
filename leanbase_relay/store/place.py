"""The place of a store: whether what is there can be one, before anything is touched.

What is wrong with a place is no damage: nothing is set aside for it, and the sentence
says who has to do what.
"""

import errno
import grp
import os
import pwd
import stat
from pathlib import Path

from leanbase_relay import lasting
from leanbase_relay.errors import StoreError, StoreUnavailable, StoreUnusable
from leanbase_relay.store.size import log_path

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}
_IMPOSSIBLE = (errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG)


def check(path: Path) -> None:
    """See that there is nothing, or a file that may be read and written.

    Raises:
        StoreUnusable: there is something else, or it is not for us.
        StoreUnavailable: the disk does not let us.
    """
    check_kind(path)
    for file in (path, Path(log_path(path))):
        try:
            os.close(os.open(file, os.O_RDWR | os.O_CLOEXEC))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise refusal(file, error) from error


def check_kind(path: Path) -> None:
    """See that there is nothing, or a file.

    Raises:
        StoreUnusable: there is something else.
        StoreUnavailable: that cannot be seen.
    """
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except FileNotFoundError:
        return
    except OSError as error:
        raise refusal(path, error) from error
    if kind != stat.S_IFREG:
        raise StoreUnusable(
            f"{path} is {_KINDS.get(kind, 'no file')}, and the store is a file; give "
            "it a path of its own: store.path. Nothing was touched"
        )


def make_directory(directory: Path) -> None:
    """Make a directory that is still there after the power failed.

    Raises:
        StoreUnusable, StoreUnavailable: it cannot be made.
    """
    try:
        lasting.make_directory(directory)
    except OSError as error:
        raise refusal(Path(error.filename or directory), error) from error


def refusal(path: Path, error: OSError) -> StoreError:
    """What to say, and with which exit code, where the system refuses a file."""
    if error.errno in (errno.EACCES, errno.EPERM):
        user = name_of_user(os.geteuid())
        return StoreUnusable(
            f"{path} may not be written by the user {user}{_owned(path)}. Nothing was "
            f"touched. sudo chown {user}: {path.parent} {path.parent}/*"
        )
    if error.errno == errno.EROFS:
        return StoreUnavailable(
            f"{path} is on a file system that can only be read now; nothing was "
            "touched. If the disk failed, `dmesg` says so; mount it for writing again, "
            "or give the store another path: store.path"
        )
    if error.errno in _IMPOSSIBLE:
        return StoreUnusable(f"{path}: {error.strerror}; change store.path")
    return StoreUnavailable(f"{path}: {error.strerror}")


def name_of_user(uid: int) -> str:
    """A user's name; the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def name_of_group(gid: int) -> str:
    """A group's name; the number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _owned(path: Path) -> str:
    """Whose the nearest thing is that we can see."""
    for place in (path, *path.parents):
        try:
            look = place.stat()
        except OSError:
            continue
        owner, group = name_of_user(look.st_uid), name_of_group(look.st_gid)
        mode = stat.S_IMODE(look.st_mode)
        return f": {place} is {owner}:{group}, {mode:04o}"
    return ""
