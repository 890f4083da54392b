"""Which path leads where. Pure."""

from dataclasses import dataclass, field

from leanbase_relay.sink import v0, v1
from leanbase_relay.sink.exchange import Arrival, Outcome, Settings
from leanbase_relay.sink.limits import Refusal
from leanbase_relay.sink.wire import Answer

V0_PATHS = frozenset({"/batch", "/i/v0/e", "/e", "/capture", "/track", "/engage"})
HEALTH_PATHS = frozenset({"/", "/_readiness", "/_liveness"})

_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "*",
}


@dataclass(frozen=True, slots=True)
class Service:
    """The whole service, without a socket."""

    settings: Settings = field(default_factory=Settings)

    def serve(self, arrival: Arrival) -> Outcome:
        """Answer one request that has arrived whole."""
        is_v0, is_v1 = _route(arrival.path) in V0_PATHS, self._is_v1(arrival.path)
        if (is_v0 or is_v1) and arrival.method == "OPTIONS":
            return Outcome(Answer(200, headers=_CORS))
        if is_v0:
            return v0.take(arrival, self.settings)
        if is_v1:
            return v1.take(arrival, self.settings)
        if _route(arrival.path) in HEALTH_PATHS:
            return Outcome(Answer.text(200, "ok"))
        return Outcome(Answer.text(404, f"no such endpoint: {arrival.path}"))

    def wire_bytes(self, path: str) -> int:
        """How big a body may be that is sent there."""
        limits = self.settings.limits
        return limits.v1_wire_bytes if self._is_v1(path) else limits.wire_bytes

    def refused(self, arrival: Arrival, refusal: Refusal) -> Outcome:
        """Answer one request whose body could not be read; the arrival has none."""
        if self._is_v1(arrival.path):
            return v1.refused(refusal, arrival, self.settings)
        return v0.refused(refusal)

    def _is_v1(self, path: str) -> bool:
        return self.settings.v1 and _route(path) == v1.PATH


def _route(path: str) -> str:
    return path.rstrip("/") or "/"
