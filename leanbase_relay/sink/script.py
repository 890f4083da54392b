"""Faults on demand: how the sink misbehaves for the next requests.

A fault without a status bends an honest answer: the events are judged and stored as
ever, only what the client sees of it is late, slow, cut off or nothing. A fault with
a status answers that in place of judging.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

Ending = Literal["answer", "cut_off", "reset", "reset_unread", "silence"]

HTML_PAGE = b"<!doctype html><title>Sign in</title><p>Welcome to the guest network.\n"


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
    ending: Ending = "answer"

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
        return cls(status=status, body=HTML_PAGE, content_type="text/html", stores=0)

    @classmethod
    def redirect(cls, to: str, *, status: int = 301) -> "Fault":
        """Somewhere else, please."""
        return cls(status=status, headers={"Location": to})

    @classmethod
    def partial(cls, stores: int, *, status: int = 503) -> "Fault":
        """The first events are stored, and the answer says that it failed."""
        body = b"transient error, please retry"
        return cls(status=status, body=body, stores=stores)

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
        return cls(drip_seconds=seconds)

    def stored_of(self, events: int) -> int:
        """How many of so many good events are stored."""
        if self.ending == "reset_unread":
            return 0
        if self.stores is not None:
            return min(self.stores, events)
        return events if self.status is None or self.status < 300 else 0


@dataclass(frozen=True, slots=True)
class Script:
    """The faults of the next requests, one each; then, for ever, normal behaviour."""

    faults: tuple[Fault, ...] = ()
    always: Fault | None = None  # what follows in place of normal behaviour

    def then(self, *faults: Fault) -> "Script":
        """The same, and after it these."""
        return replace(self, faults=self.faults + faults)

    def then_always(self, fault: Fault) -> "Script":
        """The same, and after it this one until another script is followed."""
        return replace(self, always=fault)
