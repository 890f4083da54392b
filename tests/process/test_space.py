"""A backlog comes and goes, and gives its room on the disk back; intake goes on."""

from pathlib import Path

import pytest

from leanbase_relay.sink import Fault, Script, Sink
from tests.support.load import Flood, Metronome, Probe, du, noise
from tests.support.process import RelayProcess
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

MB = 1_000_000
DOWN = Script().then_always(Fault.answer(503, "busy"))
SETTINGS = {"retry": {"first_delay": "100ms", "max_delay": "500ms"}}
LONGEST_SECONDS = 0.25
GIVEN_BACK_BYTES = 20 * MB
GIVEN_BACK_SECONDS = 300


def fill(relay: RelayProcess, size: int) -> None:
    """Send so many bytes of events that hardly compress."""
    with Flood(relay.socket, noise()) as flood:
        eventually(lambda: flood.sent_bytes >= size, within=120)
    assert flood.stored == flood.sent


def is_drained(relay: RelayProcess) -> bool:
    """But for what the probe has under way."""
    return bool(relay.status()["backlog"]["events"] < 100)


def within(probe: Probe, metronome: Metronome) -> bool:
    """Whether intake never stopped, or not more than the machine itself did."""
    longest = max(LONGEST_SECONDS, 5 * metronome.worst_seconds)
    return probe.refused == 0 and probe.worst_seconds <= longest


def test_intake_does_not_stop_while_a_backlog_is_drained(short_dir: Path) -> None:
    with (
        Sink(script=DOWN, keep="counts") as sink,
        RelayProcess(short_dir, sink.url, SETTINGS) as relay,
    ):
        fill(relay, 40 * MB)
        with Metronome(short_dir) as metronome, Probe(relay.socket) as probe:
            sink.follow(Script())
            eventually(lambda: is_drained(relay), within=60)
        assert within(probe, metronome), (probe.worst_seconds, metronome.worst_seconds)
        assert relay.stop() == 0


@pytest.mark.slow
def test_500_mb_that_came_and_went_leave_a_small_file_and_never_stopped_intake(
    short_dir: Path,
) -> None:
    with (
        Sink(script=DOWN, keep="counts") as sink,
        RelayProcess(short_dir, sink.url, SETTINGS) as relay,
    ):
        fill(relay, 500 * MB)
        assert du(relay.store) > 200 * MB
        with Metronome(short_dir) as metronome, Probe(relay.socket) as probe:
            sink.follow(Script())
            eventually(lambda: is_drained(relay), within=GIVEN_BACK_SECONDS)
            eventually(
                lambda: du(relay.store) < GIVEN_BACK_BYTES, within=GIVEN_BACK_SECONDS
            )
        assert within(probe, metronome), (probe.worst_seconds, metronome.worst_seconds)
        assert relay.stop() == 0
