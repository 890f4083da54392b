"""Protocol v1: a word of the upstream's for each event. Pure.

A request has one id over all its attempts, and `created_at` stays the same; a further
attempt carries only the events that the upstream wants again. The answer names events
by their uuid: `drop` makes a dead letter, `retry` and what is not named go again, and
any other word, known or not, is a yes (docs/protocol.md). Who wants an event again and
again holds up all behind it: after `MOST_ASKED` answers the operator is told.
"""

import contextlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Self

import msgspec
from msgspec import Raw, Struct

from leanbase_relay.clock import rfc_3339
from leanbase_relay.forward.batch import Batch
from leanbase_relay.forward.sending import MAX_ANSWER_BYTES, Request, Settled
from leanbase_relay.forward.verdict import Answer, Judgement, Verdict, judge
from leanbase_relay.splice import members_of, object_of
from leanbase_relay.store.chunk import join, split

PATH = "/i/v1/analytics/events"
MAX_RESULT_BYTES = 512
"""Of the answer, for each event: its uuid, a word and a few more."""

MOST_ASKED = 20
"""Answers that may leave an event open before that is no weather any more: half an hour
or so, by the backoff. Its project waits behind it, in order."""

# The upstream makes `$lib` and `$lib_version` of a name/version here, over those of
# the app that wrote the event. A text that it cannot use leaves the app's alone.
_SDK_INFO = "leanbase-relay"

_ABSENT = Raw()
_PERSON = ("$set", "$set_once")
_PLACES = {"$session_id": "session_id", "$window_id": "window_id"}
_OPTIONS = {
    "$cookieless_mode": "cookieless_mode",
    "$ignore_sent_at": "disable_skew_correction",
    "$process_person_profile": "process_person_profile",
    "$product_tour_id": "product_tour_id",
}
_TEXTS = {"$session_id", "$window_id", "$product_tour_id"}
_OUTSIDE = ("options", *_PLACES.values())
# Without any of these (or an escape that may hide one) an event goes as it is.
_NEEDLES = (
    *(f'"{name}"'.encode() for name in (*_PERSON, *_PLACES, *_OPTIONS, *_OUTSIDE)),
    rb"\u00",
)


class _Named(Struct, gc=False):
    uuid: str = ""


class _Result(Struct, gc=False):
    result: str
    details: object = None


class _Results(Struct, gc=False):
    results: dict[str, Raw]


class _Said(Struct, gc=False):
    """The service's own complaint about a whole request."""

    error: str = ""


_uuids = msgspec.json.Decoder(list[_Named]).decode
_results = msgspec.json.Decoder(_Results).decode
_result = msgspec.json.Decoder(_Result).decode
_said = msgspec.json.Decoder(_Said).decode

# Complaints that no event can cause: something in between took our headers away.
_NOT_OF_EVENTS = {"missing_required_headers", "invalid_header_value"}


class V1Sending:
    """By protocol `v1`: ``POST /i/v1/analytics/events``.

    Args:
        batch: what is given to be sent.
        created_at: wall clock.
        undecided: the numbers of those that wait for the upstream; None is all.
        refused: those that it will never take.
    """

    def __init__(
        self,
        batch: Batch,
        *,
        created_at: float,
        undecided: Sequence[int] | None = None,
        refused: Mapping[int, Judgement] | None = None,
    ) -> None:
        self._batch = batch
        self._created_at = created_at
        self._id = str(uuid.uuid4())
        self._attempts = 0
        event_bytes = batch.event_bytes
        self._events = split(event_bytes)
        self._names = _names_of(event_bytes)
        every = range(len(self._events))
        self._open = list(every if undecided is None else undecided)
        self._refused = dict(refused or {})
        self._given = 0
        self._asked = 0  # and answered, with a word that left some open
        self._size = self._open_bytes()
        self._took = False

    @property
    def batch(self) -> Batch:
        return self._batch

    @property
    def undecided(self) -> int:
        return len(self._open)

    @property
    def size(self) -> int:
        return self._size

    @property
    def took_some(self) -> bool:
        return self._took

    def request(self, *, key: str, now: float) -> Request:
        self._attempts += 1
        events = [self._events[number] for number in self._open]
        self._size = self._open_bytes()
        body = b'{"created_at":"%b",%b"batch":[%b]}' % (
            rfc_3339(self._created_at).encode(),
            b'"historical_migration":true,' if self._batch.historical else b"",
            join(as_v1(events)),
        )
        headers = {
            "Authorization": f"Bearer {key}",
            "PostHog-Sdk-Info": _SDK_INFO,
            "PostHog-Attempt": str(self._attempts),
            "PostHog-Request-Id": self._id,
            "PostHog-Request-Timestamp": rfc_3339(now),
        }
        room = MAX_ANSWER_BYTES + len(self._open) * MAX_RESULT_BYTES
        return Request(PATH, headers, (body,), room)

    def judge(self, answer: Answer, *, now: float) -> Judgement:
        judgement = judge(answer, now=now)
        self._took = False
        if judgement.verdict is Verdict.DELIVERED:
            return self._judge_results(answer, judgement)
        if answer.status in (404, 405):
            return judgement.because(
                f"answered {answer.status}: the upstream does not know protocol v1; "
                "set upstream.protocol: batch, or check upstream.url"
            )
        if judgement.is_refusal and _tag(answer) in _NOT_OF_EVENTS:
            return judgement.but(Verdict.HELD)
        if judgement.is_refusal and len(self._open) == 1:
            self.give_up(judgement)
        return judgement

    def settled(self) -> Iterator[Settled]:
        waits_for = self._open[0] if self._open else len(self._events)
        after = self._batch.position_after
        singles: Sequence[Batch] = ()
        while (number := self._given) < waits_for:
            judgement = self._refused.get(number)
            if judgement is None:
                refused = (n for n in range(number, waits_for) if n in self._refused)
                end = next(refused, waits_for)
                yield Settled(after(end))
            else:
                singles = singles or tuple(self._batch.singles())
                end = number + 1
                yield Settled(after(end), singles[number], judgement)
            self._given = end  # who stops here has not taken it

    def reopen(self) -> None:
        again = [number for number in self._refused if number >= self._given]
        for number in again:
            del self._refused[number]
        self._open = sorted((*self._open, *again))

    def give_up(self, judgement: Judgement) -> None:
        self._refused |= dict.fromkeys(self._open, judgement)
        self._open = []

    def _open_bytes(self) -> int:
        """Bytes of what is undecided, joined by commas."""
        return sum(len(self._events[number]) + 1 for number in self._open) - 1

    def halves(self) -> tuple[Self, Self]:
        middle = self._open[len(self._open) // 2]
        return (
            self._part(self._given, middle),
            self._part(middle, len(self._events)),
        )

    def _part(self, start: int, stop: int) -> Self:
        """A sending of these events, with what is known of them by now.

        What is decided among them is not sent again, but has to leave in order.
        """
        refused = self._refused.items()
        return type(self)(
            self._batch.cut(start, stop),
            created_at=self._created_at,
            undecided=[n - start for n in self._open if start <= n < stop],
            refused={n - start: why for n, why in refused if start <= n < stop},
        )

    def _judge_results(self, answer: Answer, judgement: Judgement) -> Judgement:
        """Note what is said of each event that was sent."""
        said = _words(answer)
        if said is None:
            return judgement.but(Verdict.HELD).because(
                f"answered {answer.status} without a result for each event: that is "
                "not protocol v1; check upstream.url, or set upstream.protocol: batch"
            )
        again: list[int] = []
        for number in self._open:
            result = said.get(self._names[number])
            if result is None or result.result == "retry":
                again.append(number)
            elif result.result == "drop":
                self._refused[number] = _dropped(answer, result)
            else:
                self._took = True
        self._open = again
        if not again:
            return judgement
        self._asked += 1
        wants = f"wants {len(again)} of the events again"
        if self._asked < MOST_ASKED:
            return judgement.but(Verdict.LATER).because(wants)
        # Not ours to give up: no event goes for the number of its attempts, unless
        # that is configured.
        return judgement.but(Verdict.HELD).because(
            f"{wants}, for the {self._asked}th time; what is behind them waits. With "
            "retry.max_attempts in the configuration, and a restart, such events "
            "become dead letters"
        )


def as_v1(events: Sequence[bytes]) -> list[bytes]:
    """Events with each member where protocol v1 reads it; most stay as they are.

    ``$set`` and ``$set_once`` beside the properties go into them, over what is there,
    as v0 merges them. What v0 reads in the properties and v1 beside them is copied.
    """
    return [_as_v1(event) if _is_moved(event) else event for event in events]


def _is_moved(event: bytes) -> bool:
    return any(needle in event for needle in _NEEDLES)


def _as_v1(event: bytes) -> bytes:
    members = members_of(event)
    given = members.get("properties", b"{}")
    properties = members_of(given)
    beside = {name: members.pop(name) for name in _OUTSIDE if name in members}
    person = {
        name: _merged(properties.get(name, b"{}"), value)
        for name in _PERSON
        if (value := members.pop(name, b""))[:1] == b"{" and value[1:-1].strip()
    }
    copied = {
        place: properties[name]
        for name, place in _PLACES.items()
        if _is_fit(name, properties)
    }
    options = {
        place: properties[name]
        for name, place in _OPTIONS.items()
        if _is_fit(name, properties)
    }
    if options:
        copied["options"] = object_of(options)
    if person:
        members["properties"] = object_of(properties | person)
    elif not copied and not beside:
        return event
    return object_of(members | copied)


def _is_fit(name: str, properties: Mapping[str, bytes]) -> bool:
    """Whether v1 takes the value: a wrong type would fail the whole request."""
    value = properties.get(name, b"null")
    return value[:1] == b'"' if name in _TEXTS else value in (b"true", b"false")


def _merged(under: bytes, over: bytes) -> bytes:
    if under[:1] != b"{":
        return over
    return object_of(members_of(under) | members_of(over))


def _names_of(event_bytes: bytes) -> list[str]:
    """The uuid of each event, as answers spell it."""
    try:
        named = _uuids(b"[%b]" % event_bytes)
    except msgspec.DecodeError:  # only what was never judged
        named = [_Named() for _ in split(event_bytes)]
    return [_canonical(one.uuid) for one in named]


def _canonical(name: str) -> str:
    """A uuid in the spelling that answers have; what is none stays as it is."""
    if len(name) == 36:
        return name.lower()
    try:
        return str(uuid.UUID(name))
    except ValueError:
        return name


def _words(answer: Answer) -> dict[str, _Result] | None:
    """What an answer says of each event by its uuid; None if that is not protocol v1.

    One member that is odd does not hide what is said of the others: it is no word.
    """
    try:
        results = _results(answer.body).results
    except (msgspec.DecodeError, RecursionError):
        return None
    said = {}
    for name, raw in results.items():
        with contextlib.suppress(msgspec.DecodeError, RecursionError):
            said[_canonical(name)] = _result(raw)
    return said if said or not results else None


def _dropped(answer: Answer, result: _Result) -> Judgement:
    details = result.details if isinstance(result.details, str) else "no details"
    return Judgement(
        Verdict.REFUSED,
        f"answered {answer.status}, drop ({details[:200]})",
        answer.status,
    )


def _tag(answer: Answer) -> str:
    try:
        return _said(answer.body).error
    except (msgspec.DecodeError, RecursionError):
        return ""
