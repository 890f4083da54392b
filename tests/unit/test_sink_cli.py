import errno
import json
from datetime import UTC, datetime

import click
from click.testing import CliRunner

from leanbase_relay.cli.sink import (
    describe,
    describe_json,
    no_port,
    sink,
    summary,
    welcome,
)
from leanbase_relay.sink import Counts, Request, Row

STAMP = datetime(2026, 3, 1, 12, 0, 0, 123_000, tzinfo=UTC)


def row(event: str = "order placed", distinct_id: str = "user-1") -> Row:
    return Row(
        timestamp=STAMP,
        event=event,
        distinct_id=distinct_id,
        uuid="01890a5d-ac96-774b-bcce-b302099a8057",
        api_key="phc_test",
        historical=False,
        sent={"event": event, "distinct_id": distinct_id},
    )


def request(*rows: Row, status: int | None = 200, reason: str = "") -> Request:
    return Request(
        at=STAMP.timestamp(),
        method="POST",
        path="/batch/",
        query={},
        headers={},
        status=status,
        reason=reason,
        hint="batch[1]: uuid: not a UUID" if reason else "",
        wire_bytes=1234,
        body=bytes(9000),
        events=tuple(row.sent for row in rows),
        rows=rows,
    )


def shown(request: Request) -> list[str]:
    return click.unstyle(describe(request)).splitlines()


def test_a_request_is_one_line_and_its_events_stand_in_columns() -> None:
    head, first, second = shown(request(row(), row("hi", "a-much-longer-id")))

    assert head.endswith("  200  POST /batch/  2 events, 1,234 bytes (9,000 unpacked)")
    assert first.split() == [
        *("order", "placed", "user-1", "01890a5d…8057"),
        *("2026-03-01", "12:00:00.123Z"),
    ]
    assert first.index("01890a5d") == second.index("01890a5d")


def test_of_many_events_the_first_ten_are_shown() -> None:
    lines = shown(request(*[row()] * 5000))

    assert len(lines) == 12
    assert lines[-1].strip() == "… and 4,990 more"


def test_a_refused_request_says_why() -> None:
    _, why = shown(request(status=400, reason="failed to hydrate"))

    assert why.strip() == "failed to hydrate  (batch[1]: uuid: not a UUID)"


def test_a_request_without_answer_is_marked() -> None:
    head, _ = shown(request(status=None, reason="no answer"))

    assert "  ---  POST" in head


def test_strangers_cannot_command_the_terminal() -> None:
    _, line = shown(request(row("\x1b[2Jgone", "x" * 100)))

    assert "\x1b" not in line
    assert "x" * 31 + "…" in line
    assert "x" * 32 not in line


def test_json_is_one_line_with_the_events_in_it() -> None:
    text = describe_json(request(row()))

    assert "\n" not in text
    told = json.loads(text)
    assert told["status"] == 200
    assert told["stored"] == 1
    assert told["events"] == [{"event": "order placed", "distinct_id": "user-1"}]


def test_the_summary_counts_what_came() -> None:
    counts = Counts(requests=1200, refused_requests=2, events=3, rows=2)

    assert summary(counts).strip() == (
        "1,200 requests (2 refused), 3 events stored: 2 distinct rows, 1 duplicate"
    )


def test_the_welcome_tells_how_to_point_a_relay_and_an_sdk_here() -> None:
    text = click.unstyle(welcome("http://127.0.0.1:8020"))

    assert "upstream: {url: http://127.0.0.1:8020}" in text
    assert 'host="http://127.0.0.1:8020"' in text


def test_a_port_that_cannot_be_had_is_explained() -> None:
    taken = no_port(OSError(errno.EADDRINUSE, "in use"), "127.0.0.1", 8020)
    privileged = no_port(OSError(errno.EACCES, "denied"), "127.0.0.1", 80)
    unknown = no_port(OSError(errno.EADDRNOTAVAIL, "no such address"), "192.0.2.1", 1)

    assert "port 8020 on 127.0.0.1 is taken" in taken
    assert "--port 0" in taken
    assert "root" in privileged
    assert "no such address" in unknown


def test_help_has_an_example() -> None:
    result = CliRunner().invoke(sink, ["--help"])

    assert result.exit_code == 0
    assert "curl http://127.0.0.1:8020/capture/" in result.output
