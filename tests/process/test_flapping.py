"""An upstream that comes and goes every second while events come in."""

import json
import socket
from pathlib import Path

import pytest

from leanbase_relay.sink import Fault, Script, Sink, Step
from tests.support.process import RelayProcess
from tests.support.waiting import eventually, paced

pytestmark = [pytest.mark.process, pytest.mark.slow]

SECONDS = 60
EACH = 200


@pytest.mark.parametrize("protocol", ["batch", "v1"])
def test_a_minute_of_flapping_under_load_loses_nothing(
    short_dir: Path, protocol: str
) -> None:
    flaps = Script().then_steps(
        [Step(Fault.reset(after_body=True), seconds=SECONDS, every_seconds=1)]
    )
    settings = {
        "upstream": {"protocol": protocol},
        "retry": {"first_delay": "100ms", "max_delay": "1s"},
    }
    with (
        Sink(script=flaps) as sink,
        RelayProcess(short_dir, sink.url, settings) as relay,
    ):
        sent = 0
        with socket.socket(socket.AF_UNIX) as producer:
            producer.connect(str(relay.socket))
            for _ in paced(every=0.05, during=SECONDS):
                lines = [
                    json.dumps(
                        {"event": "e", "distinct_id": "u", "properties": {"n": n}}
                    )
                    for n in range(sent, sent + EACH)
                ]
                producer.sendall("\n".join([*lines, ""]).encode())
                sent += EACH
        eventually(lambda: not relay.status()["backlog"]["events"], within=30)

        totals = relay.status()["totals"]
        numbers = {event["properties"]["n"] for event in sink.events}
        assert numbers == set(range(sent))
        assert totals["delivered"] == totals["accepted"] == sent
        assert (totals["dead"], totals["dropped"]) == (0, 0)
        # What was stored although the answer was lost came again, the same.
        assert len(sink.rows) == sent
