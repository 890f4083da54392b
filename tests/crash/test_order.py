"""What is said comes after what was done for it: the order of system calls."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.http import Wire, request
from tests.support.intake import Client, event
from tests.support.process import RelayProcess, environment
from tests.support.tracing import Call, TracedRelay, calls, traced, tracer
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

EVENTS = 20
V1 = {
    "Authorization": "Bearer phc_test",
    "User_Agent": "posthog-python/7.0.0",
    "PostHog_Sdk_Info": "posthog-python/7.0.0",
    "PostHog_Attempt": "1",
    "PostHog_Request_Id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "PostHog_Request_Timestamp": "2026-03-01T12:00:00.5+00:00",
}
BY_CLIENT = """
import sys
from leanbase_relay.client import Client

client = Client(socket_path="/nobody", spool_path=sys.argv[1])
print(client.capture("user-1", "order placed").became, flush=True)
"""


@dataclass(frozen=True, slots=True)
class Way:
    """A way in.

    Attributes:
        hand_over: an event of this number; returns when it was answered.
        answer: the call after which the producer may forget the event.
    """

    name: str
    hand_over: Callable[[RelayProcess, int], None]
    answer: re.Pattern[str]


def by_socket(relay: RelayProcess, number: int) -> None:
    with Client(relay.socket) as client:
        client.send(event(number))
        assert client.reply() == {"stored": 1, "refused": 0}


def by_spool(relay: RelayProcess, number: int) -> None:
    hidden = relay.spool / f".{number}"
    hidden.write_bytes(event(number))
    file = hidden.rename(relay.spool / f"{number}.jsonl")
    eventually(lambda: not file.exists())


def by_http(relay: RelayProcess, number: int) -> None:
    body = b'{"api_key":"phc_test","batch":[%b]}' % event(number)
    post(relay, request(body))


def by_v1(relay: RelayProcess, number: int) -> None:
    body = b'{"created_at":"2026-03-01T12:00:00Z","batch":[%b]}' % event(number)
    post(relay, request(body, path="/i/v1/analytics/events", **V1))


def post(relay: RelayProcess, sent: bytes) -> None:
    with Wire(relay.directory / "http.sock") as wire:
        wire.send(sent)
        answer = wire.hear()
        assert answer.status == 200, answer


# Each way in has its line here.
WAYS = (
    Way("socket", by_socket, re.compile(r"sendto .*\\\"stored\\\":1,")),
    Way("spool", by_spool, re.compile(r"unlink(at)? .*\.jsonl")),
    Way("http", by_http, re.compile(r"(sendto|sendmsg|writev) .*HTTP/1\.1 200")),
    Way("v1", by_v1, re.compile(r"(sendto|sendmsg|writev) .*HTTP/1\.1 200")),
)


@traced("an event is answered after the sync")
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_an_event_is_answered_after_the_sync_of_its_log_has_returned(
    short_dir: Path, way: Way
) -> None:
    relay = TracedRelay(short_dir, settings=all_ways(short_dir))
    with relay:
        eventually(relay.spool.is_dir)
        for number in range(EVENTS):
            way.hand_over(relay, number)
        assert relay.status()["totals"]["accepted"] == EVENTS
        assert relay.stop() == 0

    seen = relay.calls()
    log = relay.store.with_name("relay.db-wal")
    for number in range(EVENTS):
        came = first(call for call in seen if reads_event(call, number))
        answer = first(call for call in seen if is_answer(call, way, came.ended))
        written = [
            call.ended
            for call in seen
            if call.is_write_to(log) and came.ended < call.began < answer.began
        ]
        assert written, f"event {number} is answered, and nothing was written"
        assert is_synced(log, seen, after=max(written), before=answer.began), (
            f"event {number} is answered before what was written for it is synced"
        )


@traced("what a start creates is there after a power cut")
def test_what_a_start_creates_has_its_name_on_the_disk_before_the_first_answer(
    short_dir: Path,
) -> None:
    """1. Nothing is there yet. 2. A clean stop has taken the log away."""
    store = short_dir / "new" / "store" / "relay.db"
    settings = all_ways(short_dir) | {"store": {"path": str(store)}}
    log = store.with_name("relay.db-wal")
    relay = TracedRelay(short_dir, settings=settings)
    for created in ([store.parent.parent, store.parent, store, log], [log]):
        with relay:
            by_socket(relay, 0)
            assert relay.stop() == 0

        seen = relay.calls()
        answer = first(call for call in seen if is_answer(call, WAYS[0], 0))
        for path in created:
            made = first(call for call in seen if call.creates(path))
            assert is_synced(path.parent, seen, after=made.ended, before=answer.began)


@traced("a log that was left is read from the disk")
def test_the_log_of_a_killed_relay_is_read_as_the_disk_has_it(short_dir: Path) -> None:
    """Not as the kernel has it, which may believe in an fsync that had failed."""
    relay = TracedRelay(short_dir)
    with relay:
        by_socket(relay, 0)
        relay.kill()
        relay.start()
        assert relay.stop() == 0

    log = relay.store.with_name("relay.db-wal")
    seen = relay.calls()
    read = first(call for call in seen if call.name == "pread64" and call.is_of(log))
    forgotten = first(call for call in seen if call.forgets(log))
    assert is_synced(log, seen, after=-1, before=forgotten.began)
    assert forgotten.ended < read.began


@traced("a directory made for spool files is there after a power cut")
def test_a_spool_directory_that_the_relay_makes_has_its_name_on_the_disk(
    short_dir: Path,
) -> None:
    spool = short_dir / "new" / "spool"
    relay = TracedRelay(short_dir, settings={"spool": {"path": str(spool)}})
    with relay:
        eventually(spool.is_dir)
        assert relay.stop() == 0

    seen = relay.calls()
    for path in (spool.parent, spool):
        made = first(call for call in seen if call.creates(path))
        assert is_synced(path.parent, seen, after=made.ended)


@traced("a spooled event is there after a power cut")
def test_the_client_says_spooled_when_the_file_and_its_name_are_on_the_disk(
    short_dir: Path,
) -> None:
    trace, spool = short_dir / "trace", short_dir / "spool"
    spool.mkdir()
    said = subprocess.run(
        [*tracer(trace), sys.executable, "-c", BY_CLIENT, spool],
        stdout=subprocess.PIPE,
        check=True,
        env=environment({}),
    )
    assert said.stdout == b"spooled\n"

    (file,) = spool.iterdir()
    hidden = spool / f".{file.stem}.tmp"
    steps: list[Callable[[Call], bool]] = [
        lambda call: call.is_write_to(hidden),
        lambda call: call.is_sync_of(hidden),
        lambda call: call.name == "rename" and f'"{file}"' in call.text,
        lambda call: call.is_sync_of(spool),
        lambda call: call.name == "write" and "spooled" in call.text,
    ]
    seen, at = calls(trace), -1
    for step in steps:
        done = first(call for call in seen if step(call) and call.began > at)
        at = done.ended


def all_ways(directory: Path) -> dict[str, dict[str, Any]]:
    return {
        "spool": {"path": str(directory / "spool"), "scan_interval": "200ms"},
        "http": {"listen": [f"unix:{directory / 'http.sock'}"]},
    }


def reads_event(call: Call, number: int) -> bool:
    is_reading = call.name in ("read", "pread64", "recvfrom")
    return is_reading and f"-{number:012x}" in call.text


def is_answer(call: Call, way: Way, after: int) -> bool:
    said = f"{call.name} {call.text}"
    return call.began > after and way.answer.match(said) is not None


def is_synced(
    path: Path, seen: list[Call], *, after: float, before: float = float("inf")
) -> bool:
    return any(
        call.is_sync_of(path) and after < call.began and call.ended < before
        for call in seen
    )


def first(found: Iterator[Call]) -> Call:
    call = next(found, None)
    assert call is not None, "such a call was not made"
    return call
