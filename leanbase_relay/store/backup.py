"""A backup of a store: one file, as the last commit left it, while the daemon runs.

SQLite's backup begins anew whenever a commit comes in between, and beside a busy relay
never ends. `VACUUM INTO` reads all of it in one transaction; the write-ahead log grows
meanwhile, and is folded in afterwards.
"""

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from leanbase_relay import lasting
from leanbase_relay.errors import StoreError
from leanbase_relay.store import schema


def write(store: Path, target: Path) -> int:
    """Copy all of a store into a new file, and have that on the disk.

    Args:
        store: there, of a daemon that runs or not.
        target: must not be there.

    Returns:
        The bytes of the copy.

    Raises:
        FileExistsError: the target is there.
        OSError: it cannot be made there.
        StoreError: the store cannot be read to its end, or there is no room.
    """
    if target.exists():
        raise FileExistsError(target)
    # For its owner's eyes: it has everything that the store has.
    fd, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    draft = Path(name)
    try:
        with closing(schema.connect_to_read(store)) as conn:
            conn.execute("pragma query_only = off")  # would forbid the new file as well
            conn.execute("vacuum into ?", (name,))
        os.fsync(fd)
        draft.rename(target)  # not a link: a stick for backups may know none
    except sqlite3.Error as error:
        raise StoreError(f"{store}: {error}") from error
    finally:
        os.close(fd)
        draft.unlink(missing_ok=True)
    lasting.sync_directory(target.parent)
    return target.stat().st_size
