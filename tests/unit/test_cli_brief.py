"""The status as one line for monitors."""

from typing import Any

import pytest

from leanbase_relay.cli.brief import WORDS, one_line, unknown
from leanbase_relay.errors import RelayError
from leanbase_relay.status import STATES


def look(state: str = "idle", **members: Any) -> dict[str, Any]:
    return {
        "state": state,
        "backlog": {"events": 0, "bytes": 0, "oldest_age_seconds": None},
        "totals": {"accepted": 10, "delivered": 10},
        "store": {"bytes": 4096, "max_bytes": 1 << 30},
        "problems": [],
        **members,
    }


def test_a_healthy_relay_is_ok_and_its_figures_follow() -> None:
    line = one_line(look(rates={"in_per_second": 12.0, "out_per_second": 0.5}))

    text, _, figures = line.partition(" | ")
    assert text == "LEANBASE-RELAY OK: idle, backlog empty, 12/s in, 30/min out"
    assert figures == (
        "backlog=0;;;0 backlog_bytes=0B;;;0 oldest_age=0s;;;0 "
        "store_bytes=4096B;;;0;1073741824 accepted=10c delivered=10c"
    )


def test_what_is_wrong_stands_in_the_line() -> None:
    backlog = {"events": 1200, "bytes": 2048, "oldest_age_seconds": 300.0}

    line = one_line(look("held", backlog=backlog, problems=["it | broke"]))

    assert line.startswith(
        "LEANBASE-RELAY CRITICAL: held, 1,200 events waiting, 2.0 KiB, for 5 min, "
        "1 problem | "
    )


@pytest.mark.parametrize("state", STATES)
def test_each_state_has_its_word_and_one_line(state: str) -> None:
    line = one_line(look(state))

    assert WORDS[state] in line
    assert len(line.splitlines()) == 1
    assert line.count("|") == 1


def test_what_cannot_be_known_is_unknown() -> None:
    line = unknown(RelayError("you may\nnot | ask"))

    assert line == "LEANBASE-RELAY UNKNOWN: you may\ufffdnot / ask"
