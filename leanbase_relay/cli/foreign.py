"""What other programs wrote down, as lines of events. Pure but for reading.

Known are the log of the PHP SDK's file consumer, the events model of PostHog's batch
exports (a row a line, in JSON), and pages of its events API (one JSON document). What
the upstream made of an event (persons, ids of its own) is left behind: it will make it
again. Whatever is no such thing is passed on as it is, for the relay to name.
"""

import re
import uuid
from collections.abc import Callable, Iterator
from itertools import chain

import msgspec

from leanbase_relay.cli.lines import BLOCK_BYTES, runs
from leanbase_relay.errors import RelayError

MOST_DOCUMENT_BYTES = 256 << 20

OF_A_ROW = frozenset(
    (
        *("person_id", "person_properties", "elements_chain", "team_id", "site_url"),
        *("_inserted_at", "person", "project_id"),
    )
)
"""Each of these says that a line is an exported row: no app has them there."""

_NAMESPACE = uuid.UUID("a5a0c1e6-2c2f-5d53-9a0c-0f6b1d4f2b7e")
_CHAIN = b'"$elements_chain"'
_DOCUMENT = re.compile(rb"\s*(\[|\{\s*(\n|\"(next|previous|count|results)\"\s*:))")

Members = dict[str, msgspec.Raw]


class _Page(msgspec.Struct):
    """What the events API answers."""

    results: list[msgspec.Raw]


_members = msgspec.json.Decoder(Members).decode
_page = msgspec.json.Decoder(_Page).decode
_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_text = msgspec.json.Decoder(str).decode
_written = msgspec.json.Encoder().encode


def lines_of(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """Runs of lines, of a file of lines or of a document that has a list of events.

    Raises:
        RelayError: it is such a document, and broken or too long.
    """
    block = read(BLOCK_BYTES)
    if _is_document(block):
        yield _lines_of_document(block, read)
    else:
        blocks = chain([block], iter(lambda: read(BLOCK_BYTES), b""))
        yield from runs(lambda _: next(blocks, b""))


def _is_document(block: bytes) -> bool:
    """Whether a file that begins so is one JSON document, other than lines."""
    if not _DOCUMENT.match(block):
        return False
    first, newline, _ = block.partition(b"\n")
    try:  # an app's own event may begin as a page does
        return not newline or "results" in _members(first)
    except msgspec.DecodeError:
        return True


def as_events(run: bytes, first: int) -> bytes:
    """The same lines, as the relay takes them.

    Args:
        run: whole lines.
        first: the number of the first one, in its file.
    """
    lines = run.split(b"\n")[:-1]
    return b"".join(
        as_event(line, number) + b"\n" for number, line in enumerate(lines, first)
    )


def as_event(line: bytes, number: int) -> bytes:
    """One line. An event without a uuid gets one that it would get again."""
    try:
        members = _members(line)
    except msgspec.DecodeError:
        return line
    if members.keys() & OF_A_ROW:
        members = _of_row(members)
    elif not _is_empty(members.get("uuid")):
        return line
    if _is_empty(members.get("uuid")):
        made = uuid.uuid5(_NAMESPACE, f"{number} {line.decode('latin-1')}")
        members["uuid"] = msgspec.Raw(b'"%b"' % str(made).encode())
    return _joined(members)


def _of_row(members: Members) -> Members:
    """What was sent, of what was made of it."""
    kept: Members = {
        name: members[name]
        for name in ("event", "distinct_id", "timestamp", "properties", "uuid")
        if name in members
    }
    if _is_empty(kept.get("uuid")) and "id" in members:  # as the API calls it
        kept["uuid"] = members["id"]
    properties = bytes(kept.get("properties", b"{}"))
    if properties.startswith(b'"'):  # JSON in a text, as columns of tables have it
        properties = _text(properties).encode()
    elements = members.get("elements_chain")
    if not _is_empty(elements) and _CHAIN not in properties:
        rest = properties.strip().removeprefix(b"{")
        comma = b"" if rest.strip() == b"}" else b","
        properties = b"{%b:%b%b%b" % (_CHAIN, bytes(elements or b""), comma, rest)
    kept["properties"] = msgspec.Raw(properties)
    return kept


def _is_empty(value: msgspec.Raw | None) -> bool:
    return value is None or bytes(value) in (b"null", b'""')


def _joined(members: Members) -> bytes:
    return b"{%b}" % b",".join(
        b"%b:%b" % (_written(name), bytes(value)) for name, value in members.items()
    )


def _lines_of_document(begun: bytes, read: Callable[[int], bytes]) -> bytes:
    """All of its events, a line each."""
    blocks, size = [begun], len(begun)
    while block := read(BLOCK_BYTES):
        blocks.append(block)
        size += len(block)
        if size > MOST_DOCUMENT_BYTES:
            raise RelayError(
                "one JSON document of more than 256 MiB; make lines of it first: "
                "jq -c '.[]' FILE | leanbase-relay import"
            )
    text = b"".join(blocks)
    try:
        is_list = text.lstrip().startswith(b"[")
        events = _array(text) if is_list else _page(text).results
    except msgspec.DecodeError as error:
        raise RelayError(
            f"neither lines of events nor one JSON document that lists them: {error}"
        ) from None
    # A newline can only stand between members.
    return b"".join(
        bytes(event).replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"
        for event in events
    )
