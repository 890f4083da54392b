"""How much the service takes, and the one way in which it refuses."""

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes above which the service answers 413, or drops an event of protocol v1."""

    wire_bytes: int = 20 * MIB
    decompressed_bytes: int = 100 * MIB
    v1_wire_bytes: int = 10 * MIB
    v1_decompressed_bytes: int = 50 * MIB
    event_bytes: int = 1_000_000  # of the event encoded once more, as a JSON string


class Refusal(Exception):
    """The service turns the whole request down: its status and its exact text.

    The hint is ours alone. It names the culprit, which the real service does not
    do, and it is shown to people and never sent. The tag is what protocol v1 calls
    the error; protocol v0 has only the text.
    """

    def __init__(
        self, status: int, text: str, *, hint: str = "", tag: str = ""
    ) -> None:
        super().__init__(text)
        self.status = status
        self.hint = hint
        self.tag = tag
