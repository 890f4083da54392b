"""``leanbase-relay capture`` and its kin: one event each, in the shapes of the SDKs."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from uuid import uuid4

import click

from leanbase_relay import __version__
from leanbase_relay.cli.common import socket_options, socket_path
from leanbase_relay.cli.socket_client import Refused, SocketClient
from leanbase_relay.cli.words import plain

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
Json = str
"""A value as JSON text: numbers keep the spelling they were given."""

LIBRARY: Mapping[str, Json] = {
    "$lib": '"leanbase-relay"',
    "$lib_version": json.dumps(__version__),
}


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are not JSON


def as_json(value: str) -> Json:
    """The value itself if it is JSON, else as text."""
    try:
        json.loads(value, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return json.dumps(value)
    return " ".join(value.split("\n"))  # between tokens; an event is one line


def as_object(members: Mapping[str, Json]) -> Json:
    """A JSON object of members that are JSON already."""
    return f"{{{','.join(f'{json.dumps(k)}:{v}' for k, v in members.items())}}}"


def _pairs(
    ctx: click.Context, param: click.Parameter, given: Sequence[str]
) -> dict[str, Json]:
    """KEY=VALUE, each key once."""
    pairs: dict[str, Json] = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{each!r} is not KEY=VALUE", ctx, param)
        if key in pairs:
            raise click.BadParameter(f"{key!r} is given twice", ctx, param)
        pairs[key] = as_json(value)
    return pairs


def _properties(*names: str, text: str) -> Callable[[Decorated], Decorated]:
    return click.option(
        *names, multiple=True, callback=_pairs, metavar="KEY=VALUE", help=text
    )


def _sending(command: Decorated) -> Decorated:
    """What every command here takes."""
    project = click.option("--project", metavar="P", help="A project of the relay.")
    return project(socket_options(command))


_VALUE = "VALUE is JSON, or else text. Repeatable."
_distinct_id = click.option(
    "--distinct-id", required=True, metavar="ID", help="Whose event it is."
)


@click.command(
    epilog="""\b
Example:
  leanbase-relay capture "backup done" --distinct-id host-7 -p seconds=12.50
"""
)
@click.argument("event")
@click.option("--distinct-id", metavar="ID", help="Whose event it is.")
@click.option("--anonymous", is_flag=True, help="Nobody's: no person is made.")
@_properties("-p", "--property", "properties", text=f"A property. {_VALUE}")
@_sending
def capture(
    event: str,
    distinct_id: str | None,
    properties: dict[str, Json],
    *,
    anonymous: bool,
    **where: Any,
) -> None:
    """Send one event and wait until it is stored."""
    if anonymous == (distinct_id is not None):
        raise click.UsageError("give --distinct-id ID, or else --anonymous")
    if anonymous:
        properties = {**properties, "$process_person_profile": "false"}
    _send(
        event,
        distinct_id if distinct_id is not None else str(uuid4()),
        properties,
        **where,
    )


@click.command(
    epilog="""\b
Example:
  leanbase-relay identify --distinct-id u1 -p plan=pro --set-once source=shop
"""
)
@_distinct_id
@_properties("-p", "--property", "person", text=f"What the person has. {_VALUE}")
@_properties("--set-once", "once", text="The same, unless it was set before.")
@_sending
def identify(
    distinct_id: str, person: dict[str, Json], once: dict[str, Json], **where: Any
) -> None:
    """Say who a person is: sets properties of the person."""
    given = {"$set": person, "$set_once": once}
    properties = {
        name: as_object(members) for name, members in given.items() if members
    }
    _send("$identify", distinct_id, properties, **where)


@click.command(
    epilog="""\b
Example: what `visitor-9` does from now on belongs to `u1`
  leanbase-relay alias --distinct-id u1 --alias visitor-9
"""
)
@_distinct_id
@click.option("--alias", "other", required=True, metavar="OTHER", help="The other id.")
@_sending
def alias(distinct_id: str, other: str, **where: Any) -> None:
    """Make another id an alias of a person's."""
    properties = {"distinct_id": json.dumps(distinct_id), "alias": json.dumps(other)}
    _send("$create_alias", distinct_id, properties, **where)


@click.command(
    epilog="""\b
Example:
  leanbase-relay group --type company --key acme -p plan=pro -p seats=25
"""
)
@click.option("--type", "kind", required=True, metavar="T", help="Such as company.")
@click.option("--key", required=True, metavar="K", help="Which one of them.")
@click.option("--distinct-id", metavar="ID", help="Who says so; else $T_K.")
@_properties("-p", "--property", "group_set", text=f"What the group has. {_VALUE}")
@_sending
def group(
    kind: str,
    key: str,
    distinct_id: str | None,
    group_set: dict[str, Json],
    **where: Any,
) -> None:
    """Set properties of a group, such as a company."""
    properties = {
        "$group_type": json.dumps(kind),
        "$group_key": json.dumps(key),
        "$group_set": as_object(group_set),
    }
    _send("$groupidentify", distinct_id or f"${kind}_{key}", properties, **where)


@click.command(
    epilog="""\b
Example:
  leanbase-relay pageview --distinct-id u1 --url https://example.org/prices
"""
)
@_distinct_id
@click.option("--url", required=True, help="The page.")
@_properties("-p", "--property", "properties", text=f"A property. {_VALUE}")
@_sending
def pageview(
    distinct_id: str, url: str, properties: dict[str, Json], **where: Any
) -> None:
    """Say that a page was seen."""
    properties = {**properties, "$current_url": json.dumps(url)}
    _send("$pageview", distinct_id, properties, **where)


def _send(
    event: str,
    distinct_id: str,
    properties: Mapping[str, Json],
    *,
    project: str | None,
    socket: Path | None,
    config_path: Path | None,
) -> None:
    """Send one event, wait for `stored`, print its uuid."""
    uuid = str(uuid4())
    members = {"event": event, "distinct_id": distinct_id, "uuid": uuid}
    if project is not None:
        members["project"] = project
    line = {name: json.dumps(text) for name, text in members.items()}
    line["properties"] = as_object({**properties, **LIBRARY})
    reasons: list[str] = []
    path = socket_path(socket, config_path)
    with SocketClient(path, on_error=lambda _, why: reasons.append(why)) as client:
        client.send(as_object(line).encode() + b"\n")
        client.finish(lines=1)
    if client.refused:
        raise Refused(plain(f"refused: {'; '.join(reasons)}"))
    click.echo(f"stored {uuid}")
