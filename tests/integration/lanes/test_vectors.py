"""The vectors all the way, among each other: judged, stored, sent to the sink."""

import pytest

from leanbase_relay.intake.event import Judge
from leanbase_relay.sink import Sink
from leanbase_relay.store.deposit import Deposit
from tests.support.lane import LaneClock, Relay
from tests.support.vectors import VECTORS, line_of


def take_all(relay: Relay) -> tuple[int, int]:
    """Every vector in one run of lines; how many were accepted, and refused."""
    judge = Judge(max_bytes=900 << 10, projects=frozenset({"default"}))
    lines = [line_of(vector).replace(b"\n", b" ") for vector in VECTORS]
    judged = judge.judge(
        b"\n".join(lines),
        project="default",
        now_ms=round(relay.writer_clock.wall() * 1000),
    )
    letters = tuple(one.dead_letter("socket") for one in judged.refusals)
    relay.writer.submit(Deposit(judged.chunks, letters)).wait()
    return judged.events, len(letters)


@pytest.mark.parametrize(
    ("protocol", "dead"),
    [
        # What it would refuse, intake has refused.
        ("batch", []),
        # v1 does not cut what is too long, and has no room for 200 wide characters.
        (
            "v1",
            [
                "answered 200, drop (distinct_id_too_large)",
                "answered 200, drop (event_name_too_long)",
            ],
        ),
    ],
)
def test_valid_vectors_arrive_invalid_ones_are_kept_and_none_blocks_another(
    relay: Relay, sink: Sink, clock: LaneClock, protocol: str, dead: list[str]
) -> None:
    accepted, refused = take_all(relay)
    assert accepted + refused == len(VECTORS)

    relay.lane(sink, clock, protocol=protocol).run()

    totals = relay.settled()
    assert (totals.accepted, totals.refused) == (accepted, refused)
    assert totals.backlog_events == 0
    stored = sum(len(request.rows) for request in sink.requests)
    assert stored == totals.delivered == accepted - totals.dead
    reasons = {
        reason.partition(" (maximum")[0]
        for _, _, reason, door, _, _ in relay.letters()
        if door == "upstream"
    }
    assert sorted(reasons) == dead
