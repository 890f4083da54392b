"""Protocol v0: what a whole request comes to, and what is answered. Pure.

The same for all its paths, of which `/batch/` is what servers' SDKs use. The answer is
the upstream's own, but for requests of which only some events are bad: there the
upstream stores nothing, and the relay all that is good.
"""

from collections.abc import Mapping

from leanbase_relay.intake import envelope
from leanbase_relay.intake.answer import Answer, Declined
from leanbase_relay.intake.event import Judged
from leanbase_relay.intake.line import TOO_LONG
from leanbase_relay.intake.taking import Taken, Taker
from leanbase_relay.keys import KeyRing

PATHS = frozenset({"/batch", "/i/v0/e", "/e", "/capture", "/track", "/engage"})

UNKNOWN_KEY = (
    "API key is not valid: the relay has no project with this project API key; compare "
    "it with projects.<name>.api_key in the relay's configuration"
)

_STORED = Answer(200, b'{"status":"Ok"}', "application/json")
_BEACON = Answer(204)


def take(
    text: bytes,
    taker: Taker,
    *,
    path: str,
    query: Mapping[str, str],
    keys: KeyRing,
) -> Taken:
    """Take a request.

    Args:
        text: the body, unwrapped.
        taker: of its events.
        path: without a final slash.
        query: decoded.
        keys: of the configured projects.

    Raises:
        Declined: nothing of it can be taken.
    """
    opened = envelope.opened(
        text, nameless_allowed=path == "/engage", max_events=taker.max_events
    )
    project = keys.project_of(opened.key.strip())
    if project is None:
        raise Declined(401, UNKNOWN_KEY)
    judged = taker.judged(opened.events, project=project, historical=opened.historical)
    return taker.taken(judged, _answer(judged, beacon=query.get("beacon") == "1"))


def declined(no: Declined) -> Answer:
    """The answer to a request that is turned down: a sentence."""
    return Answer.text(no.status, str(no), **no.headers)


def _answer(judged: Judged, *, beacon: bool) -> Answer:
    if judged.chunks:
        return _BEACON if beacon else _STORED
    first = judged.refusals[0].reason
    if judged.lines > 1:
        first = f"none of {judged.lines} events can be taken; the first: {first}"
    elif TOO_LONG in first:
        return Answer.text(413, f"maximum event size exceeded: {first}")
    return Answer.text(400, f"failed to hydrate events from request: {first}")
