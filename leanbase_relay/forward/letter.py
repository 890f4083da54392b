"""Dead letters of the door `upstream`: what a buried event becomes. Pure."""

import msgspec

from leanbase_relay.forward.batch import Batch
from leanbase_relay.forward.verdict import Judgement
from leanbase_relay.store.deposit import DeadLetter
from leanbase_relay.store.reader import StoredChunk


def of_event(project: str, batch: Batch, judgement: Judgement) -> DeadLetter:
    """The letter of a batch's only event, with what the upstream said of it."""
    line = batch.event_bytes
    names = _names(line)
    return DeadLetter(
        door="upstream",
        project=project,
        reason=judgement.reason,
        origin=f"store chunk={batch.pieces[0].chunk}",
        line=line,
        status=judgement.status,
        accepted_at_ms=batch.accepted_at_ms,
        requeues=batch.pieces[0].requeues,
        historical=batch.historical,
        event=names.get("event"),
        distinct_id=names.get("distinct_id"),
        uuid=names.get("uuid"),
    )


def of_chunk(project: str, chunk: StoredChunk, damage: str) -> DeadLetter:
    """The one letter of a damaged chunk: its data as they are, for all its events."""
    return DeadLetter(
        door="upstream",
        project=project,
        reason=f"damaged on disk, {chunk.events} events: {damage}",
        origin=f"store chunk={chunk.id}",
        line=chunk.packed.data,
        accepted_at_ms=chunk.accepted_at_ms,
        events=chunk.events,
    )


def _names(line: bytes) -> dict[str, str]:
    """What a dead letter is found by, where that can be read."""
    try:
        members = msgspec.json.decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return {}  # an event that cannot be read can be buried all the same
    names = ("event", "distinct_id", "uuid")
    return {name: members[name] for name in names if type(members.get(name)) is str}
