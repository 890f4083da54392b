import errno
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.cells import cell_len

from leanbase_relay.cli.sink import (
    Display,
    describe,
    describe_json,
    no_port,
    sink,
    summary,
    welcome,
)
from leanbase_relay.errors import ConfigError
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

    assert head.endswith("  200  POST /batch/  2 events, 1.2 KiB (8.8 KiB unpacked)")
    assert first.split() == [
        *("order", "placed", "user-1", "01890a5d…8057", "12:00:00.123Z"),
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


def test_a_busy_line_leaves_out_what_80_columns_cannot_hold() -> None:
    busy = replace(
        request(*[row()] * 5000),
        path="/i/v1/analytics/events",
        wire_bytes=172_003,
        body=bytes(1_603_392),
    )

    assert shown(busy)[0].endswith(
        "POST /i/v1/analytics/events  5,000 events, 168.0 KiB"
    )
    wide = click.unstyle(describe(busy, 120)).splitlines()[0]
    assert wide.endswith("168.0 KiB (1.5 MiB unpacked)")


@pytest.mark.parametrize("columns", [60, 80, 100])
@pytest.mark.parametrize(
    "text", ["x" * 300, "漢字" * 100, "😀" * 100, "e\u0301" * 100, "", "short"]
)
def test_no_line_is_wider_than_the_terminal(columns: int, text: str) -> None:
    odd = request(
        row(text, text), row(text, "u"), row("e", text), status=400, reason="why " * 90
    )
    lines = click.unstyle(describe(odd, columns)).splitlines()

    assert all(cell_len(line) <= columns for line in lines)
    ends = {cell_len(line[: line.index("01890a5d")]) for line in lines[-3:]}
    assert len(ends) == 1


def test_an_event_of_another_day_has_its_date() -> None:
    yesterday = row()._replace(timestamp=STAMP - timedelta(days=1))

    assert shown(request(yesterday))[1].endswith("  2026-02-28 12:00:00Z")


def test_what_v1_remarked_is_summed_up() -> None:
    results = {"ok": 4000, "drop event_too_big": 3, "retry not_persisted": 1000}
    _, remarks = shown(replace(request(), results=results))

    assert remarks.strip() == "3x drop event_too_big, 1,000x retry not_persisted"


def test_a_success_that_is_none_says_so() -> None:
    _, why = shown(replace(request(), reason="a page in the service's place"))

    assert why.strip() == "a page in the service's place"


def test_strangers_cannot_command_the_terminal() -> None:
    _, line = shown(request(row("\x1b[2Jgone", "x" * 100)))

    assert "\x1b" not in line
    assert "x" * 12 + "…" in line


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


class TestDisplay:
    """Requests are named by the second in which they come."""

    def shown(
        self, *requests: tuple[float, int | None], pace: int | None = 2
    ) -> list[str]:
        said: list[str] = []
        display = Display(said.append, lambda request: f"{request.at:g}", pace=pace)
        for at, status in requests:
            display.show(replace(request(row(), status=status), at=at))
        display.flush()
        return [click.unstyle(line).partition("  ")[2] or line for line in said]

    def test_a_calm_stream_is_shown_whole(self) -> None:
        assert self.shown((1, 200), (1.5, 200), (2, 200)) == ["1", "1.5", "2"]

    def test_what_is_too_much_for_a_second_is_summed_up(self) -> None:
        assert self.shown((1, 200), (1.1, 200), (1.2, 200), (1.3, 503), (2, 200)) == [
            "1",
            "1.1",
            "2 more requests, 2 events stored  1x 200, 1x 503",
            "2",
        ]

    def test_while_it_goes_on_there_is_a_line_a_second(self) -> None:
        busy = [(1 + n / 10, 200) for n in range(30)]

        assert self.shown(*busy, (4.5, 200)) == [
            "1",
            "1.1",
            "8 more requests, 8 events stored  8x 200",
            "10 requests, 10 events stored  10x 200",
            "10 requests, 10 events stored  10x 200",
            "4.5",
        ]

    def test_what_goes_wrong_is_shown_even_then_once_a_second(self) -> None:
        busy = [(1 + n / 10, 200) for n in range(10)]

        after = self.shown(*busy, (2, 200), (2.1, 503), (2.2, None), (2.3, 200))
        assert after[-2:] == [
            "2.1",
            "3 more requests, 3 events stored  2x 200, 1x ---",
        ]

    def test_a_second_that_is_over_is_summed_up_without_a_next_request(self) -> None:
        said: list[str] = []
        display = Display(said.append, lambda _: "request", pace=0)
        display.turn_to(1.0)
        display.show(replace(request(), at=1.0))
        display.turn_to(1.9)
        assert said == []

        display.turn_to(2.0)
        assert len(said) == 1

    def test_elsewhere_than_on_a_terminal_all_are_shown(self) -> None:
        assert len(self.shown(*[(1, 200)] * 50, pace=None)) == 50


def test_a_wrong_script_is_explained_and_nothing_is_started(tmp_path: Path) -> None:
    script = tmp_path / "faults.yaml"
    script.write_text("faults: [{status: 5}]")

    result = CliRunner().invoke(sink, ["--script", str(script), "--port", "0"])

    assert isinstance(result.exception, ConfigError)
    assert "entry 1 (line 1): status: 5 is no HTTP status" in str(result.exception)


def test_the_welcome_names_the_script() -> None:
    assert "as faults.yaml says" in welcome("http://x", Path("faults.yaml"))
