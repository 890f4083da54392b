"""Protocol v0: what a whole request comes to, and what is answered. Pure.

The same for all its paths, of which `/batch/` is what servers' SDKs use. The answer is
the upstream's own, but for requests of which only some events are bad: there the
upstream stores nothing, and the relay all that is good.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from leanbase_relay.intake import envelope
from leanbase_relay.intake.answer import Answer, Declined
from leanbase_relay.intake.event import Judge, Judged
from leanbase_relay.intake.line import TOO_LONG
from leanbase_relay.keys import KeyRing

PATHS = frozenset({"/batch", "/i/v0/e", "/e", "/capture", "/track", "/engage"})

UNKNOWN_KEY = (
    "API key is not valid: the relay has no project with this project API key; compare "
    "it with projects.<name>.api_key in the relay's configuration"
)

_STORED = Answer(200, b'{"status":"Ok"}', "application/json")
_BEACON = Answer(204)


@dataclass(frozen=True, slots=True)
class Taken:
    """What a request came to.

    Attributes:
        judged: its events, to be stored.
        answer: what may be said once they are.
    """

    judged: Judged
    answer: Answer


def take(
    text: bytes,
    *,
    path: str,
    query: Mapping[str, str],
    judge: Judge,
    keys: KeyRing,
    now_ms: int,
) -> Taken:
    """Take a request.

    Args:
        text: the body, unwrapped.
        path: without a final slash.
        query: decoded.
        judge: of events `from_sdk`.
        keys: of the configured projects.
        now_ms: the time of acceptance, milliseconds since 1970 UTC.

    Raises:
        Declined: nothing of it can be taken.
    """
    opened = envelope.opened(text, nameless_allowed=path == "/engage")
    project = keys.project_of(opened.key.strip())
    if project is None:
        raise Declined(401, UNKNOWN_KEY)
    judged = judge.judge(opened.run, project=project, now_ms=now_ms)
    if opened.historical:
        judged = judged.as_import()
    return Taken(judged, _answer(judged, beacon=query.get("beacon") == "1"))


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
