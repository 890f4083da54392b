"""Over any sequence of answers no event is lost, doubled, passed over or forgotten."""

import tempfile
from collections.abc import Iterator
from itertools import chain, groupby, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanbase_relay.forward.guard import MOST_IN_A_ROW
from leanbase_relay.forward.lane import Settings
from leanbase_relay.store.store import Store
from tests.support.answers import MOST_REQUESTS, Script, Step, stage
from tests.support.clock import FakeClock

KINDS = [
    *("well", "busy", "patience", "too big for now", "unreachable", "lost"),
    *("wrong key", "portal", "breaks off", "refuses", "too big", "crash"),
]
WORDS = ["ok", "warning", "novelty", "drop", "retry", "odd", None]
SAYING = st.builds(
    Step,
    st.just("words"),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(tuple),
)
STEPS = st.one_of(
    st.builds(Step, st.sampled_from(KINDS)),
    SAYING,
    SAYING,
    st.builds(Step, st.sampled_from(["refuses", "too big"])),
)
RUNS = st.builds(
    lambda step, times: [step] * times, STEPS, st.sampled_from([1, 1, 1, 2, 25])
)
EVENTS_A_BATCH = 12


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """In memory, where there is such a place: nothing here is about the disk."""
    memory = Path("/dev/shm")  # noqa: S108 - a directory of its own is made there
    place = memory if memory.is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as made:
        Store.open(Path(made) / "empty.db").close()
        yield Path(made)


@settings(deadline=None, max_examples=250)
@given(
    steps=st.lists(RUNS, max_size=12).map(lambda runs: [*chain.from_iterable(runs)]),
    sizes=st.lists(st.integers(1, EVENTS_A_BATCH), min_size=1, max_size=6),
    poison=st.frozensets(st.integers(0, 30), max_size=4)
    | st.just(frozenset(range(10, 60))),
    most_events=st.sampled_from([100, 100, 100, 3, 1]),
    protocol=st.sampled_from(["batch", "v1"]),
    max_attempts=st.sampled_from([None, None, None, 1, 3]),
    ends=st.booleans(),
)
def test_every_event_ends_in_one_place_and_in_order(
    directory: Path,
    *,
    steps: list[Step],
    sizes: list[int],
    poison: frozenset[int],
    most_events: int,
    protocol: str,
    max_attempts: int | None,
    ends: bool,
) -> None:
    """Delivered, or one dead letter, or still waiting; see the lines below."""
    clock = FakeClock()
    script = Script(clock, list(steps), poison, most_events, protocol)
    limits = Settings(
        max_events=EVENTS_A_BATCH,
        max_bytes=1 << 20,
        max_wait_seconds=0,
        first_delay_seconds=1,
        max_delay_seconds=60,
        max_attempts=max_attempts,
    )
    path = directory / "relay.db"
    for left in directory.glob("relay.db*"):
        left.unlink()
    with stage(directory / "empty.db", path, script, limits) as played:
        played.add(*sizes)
        if not ends:
            script.steps.append(Step("stop"))
        played.play()
        end = played.end()

    sent = list(range(sum(sizes)))
    gone = sent[: len(sent) - len(end.waiting)]
    dead = set(end.dead)
    delivered = set(gone) - dead

    # Each event is in one place, and the totals say the same.
    assert end.waiting == sent[len(gone) :], "what waits is the end of the backlog"
    assert end.dead == sorted(dead), "one letter each, in order"
    assert dead <= set(gone)
    totals = end.totals
    assert (totals.delivered, totals.dead) == (len(delivered), len(dead))
    # Delivered is what the upstream took; dead is what it did not.
    assert delivered <= script.said_yes
    if Step("crash") not in steps:  # else what it took may be sent again, and refused
        assert not dead & script.said_yes
        assert not any(asked.known & set(asked.numbers) for asked in script.asked)
    letters = zip(end.dead, end.reasons, strict=True)
    given_up = {number for number, reason in letters if "after" in reason}
    assert dead <= script.said_no | given_up
    # If it ends, it ends: only the guard leaves something behind.
    if ends and len(script.asked) < MOST_REQUESTS:
        assert not end.waiting
    if end.waiting and ends:
        assert len(dead) >= MOST_IN_A_ROW
    row = max(
        (len([*run]) for dies, run in groupby(gone, dead.__contains__) if dies),
        default=0,
    )
    assert row < MOST_IN_A_ROW + EVENTS_A_BATCH
    in_order(script, given_up)
    keeps_identity(script)


def in_order(script: Script, given_up: set[int]) -> None:
    """Nothing is sent before all that was accepted before it is decided."""
    decided = given_up.copy()
    for asked in script.asked:
        assert asked.numbers == sorted(set(asked.numbers))
        assert set(range(asked.numbers[0])) <= decided
        decided |= asked.decided


def keeps_identity(script: Script) -> None:
    """An event is the same bytes each time; a batch has no other events than at first.

    By v1 it has fewer; what was dropped is asked for again where the guard says no.
    """
    assert all(len(spellings) == 1 for spellings in script.bytes_of.values())
    first = set(script.asked[0].numbers)
    for before, after in pairwise(script.asked):
        if before.sending is not after.sending:
            first = set(after.numbers)
            continue
        assert set(after.numbers) <= first
        assert after.request_id == before.request_id
        if script.protocol == "v1":
            assert after.attempt == before.attempt + 1
        elif before.again:
            assert after.numbers == before.numbers
