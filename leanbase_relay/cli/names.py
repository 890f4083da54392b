"""Names on the command line: text that is text, and a project that there is."""

from collections.abc import Collection
from difflib import get_close_matches

import click

from leanbase_relay.cli.reach import looking
from leanbase_relay.config import Config


def utf8(text: str) -> str:
    """The type of an option that names something: bytes that are no text are none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise click.BadParameter(f"{text!a} is not UTF-8") from None
    return text


def check_project(project: str | None, conf: Config, *, stored: bool = True) -> None:
    """See whether there is such a project; None is all of them.

    Args:
        project: as it was given.
        conf: has some, and
        stored: the store may have others, which are not configured any more.

    Raises:
        UsageError: there is none; it names the near ones.
    """
    if project is None or project in conf.projects:
        return
    names = {*conf.projects, *(_stored(conf) if stored else ())}
    if project not in names:
        raise click.UsageError(
            f"there is no project {project}; {_near(project, names)}"
        )


def _near(project: str, names: Collection[str]) -> str:
    near = get_close_matches(project, names, n=3)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"there are: {', '.join(sorted(names))}"


def _stored(conf: Config) -> Collection[str]:
    if not conf.store.path.exists():
        return ()
    from leanbase_relay.store.reader import Reader

    with looking(conf, Reader) as reader:
        return reader.totals().keys()
