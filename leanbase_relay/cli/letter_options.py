"""Which dead letters a command is about: the filters, and what they come to."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from leanbase_relay import config
from leanbase_relay.cli.common import age_seconds, config_option
from leanbase_relay.cli.names import check_project, utf8
from leanbase_relay.cli.reach import looking
from leanbase_relay.clock import SystemClock
from leanbase_relay.config import Config
from leanbase_relay.store.letters import LetterReader, Selection

LARGEST_ID = 2**63 - 1

_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    config_option,
    click.option(
        "--newer-than", type=age_seconds, metavar="AGE", help="Died since: 12h, 7d."
    ),
    click.option(
        "--older-than", type=age_seconds, metavar="AGE", help="Died before: 12h, 7d."
    ),
    click.option(
        "--upto",
        type=click.IntRange(1, LARGEST_ID),
        metavar="ID",
        help="Up to this one: none that died since.",
    ),
    click.option(
        "--status",
        type=click.IntRange(0, 999),
        metavar="N",
        help="Refused by the upstream with this HTTP status.",
    ),
    click.option("--event", type=utf8, metavar="NAME", help="Of this event."),
    click.option("--project", type=utf8, metavar="P", help="Of this project."),
    click.option(
        "--door", type=click.Choice(["intake", "upstream"]), help="By whom refused."
    ),
    click.argument(
        "ids", nargs=-1, metavar="[ID]...", type=click.IntRange(1, LARGEST_ID)
    ),
)
"""From the last one of `--help` to the first."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command is given.

    Attributes:
        now: wall clock, by which ages count.
    """

    conf: Config
    which: Selection
    now: float

    def reader(self) -> AbstractContextManager[LetterReader]:
        """A look at the letters."""
        return looking(self.conf, LetterReader)


def selecting(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the filters; it takes what they come to as its first argument."""

    @wraps(command)
    def selected(
        ctx: click.Context,
        config_path: Path | None,
        ids: tuple[int, ...],
        older_than: float | None,
        newer_than: float | None,
        *,
        door: str | None,
        project: str | None,
        event: str | None,
        status: int | None,
        upto: int | None,
        **others: Any,
    ) -> None:
        now = SystemClock().wall()
        which = Selection(
            door=door,
            project=project,
            event=event,
            status=status,
            died_before_ms=_moment_ms(now, older_than),
            died_after_ms=_moment_ms(now, newer_than),
            upto=upto,
            ids=tuple(dict.fromkeys(ids)),
        )
        conf = config.load(config_path or ctx.obj, with_keys=False)
        check_project(project, conf)
        command(Asked(conf, which, now), **others)

    decorated: Callable[..., None] = click.pass_context(selected)
    for option in _OPTIONS:
        decorated = option(decorated)
    return decorated


def _moment_ms(now: float, age: float | None) -> int | None:
    return None if age is None else round((now - age) * 1000)
