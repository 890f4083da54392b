"""Complaints: requests that were turned down, told without filling the log.

An SDK with a wrong key comes again every few seconds for as long as it runs. The log
has a line a minute for each status; `status` says it for ten minutes.
"""

import logging
from dataclasses import dataclass

from leanbase_relay.clock import Clock

log = logging.getLogger(__name__)

_LOGGED_AGAIN_SECONDS = 60.0
_SHOWN_SECONDS = 600.0


@dataclass(slots=True)
class _Kind:
    """What is known of one status."""

    count: int = 0
    unlogged: int = 0
    logged_at: float | None = None
    last_at: float = 0.0
    last_peer: str = ""


class Complaints:
    """Counts requests that were turned down, by status."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kinds: dict[int, _Kind] = {}

    def note(self, status: int, peer: str) -> None:
        """One more."""
        now = self._clock.monotonic()
        kind = self._kinds.setdefault(status, _Kind())
        if now - kind.last_at > _SHOWN_SECONDS:
            kind.count = 0
        kind.count += 1
        kind.unlogged += 1
        kind.last_at, kind.last_peer = now, peer
        if kind.logged_at is None or now - kind.logged_at >= _LOGGED_AGAIN_SECONDS:
            log.warning(
                "requests_declined status=%d count=%d last_peer=%s",
                status,
                kind.unlogged,
                peer,
            )
            kind.unlogged, kind.logged_at = 0, now

    def problems(self) -> list[str]:
        """A sentence about what only the operator can mend."""
        kind = self._kinds.get(401)
        if kind is None or self._clock.monotonic() - kind.last_at > _SHOWN_SECONDS:
            return []
        times = "once" if kind.count == 1 else f"{kind.count} times"
        sentence = (
            f"An SDK came {times} with an API key that no project has, or with none "
            f"(the last was {kind.last_peer}); its events were refused. Compare its "
            "key with projects.<name>.api_key."
        )
        return [sentence]
