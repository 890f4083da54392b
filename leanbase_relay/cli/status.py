"""``leanbase-relay status``: how the relay is, whether it runs, hangs or is stopped."""

import json
import shutil
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from leanbase_relay import config, control
from leanbase_relay import status as figures
from leanbase_relay.cli.brief import one_line, unknown
from leanbase_relay.cli.common import (
    check_answer,
    config_option,
    no_answer,
    no_permission,
)
from leanbase_relay.cli.screen import screen
from leanbase_relay.clock import Clock, SystemClock
from leanbase_relay.config import Config
from leanbase_relay.errors import NotRunning, RelayError
from leanbase_relay.status import ProjectView, SpoolView, StoreView, View
from leanbase_relay.store import aside, lock

ANSWER_SECONDS = 1.0
LOOK_AGAIN_SECONDS = 0.05

EXAMPLE = """\b
Example: what is stuck, since when, and what to do
  leanbase-relay status
One line for a monitor; its word is OK, WARNING, CRITICAL or UNKNOWN
  leanbase-relay status --brief
Exit code: 0 all is well, 1 something needs attention, 3 not running.
"""


@click.command(epilog=EXAMPLE)
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON value, nothing else.")
@click.option("--brief", is_flag=True, help="One line, as Nagios reads it.")
@click.option("--watch", is_flag=True, help="Look every second until Ctrl-C.")
@click.pass_context
def status(
    ctx: click.Context,
    config_path: Path | None,
    *,
    as_json: bool,
    brief: bool,
    watch: bool,
) -> None:
    """Show backlog, projects, store and problems.

    Where no daemon answers, the figures come from the store.
    """
    if as_json and brief:
        raise click.UsageError("--json and --brief are two forms of one answer")
    if watch and (as_json or brief or not sys.stdout.isatty()):
        raise click.UsageError(
            "--watch is for a terminal; leave it out, or loop: "
            "while leanbase-relay status --json; do sleep 1; done"
        )
    conf = config.load(config_path, with_keys=False)
    clock = SystemClock()
    if watch:
        from leanbase_relay.cli.watch import watch as watch_it

        watch_it(lambda: look_at(conf, clock, history=True), clock)
        return
    try:
        look = look_at(conf, clock)
    except RelayError as error:
        if brief:
            click.echo(unknown(error))
        raise
    click.echo(_shown(look, clock, as_json=as_json, brief=brief))
    ctx.exit(figures.exit_code(look))


def _shown(look: dict[str, Any], clock: Clock, *, as_json: bool, brief: bool) -> str:
    if as_json:
        return json.dumps(figures.json_status(look))
    if brief:
        return one_line(look)
    columns, _ = shutil.get_terminal_size()
    return screen(look, clock.wall(), columns)


def look_at(conf: Config, clock: Clock, **wanted: Any) -> dict[str, Any]:
    """The status, from the daemon or without it.

    Args:
        conf: says where daemon and store are.
        clock: bounds the wait for an answer.
        wanted: what is asked for beside it: ``history``.

    Raises:
        RelayError: this user may ask neither.
    """
    deadline = clock.monotonic() + ANSWER_SECONDS
    poke = clock.poke()
    hangs = False
    while (left := deadline - clock.monotonic()) > 0:
        try:
            look: dict[str, Any] = control.ask(
                conf.control.path, "status", timeout_seconds=left, **wanted
            )
        except TimeoutError:
            hangs = True
            break
        except PermissionError:
            raise no_permission(conf.control.path) from None
        except NotRunning:
            if lock.holder(conf.store.path) is None:
                break
            clock.wait(LOOK_AGAIN_SECONDS, poke)  # it starts, or it stops
        else:
            check_answer(look, conf.control.path)
            return look
    pid = lock.holder(conf.store.path)
    if hangs and pid is None:  # this user may not look at the lock
        raise no_answer(conf.control.path)
    return _from_store(conf, pid, clock.wall())


def _from_store(conf: Config, pid: int | None, now: float) -> dict[str, Any]:
    """What the store alone knows.

    Args:
        conf: says where the store is.
        pid: of the daemon that holds the store and does not answer, if there is one.
        now: wall clock.
    """
    import sqlite3

    from leanbase_relay.store.damage import is_damage
    from leanbase_relay.store.reader import Reader

    projects = {name: ProjectView(url="") for name in conf.projects}
    size = 0
    problems = []
    try:
        if conf.store.path.exists():
            with closing(Reader(conf.store.path)) as reader:
                projects = figures.stored_totals(reader, list(conf.projects))
                size = reader.size()
    except PermissionError:
        problems.append(f"The figures are missing: {no_permission(conf.store.path)}.")
    except sqlite3.Error as error:
        mend = "If that is for lack of permission, use sudo."
        if is_damage(error):
            mend = "The next start sets it aside and salvages what can be read."
        problems.append(
            f"The figures are missing: {conf.store.path} cannot be read: {error}. "
            f"{mend}"
        )
    urls = dict.fromkeys(conf.projects, conf.upstream.url)
    view = View(
        now=now,
        store=StoreView(
            conf.store.path,
            size,
            conf.store.max_bytes,
            set_aside=aside.reports(conf.store.path),
        ),
        spool=SpoolView(conf.spool.path),
        projects={
            name: replace(project, url=urls.get(name, ""))
            for name, project in projects.items()
        },
        pid=pid,
        answering=False,
        problems=problems,
    )
    return figures.screen_status(view)
