"""Faults: how the sink misbehaves for one request.

A fault without a status bends an honest answer: the events are judged and stored as
ever, only what the client sees of it is late, slow, cut off or nothing. A fault with
a status answers that in place of judging.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Ending = Literal["answer", "cut_off", "reset", "reset_unread", "silence"]

HTML_PAGE = b"<!doctype html><title>Sign in</title><p>Welcome to the guest network.\n"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the answer to a request of protocol v1 says of some of its events.

    Attributes:
        word: ``ok``, ``warning``, ``limited``, ``drop``, ``retry`` or any other; None
            leaves the uuid out of the answer.
        details: beside the word.
        every: of the request's events every so-many-th; 1 is each.
        uuids: only these, hyphenated and in small letters; none given: any.
        event: only events of this name.
        stores: whether the event is stored; None: unless the word says otherwise.
    """

    word: str | None
    details: str | None = None
    every: int = 1
    uuids: frozenset[str] = frozenset()
    event: str | None = None
    stores: bool | None = None

    def is_about(self, position: int, uuid: str, event: str) -> bool:
        """True if the event at this position of its request, from 0, is meant."""
        return (
            (position + 1) % self.every == 0
            and (not self.uuids or uuid in self.uuids)
            and self.event in (None, event)
        )

    @property
    def is_stored(self) -> bool:
        """Whether an event of which this is said was stored."""
        if self.stores is not None:
            return self.stores
        return self.word not in ("drop", "retry", None)


@dataclass(frozen=True, slots=True)
class Fault:
    """One request that does not go as it should."""

    status: int | None = None  # None: what the service would answer
    headers: Mapping[str, str] = field(default_factory=dict)  # beside or over the usual
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    stores: int | None = None  # that many events; None: all, or none with status >= 300
    delay_seconds: float = 0.0  # before the answer, or before there is none
    drip_seconds: float = 0.0  # between one byte of the answer and the next
    padding_bytes: int = 0  # blanks after the answer's body
    date_skew_seconds: float = 0.0  # how far the answer's `Date` is from the truth
    rulings: tuple[Ruling, ...] = ()  # protocol v1; the first that fits counts
    ending: Ending = "answer"
    name: str = ""  # for people

    @classmethod
    def answer(
        cls, status: int, body: str = "", *, retry_after: int | str | None = None
    ) -> "Fault":
        """This status and text, e.g. ``Fault.answer(503, retry_after=3)``."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        return cls(status=status, headers=headers, body=body.encode())

    @classmethod
    def html(cls, status: int = 200) -> "Fault":
        """A page in place of the service, as from a captive portal; stores nothing."""
        return cls(
            status=status,
            body=HTML_PAGE,
            content_type="text/html",
            stores=0,
            name="a page in the service's place",
        )

    @classmethod
    def redirect(cls, to: str, *, status: int = 301) -> "Fault":
        """Somewhere else, please."""
        return cls(status=status, headers={"Location": to}, name="a redirect")

    @classmethod
    def partial(cls, stores: int, *, status: int = 503) -> "Fault":
        """The first events are stored, and the answer says that it failed."""
        body = b"transient error, please retry"
        return cls(status=status, body=body, stores=stores, name="stored in part")

    @classmethod
    def results(cls, *rulings: Ruling) -> "Fault":
        """Protocol v1: the answer says this of those events."""
        return cls(rulings=rulings, name="results as scripted")

    @classmethod
    def cut_off(cls) -> "Fault":
        """Everything is stored; the answer promises more bytes than come."""
        return cls(ending="cut_off")

    @classmethod
    def reset(cls, *, after_body: bool, stores: int | None = None) -> "Fault":
        """The connection is reset; after the body, what came is stored by default."""
        return cls(ending="reset" if after_body else "reset_unread", stores=stores)

    @classmethod
    def hang(cls, seconds: float, *, stores: int | None = 0) -> "Fault":
        """No answer for so long, then the connection ends."""
        return cls(delay_seconds=seconds, ending="silence", stores=stores)

    @classmethod
    def drip(cls, seconds: float) -> "Fault":
        """An honest answer, a byte at a time."""
        return cls(drip_seconds=seconds, name="an answer that drips")

    @classmethod
    def huge(cls, padding_bytes: int) -> "Fault":
        """An honest answer with that many blanks after it."""
        return cls(padding_bytes=padding_bytes, name="a huge answer")

    @classmethod
    def skewed(cls, seconds: float) -> "Fault":
        """An honest answer from a server whose clock is so far ahead of ours."""
        return cls(date_skew_seconds=seconds, name="a skewed Date")

    def stored_of(self, events: int) -> int:
        """How many of so many good events are stored."""
        if self.ending == "reset_unread":
            return 0
        if self.stores is not None:
            return min(self.stores, events)
        return events if self.status is None or self.status < 300 else 0
