"""What a producer hears over HTTP, and how a whole request is turned down. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

RETRY_AFTER_SECONDS = 5
"""What a producer is asked to wait when nothing can be stored; SDKs take up to 30."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes:
        status, body, content_type: as HTTP has them.
        headers: further ones.
        closing: whether the connection ends with it.
    """

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    closing: bool = False

    @classmethod
    def text(cls, status: int, sentence: str, **headers: str) -> "Answer":
        """A sentence for a person."""
        return cls(status, sentence.encode(errors="replace"), headers=headers)

    def saying(self, headers: Mapping[str, str]) -> "Answer":
        """The same, with further headers."""
        return replace(self, headers={**self.headers, **headers})


class Declined(Exception):
    """The whole request is turned down; nothing of it is kept.

    Attributes:
        status: of the answer.
        tag: what protocol v1 calls it.
        again: whether the same request may be taken later.
    """

    def __init__(
        self, status: int, reason: str, *, tag: str = "", again: bool = False
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.tag = tag
        self.again = again

    @property
    def headers(self) -> dict[str, str]:
        """What the answer says beside its sentence."""
        return {"Retry-After": str(RETRY_AFTER_SECONDS)} if self.again else {}


class TooMuch(Declined):
    """More comes out of a request than may be taken in this way."""

    def __init__(self, what: str) -> None:
        super().__init__(
            413,
            f"maximum event size exceeded: {what}; send smaller batches",
            tag="payload_too_large",
        )
