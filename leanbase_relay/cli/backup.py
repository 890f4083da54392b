"""``leanbase-relay backup``: a copy of the store that can be put in its place."""

from pathlib import Path

import click

from leanbase_relay import config
from leanbase_relay.cli.common import config_option, no_permission
from leanbase_relay.cli.words import size
from leanbase_relay.errors import RelayError, StoreError


@click.command(
    short_help="Write a copy of the store into a new file.",
    epilog="""\b
Example: before an upgrade that you may want to go back from
  leanbase-relay backup /var/backups/relay.db
""",
)
@config_option
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def backup(config_path: Path | None, file: Path) -> None:
    """Write a copy of the store, with all that waits, into a new FILE.

    The relay may run or not, and goes on as ever. The copy is on the disk when this
    ends. How it is put back: docs/operations.md.
    """
    from leanbase_relay.store import backup

    store = config.load(config_path, with_keys=False).store.path
    try:
        if not store.exists():
            raise RelayError(f"there is no store at {store}; nothing to copy")
    except PermissionError:
        raise no_permission(store) from None
    try:
        written = backup.write(store, file)
    except FileExistsError:
        raise RelayError(f"{file} is there already; name a new file") from None
    except OSError as error:
        raise RelayError(f"{file}: {error.strerror}") from error
    except StoreError as error:
        raise RelayError(
            f"no backup was made: {error}. If it is not for want of room, "
            "`leanbase-relay doctor` tells what is wrong with the store"
        ) from error
    click.echo(f"copied {store} to {file}, {size(written)}")
