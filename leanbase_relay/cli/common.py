"""What several commands share: their options, and asking the daemon."""

import grp
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from leanbase_relay import control
from leanbase_relay.config import Config, SocketConfig, load
from leanbase_relay.errors import ConfigError, RelayError

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def config_option(command: Decorated) -> Decorated:
    """``-c/--config PATH``, passed on as ``config_path``."""
    return click.option(
        "-c",
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="The configuration; else $LEANBASE_RELAY_CONFIG, else /etc/leanbase-relay"
        "/config.yaml.",
    )(command)


def socket_options(command: Decorated) -> Decorated:
    """``--socket`` and ``-c``; see `socket_path` for which one counts."""
    option = click.option(
        "--socket",
        "socket",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="The relay's socket; else the configuration's.",
    )
    return option(config_option(command))


def socket_path(socket: Path | None, config_path: Path | None) -> Path:
    """Where the relay takes events.

    A configuration that was named must be right; one that was not is a convenience,
    and a producer may not be allowed to read it.
    """
    if socket is not None:
        return socket
    try:
        return load(config_path, with_keys=False).socket.path
    except ConfigError:
        if config_path is not None:
            raise
        return SocketConfig().path


def ask(config: Config, command: str) -> Any:
    """Ask the daemon of this configuration, and say clearly why it cannot be asked.

    Raises:
        NotRunning: nobody listens.
        RelayError: no permission, or no answer within a second.
    """
    path = config.control.path
    try:
        return control.ask(path, command)
    except TimeoutError:
        raise no_answer(path) from None
    except PermissionError:
        raise no_permission(path) from None


def no_answer(path: Path) -> RelayError:
    """What is known of a relay that hangs."""
    return RelayError(
        f"the relay on {path} does not answer within a second; `sudo leanbase-relay "
        "status` and its log say more"
    )


def no_permission(path: Path) -> RelayError:
    """Who may use this file, in a sentence for someone who may not."""
    try:
        look = path.stat()
    except OSError:
        return RelayError(
            f"you may not reach {path}; use sudo, or join the group of {path.parent}"
        )
    group = _name(grp.getgrgid, look.st_gid)
    return RelayError(
        f"you may not use {path}: it is for {_name(pwd.getpwuid, look.st_uid)} and the "
        f"group {group}; use sudo, or join that group: sudo usermod -aG {group} "
        f"{_name(pwd.getpwuid, os.getuid())}, then log in again"
    )


def _name(find: Callable[[int], Any], number: int) -> str:
    """The name of a user or group; its number if it has none."""
    try:
        return str(find(number)[0])
    except KeyError:
        return str(number)
