"""The exceptions of the relay; one class for each decision a caller can take.

::

    RelayError
    ├── ConfigError        the configuration is wrong           exit 78
    ├── NotRunning         no daemon answers                    exit 3
    ├── Stopping           we were told to stop while waiting
    ├── ChangeFailed       a change of the store's raised what nobody expected
    └── StoreError
        ├── StoreHeld      another daemon holds this store      exit 3
        ├── StoreFull      store.max_bytes is reached
        ├── StoreDamaged   what it says contradicts itself
        ├── StoreGone      somebody removed its files from under us
        ├── StoreUnusable  what is at store.path cannot be ours exit 78
        └── StoreUnavailable   the disk or SQLite said no
"""

from collections.abc import Sequence


class RelayError(Exception):
    """Shown to the person at the terminal as it is, without a traceback."""

    exit_code = 1


class ConfigError(RelayError):
    """Everything that is wrong with a configuration, all at once."""

    exit_code = 78  # EX_CONFIG of sysexits.h: systemd must not restart us for it

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class NotRunning(RelayError):
    """No daemon answers on the socket that was asked."""

    exit_code = 3


class Stopping(RelayError):
    """A wait was cut short because the relay is to end."""


class ChangeFailed(RelayError):
    """A change asked of the store has a fault; it alone was undone."""


class StoreError(RelayError):
    """The store cannot do what it was asked to do; nothing was changed."""


class StoreHeld(StoreError):
    """Another daemon holds the lock of this store."""

    exit_code = 3


class StoreFull(StoreError):
    """The events would take the store above ``store.max_bytes``."""


class StoreDamaged(StoreError):
    """What the store says cannot be; the next start salvages it."""


class StoreGone(StoreError):
    """The store's files, or its lock, are not those any more that we have open."""


class StoreUnusable(StoreError):
    """At ``store.path`` is something else, or something that is not for this user."""

    exit_code = 78  # as for a wrong configuration: to start again would not mend it


class StoreUnavailable(StoreError):
    """SQLite or the disk below it failed; the transaction was rolled back."""
