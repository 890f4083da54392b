"""Commits, measured: how long they take, what intake refused, what found no room.

The writer's, since only it knows what was committed and what was turned away. Counted
since the start of the daemon; the totals of the store's whole life are `store.totals`.
"""

from collections.abc import Iterable

from leanbase_relay.errors import StoreError, StoreFull, StoreUnavailable
from leanbase_relay.measures import SECONDS, Histogram, Tally
from leanbase_relay.store.deposit import DeadLetter, Deposit

DOORS = ("socket", "spool", "http")
"""By which events come in; it is the first word of a refused line's origin."""

FULL, UNAVAILABLE = "full", "unavailable"


class Commits:
    """What is measured of them."""

    def __init__(self) -> None:
        self.seconds = Histogram(SECONDS)
        self.refused = Tally(*DOORS)
        self.turned_away = Tally(FULL, UNAVAILABLE)

    def committed(self, letters: Iterable[DeadLetter]) -> None:
        """These refused lines are in the store now."""
        for letter in letters:
            door = letter.origin.partition(" ")[0]
            self.refused.note(door if door in DOORS else "other")

    def refuse(self, deposit: Deposit, error: StoreError) -> None:
        """These events are not, though nothing is wrong with them."""
        events = sum(chunk.events for chunk in deposit.chunks)
        if isinstance(error, StoreFull):
            self.turned_away.note(FULL, events)
        elif isinstance(error, StoreUnavailable):
            self.turned_away.note(UNAVAILABLE, events)
