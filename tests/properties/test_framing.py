"""Framing: however a stream is cut into pieces, its lines are the same."""

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.intake import (
    Letter,
    RunningIntake,
    counts,
    errors,
    event,
)

MAX_BYTES = 300

longest = event(8, pad="x" * (MAX_BYTES - len(event(8, pad="")) + 1)).strip()
lines = st.sampled_from(
    [
        event(1).strip(),
        event(2, project="shop").strip(),
        event(3).strip() + b" ",
        longest,
        longest + b" ",
        b"x" * (MAX_BYTES + 1),
        b"x" * 3 * MAX_BYTES,
        b" " * MAX_BYTES,
        b" " * (MAX_BYTES + 1),
        *(b"", b" ", b"\r", b"nonsense", b'{"event":"e"}', b"\xff", b"{", b"}"),
    ]
)
endings = st.sampled_from([b"\n", b"\n", b"\r\n"])
streams = st.tuples(
    st.lists(st.tuples(lines, endings).map(b"".join), max_size=8),
    lines | st.just(b""),
).map(lambda parts: b"".join(parts[0]) + parts[1])
cuts = st.lists(st.integers(0, 6 * MAX_BYTES), max_size=8)

Outcome = tuple[dict[int, str], tuple[int, int], dict[str, list[bytes]], list[Letter]]


@pytest.fixture(scope="module")
def relay() -> Iterator[RunningIntake]:
    with (
        tempfile.TemporaryDirectory(prefix="lb-") as name,
        RunningIntake(Path(name), max_event_bytes=MAX_BYTES) as relay,
    ):
        yield relay


def outcome(relay: RunningIntake, pieces: list[bytes]) -> Outcome:
    """Everything that a stream came to, once all of its pieces were read."""
    stored = {name: len(relay.backlog(name)) for name in ("default", "shop")}
    letters = len(relay.letters())
    with relay.connect() as client:
        for piece in pieces:
            client.send(piece)
            relay.settle_loop()  # has read it: the next one comes alone
        client.half_close()
        replies = client.rest()
    return (
        errors(replies),
        counts(replies) if replies else (0, 0),
        {name: relay.backlog(name)[stored[name] :] for name in stored},
        list(relay.letters()[letters:]),
    )


@settings(deadline=None)
@given(streams, cuts)
@example(longest + b"\r\n" + event(1), [MAX_BYTES + 1])
@example(b" " * (MAX_BYTES + 1) + b"\n", [MAX_BYTES])
def test_any_cutting_of_a_stream_comes_to_the_same(
    relay: RunningIntake, stream: bytes, cuts: list[int]
) -> None:
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[start:end] for start, end in itertools.pairwise(places)]

    whole = outcome(relay, [stream])

    assert outcome(relay, pieces) == whole


def test_one_byte_at_a_time_comes_to_the_same(relay: RunningIntake) -> None:
    stream = (
        event(1).replace(b"\n", b"\r\n") + b"\n" + b"x" * 400 + b"\nbad\n" + longest
    )

    whole = outcome(relay, [stream])

    assert outcome(relay, [bytes([byte]) for byte in stream]) == whole
    assert whole[1] == (2, 2)
