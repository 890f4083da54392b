"""What the service stores of one event, whichever protocol brought it."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from leanbase_relay.sink.envelope import Event

Protocol = Literal["v0", "v1"]
RowKey = tuple[str, str, str, str]

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_PERSON = ("$set", "$set_once")


class Row(NamedTuple):
    """One event as the service stores it.

    Compare `key` and `properties` to see whether two protocols came to the same.
    """

    timestamp: datetime
    event: str
    distinct_id: str
    uuid: str
    api_key: str
    historical: bool
    sent: Event  # as it came
    protocol: Protocol = "v0"
    added: Mapping[str, Any] = _NOTHING  # properties that the service makes (v1)

    @property
    def key(self) -> RowKey:
        """What the service tells duplicates by: UTC day, event, id, uuid."""
        day = self.timestamp.date().isoformat()
        return (day, self.event, self.distinct_id, self.uuid)

    @property
    def fingerprint(self) -> int:
        """A hash of the key, at a third of its price."""
        day = self.timestamp.toordinal()
        return hash((day, self.event, self.distinct_id, self.uuid))

    @property
    def properties(self) -> dict[str, Any]:
        """The properties as stored.

        Protocol v0 merges the event's own ``$set`` and ``$set_once`` over those in
        its properties; v1 ignores them, and adds what `added` holds.
        """
        stored = {**self.sent.get("properties", {}), **self.added}
        if self.protocol == "v0":
            for name in _PERSON:
                if over := self.sent.get(name):
                    under = stored.get(name)
                    stored[name] = {
                        **(under if isinstance(under, dict) else {}),
                        **over,
                    }
        return stored
