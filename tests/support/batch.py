"""Batches of given events, as one whole chunk of the store."""

from leanbase_relay.forward.batch import Batch, Piece
from leanbase_relay.store.chunk import join, pack


def piece_of(*events: bytes, historical: bool = False) -> Piece:
    """The whole of a chunk, which is the store's first one."""
    event_bytes = join(events)
    return Piece(
        chunk=1,
        first=0,
        events=len(events),
        last=True,
        packed=pack(event_bytes),
        size=len(event_bytes),
        accepted_at_ms=0,
        historical=historical,
    )


def batch_of(*events: bytes, historical: bool = False) -> Batch:
    """What one request would carry."""
    return Batch((piece_of(*events, historical=historical),))
