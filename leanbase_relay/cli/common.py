"""What several commands share: their options, and asking the daemon."""

import grp
import os
import pwd
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from leanbase_relay import control
from leanbase_relay.config import Config, SocketConfig, load
from leanbase_relay.errors import ConfigError, RelayError

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_AGE_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


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


def age_seconds(text: str) -> float:
    """The type of an option that takes an age: ``30m``, ``12h``, ``7d``."""
    match = re.fullmatch(r"([0-9]{1,9})([smhdw])", text)
    if match is None:
        raise click.BadParameter(f"{text!r} is not an age; write 30m, 12h or 7d")
    return float(int(match[1]) * _AGE_SECONDS[match[2]])


def confirm(question: str, what: str, *, yes: bool) -> None:
    """Say what would go, and ask whether it may.

    Args:
        question: to be answered with y or n.
        what: would go, and what that means; one or more sentences.
        yes: the answer was given on the command line; what goes is said all the same.

    Raises:
        UsageError: there is nobody to ask.
        Abort: the answer is no.
    """
    click.echo(what, err=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(
            "there is no terminal to ask on; write --yes if that is what you want"
        )
    click.confirm(question, abort=True, err=True)


def ask(
    config: Config, command: str, *, timeout_seconds: float = 1.0, **members: Any
) -> Any:
    """Ask the daemon of this configuration, and say clearly why it cannot be asked.

    Raises:
        NotRunning: nobody listens.
        RelayError: no permission, no answer in time, or the daemon's own complaint.
    """
    path = config.control.path
    try:
        answer = control.ask(path, command, timeout_seconds=timeout_seconds, **members)
    except TimeoutError:
        raise no_answer(path, timeout_seconds) from None
    except PermissionError:
        raise no_permission(path) from None
    check_answer(answer, path)
    return answer


def check_answer(answer: Any, path: Path) -> None:
    """See whether the daemon on this socket answered with a complaint.

    Raises:
        RelayError: it did.
    """
    if "error" in answer:
        raise RelayError(f"the relay on {path}: {answer['error']}")


def no_answer(path: Path, seconds: float = 1.0) -> RelayError:
    """What is known of a relay that hangs."""
    within = "a second" if seconds == 1.0 else f"{seconds:.0f} seconds"
    return RelayError(
        f"the relay on {path} does not answer within {within}; `sudo leanbase-relay "
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
