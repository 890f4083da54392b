"""`dead-letters` shows, brings back and lets go, with the daemon running or stopped."""

import json
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from leanbase_relay.sink import Fault, Script, Sink
from leanbase_relay.store import lock
from leanbase_relay.store.letters import LetterReader
from tests.support.process import RelayProcess, relay_command
from tests.support.terminal import Terminal
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

RUNNING = pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
PROJECTS = {"projects": {"shop": {"api_key": "phc_shop"}}}
GOOD = b'{"event":"seen","distinct_id":"u1","properties":{"total":1.10}}\n'
BAD = b'{"event":"","distinct_id":"u2"}\n'
MEMBERS = [
    *("id", "door", "project", "event", "distinct_id", "uuid", "status", "reason"),
    *("origin", "accepted_at", "died_at", "bytes"),
]


@contextmanager
def relay_with_letters(
    directory: Path, sink: Sink, *, running: bool = True, events: int = 1
) -> Iterator[RelayProcess]:
    """A relay whose upstream refused events, and which refused a line itself."""
    with RelayProcess(directory, sink.url, PROJECTS) as relay:
        relay.command("send", stdin=GOOD * events)
        eventually(lambda: relay.status()["totals"]["dead"] == events)
        relay.command("send", stdin=BAD)
        if not running:
            relay.stop()
        yield relay


def refusing(requests: int = 1) -> Sink:
    """A sink that takes nothing from so many requests, and everything afterwards."""
    return Sink(script=Script().then(*[Fault.answer(400, "no such plan")] * requests))


def listed(relay: RelayProcess, *filters: str) -> list[dict[str, Any]]:
    done = relay.command("dead-letters", "list", "--json", *filters)
    letters: list[dict[str, Any]] = json.loads(done.stdout)
    return letters


def totals(relay: RelayProcess) -> dict[str, int]:
    _, look = relay.status_command()
    found: dict[str, int] = look["totals"] | {"backlog": look["backlog"]["events"]}
    assert found["accepted"] == sum(
        found[name] for name in ("delivered", "dead", "dropped", "backlog")
    )
    return found


# Looking.


@RUNNING
def test_letters_are_listed_for_machines(short_dir: Path, *, running: bool) -> None:
    with refusing() as sink, relay_with_letters(short_dir, sink, running=running) as r:
        line, event = listed(r)

    assert list(line) == list(event) == MEMBERS
    assert (line["id"], line["door"], line["reason"]) == (2, "intake", "event: empty")
    assert line["origin"].startswith("socket uid=")
    assert (line["status"], line["accepted_at"]) == (None, None)
    assert (event["id"], event["door"], event["status"]) == (1, "upstream", 400)
    assert "no such plan" in event["reason"]
    assert (event["event"], event["distinct_id"]) == ("seen", "u1")
    assert event["accepted_at"] <= event["died_at"]


@RUNNING
def test_letters_are_shown_to_people(short_dir: Path, *, running: bool) -> None:
    with refusing() as sink, relay_with_letters(short_dir, sink, running=running) as r:
        table = r.command("dead-letters", "list")
        letter = r.command("dead-letters", "show", "1")
        screen = r.command("status").stdout

    assert table.returncode == 0
    head, line, event, _, count = table.stdout.splitlines()
    assert head.split() == ["id", "died", "door", "project", "event", "reason"]
    assert line.split()[0] == "2"
    assert "answered 400" in event
    assert count.startswith("2 dead letters, ")
    assert '"total": 1.10' in letter.stdout
    assert "HTTP 400" in letter.stdout
    assert "dead      2 letters kept: leanbase-relay dead-letters list" in screen
    assert "The upstream refused events in the last day" in screen


def test_the_newest_hundred_are_listed_unless_it_is_said_otherwise(
    short_dir: Path,
) -> None:
    with RelayProcess(short_dir) as relay:
        relay.command("send", stdin=BAD * 103)

        assert [one["id"] for one in listed(relay)] == list(range(103, 3, -1))
        assert len(listed(relay, "--limit", "0")) == 103
        assert [one["id"] for one in listed(relay, "--limit", "2")] == [103, 102]
        table = relay.command("dead-letters", "list", "--limit", "2").stdout

    assert "The newest 2 of 103 dead letters" in table


def test_before_the_first_start_there_are_none(short_dir: Path) -> None:
    relay = RelayProcess(short_dir)

    assert listed(relay) == []
    for command in ("list", "requeue", "export"):
        done = relay.command("dead-letters", command)
        assert (done.returncode, done.stderr) == (0, "")
    purged = relay.command("dead-letters", "purge")
    assert (purged.returncode, purged.stdout) == (0, "No dead letters.\n")
    assert relay.command("purge").stdout == "Nothing of that is waiting.\n"
    assert not relay.store.exists()


def test_the_configuration_may_stand_before_the_command_or_behind(
    short_dir: Path,
) -> None:
    relay = RelayProcess(short_dir)

    behind = relay_command("dead-letters", "list", "--json", "-c", relay.config)

    assert behind.stdout == "[]\n"
    assert relay.command("dead-letters", "list", "--json").stdout == "[]\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--older-than", "soon"],
        ["list", "--door", "back"],
        ["list", "0"],
        ["list", "--limit", "-1"],
        ["show"],
        ["show", "99999999999999999999"],
        ["requeue", "all"],
    ],
)
def test_a_wrong_command_line_is_told_so(short_dir: Path, arguments: list[str]) -> None:
    assert RelayProcess(short_dir).command("dead-letters", *arguments).returncode == 2


def test_a_letter_that_is_not_there_is_named(short_dir: Path) -> None:
    with refusing() as sink, relay_with_letters(short_dir, sink) as relay:
        shown = relay.command("dead-letters", "show", "1", "77")
        back = relay.command("dead-letters", "requeue", "1", "77")

    assert shown.returncode == back.returncode == 1
    assert "there is no dead letter 77" in shown.stderr
    assert "there is no dead letter 77" in back.stderr
    assert "dead letter 1\n" in shown.stdout
    assert back.stdout == "Requeued 1 dead letter.\n"


# Bringing back.


@RUNNING
def test_what_the_upstream_refused_is_delivered_after_all(
    short_dir: Path, *, running: bool
) -> None:
    with refusing() as sink, relay_with_letters(short_dir, sink, running=running) as r:
        done = r.command("dead-letters", "requeue", "--door", "upstream")
        assert (done.returncode, done.stdout) == (0, "Requeued 1 dead letter.\n")
        if not running:
            assert totals(r)["backlog"] == 1
            r.start()
        eventually(lambda: r.status()["totals"]["delivered"] == 1)

        assert sink.counts.events == 1
        assert totals(r) == {
            **dict.fromkeys(("accepted", "delivered", "refused"), 1),
            **dict.fromkeys(("dead", "dropped", "backlog"), 0),
        }
        assert [one["door"] for one in listed(r)] == ["intake"]


@RUNNING
def test_a_line_that_is_still_wrong_is_told_and_kept(
    short_dir: Path, *, running: bool
) -> None:
    with refusing() as sink, relay_with_letters(short_dir, sink, running=running) as r:
        done = r.command("dead-letters", "requeue", "2")
        as_json = r.command("dead-letters", "requeue", "--json", "2")

        assert done.returncode == as_json.returncode == 4
        assert done.stdout == "Requeued 0 dead letters.\n"
        assert "1 dead letter cannot come back:\n  2: event: empty\n" in done.stderr
        assert json.loads(as_json.stdout) == {
            "requeued": 0,
            "left_out": 0,
            "staying": [{"id": 2, "reason": "event: empty"}],
        }
        assert len(listed(r)) == 2


def test_what_is_refused_again_and_again_is_left_out_in_the_end(
    short_dir: Path,
) -> None:
    with refusing(4) as sink, relay_with_letters(short_dir, sink) as relay:
        for death in range(2, 5):
            relay.command("dead-letters", "requeue", "--door", "upstream")
            eventually(lambda death=death: sink.counts.requests == death)  # type: ignore[misc]
            eventually(lambda: relay.status()["totals"]["dead"] == 1)
        left_out = relay.command("dead-letters", "requeue", "--door", "upstream")
        again = relay.command("dead-letters", "requeue", "--again", "--event", "seen")
        eventually(lambda: relay.status()["totals"]["delivered"] == 1)

    assert (left_out.returncode, left_out.stdout) == (0, "Requeued 0 dead letters.\n")
    assert "1 left out: requeued 3 times already; --again" in left_out.stderr
    assert again.stdout == "Requeued 1 dead letter.\n"


@pytest.mark.slow
def test_many_letters_come_back_slice_by_slice(short_dir: Path) -> None:
    """1. Lines of a project that is not there. 2. It is. 3. They are its events."""
    lines = b'{"event":"seen","distinct_id":"u1","project":"later"}\n' * 2500
    with RelayProcess(short_dir) as relay:
        relay.command("send", stdin=lines)
        relay.stop()
        relay.configure(settings={"projects": {"later": {"api_key": "phc_later"}}})
        relay.start()

        done = relay.command("dead-letters", "requeue")

        assert done.stdout == "Requeued 2,500 dead letters.\n"
        look = relay.status()
    assert look["projects"]["later"]["totals"]["accepted"] == 2500
    assert look["totals"]["refused"] == 2500
    assert look["totals"]["dead"] == 0


# Taking out.


@RUNNING
def test_lines_are_exported_and_sent_again(short_dir: Path, *, running: bool) -> None:
    with refusing() as sink, relay_with_letters(short_dir, sink, running=running) as r:
        done = r.command("dead-letters", "export")
        if not running:
            r.start()
        again = r.command("send", stdin=done.stdout.replace('""', '"x"').encode())

    event, line = done.stdout.splitlines()
    assert event.startswith(
        '{"event":"seen","distinct_id":"u1","properties":{"total":1.10}'
    )
    assert line.encode() + b"\n" == BAD
    assert again.stdout == "stored 2, refused 0\n"


def test_an_export_with_all_facts_is_an_object_a_letter(short_dir: Path) -> None:
    with RelayProcess(short_dir) as relay:
        relay.command("send", stdin=BAD + b"\xff\xfe no json\n")
        done = relay.command("dead-letters", "export", "--full")

    text, other = map(json.loads, done.stdout.splitlines())
    assert text["line"].encode() + b"\n" == BAD
    assert other["line_base64"] == "//4gbm8ganNvbg=="
    assert list(text)[: len(MEMBERS)] == MEMBERS


@RUNNING
def test_what_is_exported_and_sent_comes_back_to_where_it_was(
    short_dir: Path, *, running: bool
) -> None:
    """1. Of two projects, one of them an import. 2. Both come home by a pipe."""
    with refusing(2) as sink, RelayProcess(short_dir, sink.url, PROJECTS) as r:
        options = ("--project", "shop", "--historical-migration")
        r.command("send", *options, stdin=GOOD)
        eventually(lambda: r.status()["totals"]["dead"] == 1)
        r.command("send", stdin=GOOD)
        eventually(lambda: r.status()["totals"]["dead"] == 2)
        if not running:
            r.stop()
        exported = r.command("dead-letters", "export")
        if not running:
            r.start()
        again = r.command("send", stdin=exported.stdout.encode())
        eventually(lambda: r.status()["totals"]["delivered"] == 2)
        projects = r.status()["projects"]

        rows = {
            (row.api_key, row.historical)
            for request in sink.requests
            for row in request.rows
        }

    assert again.stdout == "stored 2, refused 0\n"
    assert {name: one["totals"]["delivered"] for name, one in projects.items()} == {
        "default": 1,
        "shop": 1,
    }
    assert rows == {("phc_shop", True), ("phc_test", False)}
    assert '"total":1.10' in exported.stdout


# Letting go.


@RUNNING
def test_what_died_after_an_export_is_not_purged_with_it(
    short_dir: Path, *, running: bool
) -> None:
    with refusing() as sink, relay_with_letters(short_dir, sink) as r:
        told = r.command("dead-letters", "export").stderr
        some = r.command("dead-letters", "export", "--door", "intake").stderr
        r.command("send", stdin=BAD)
        if not running:
            r.stop()

        done = r.command("dead-letters", "purge", "--upto", "2", "--yes")

        assert told.endswith("dead-letters purge --upto 2\n")
        assert some.endswith("purge --upto 2\n  with the same filters\n")
        assert done.stdout.startswith("Deleted 2 dead letters, ")
        assert [one["id"] for one in listed(r)] == [3]


@RUNNING
@pytest.mark.parametrize("command", ["list", "export", "purge", "requeue"])
def test_names_that_cannot_be_meant_are_a_wrong_command_line(
    short_dir: Path, command: str, *, running: bool
) -> None:
    relay = RelayProcess(short_dir, settings=PROJECTS)
    if running:
        relay.start()
    done = [
        relay.command("dead-letters", command, "--project", "shpo"),
        relay.command("dead-letters", command, "--project", "\udcff"),
        relay.command("dead-letters", command, "--event", "\udcff"),
    ]
    if running:
        assert relay.stop() == 0

    assert [one.returncode for one in done] == [2, 2, 2]
    assert "there is no project shpo; did you mean shop?" in done[0].stderr
    for one in done[1:]:
        assert r"'\udcff' is not UTF-8" in one.stderr


@RUNNING
def test_letters_are_purged(short_dir: Path, *, running: bool) -> None:
    with refusing() as sink, relay_with_letters(short_dir, sink, running=running) as r:
        asked = r.command("dead-letters", "purge")
        assert asked.returncode == 2
        assert asked.stderr.startswith("2 dead letters, ")
        assert "--yes" in asked.stderr
        assert len(listed(r)) == 2

        done = r.command("dead-letters", "purge", "--yes", "--door", "upstream")

        assert done.returncode == 0
        assert done.stdout.startswith("Deleted 1 dead letter, ")
        assert [one["id"] for one in listed(r)] == [2]
        assert totals(r)["dead"] == 1
        assert (lock.holder(r.store) is None) is not running


@pytest.mark.parametrize(
    ("answer", "code", "left"), [("y\n", 0, 0), ("n\n", 1, 2), ("\n", 1, 2)]
)
def test_a_person_is_asked(short_dir: Path, answer: str, code: int, left: int) -> None:
    with refusing() as sink, relay_with_letters(short_dir, sink) as relay:
        purge = ("dead-letters", "-c", relay.config, "purge")
        with Terminal(*purge) as terminal:
            terminal.await_text("Delete them? [y/N]")
            terminal.type(answer)
            assert terminal.wait() == code

        assert "2 dead letters, " in terminal.text
        assert len(listed(relay)) == left


def test_letters_that_are_young_are_kept(short_dir: Path) -> None:
    with RelayProcess(short_dir) as relay:
        relay.command("send", stdin=BAD)
        done = relay.command("dead-letters", "purge", "--yes", "--older-than", "1h")

        assert (done.returncode, done.stdout) == (0, "No dead letters fit that.\n")
        assert len(listed(relay)) == 1


def test_letters_that_were_given_up_are_a_problem(short_dir: Path) -> None:
    settings = {"dead_letters": {"max_bytes": "1KiB"}}
    with RelayProcess(short_dir, settings=settings) as relay:
        relay.command("send", stdin=BAD * 20)
        screen = relay.command("status").stdout
        problems = relay.status()["problems"]
        relay.command("dead-letters", "purge", "--yes")
        after = relay.status()["problems"]

    assert "16 dead letters were given up for want of room" in problems[0]
    assert "4 letters kept, 16 given up" in screen
    assert after == []


@pytest.mark.slow
def test_a_relay_that_hangs_is_named(short_dir: Path) -> None:
    with refusing() as sink, relay_with_letters(short_dir, sink) as relay:
        relay.signal(signal.SIGSTOP)

        done = relay.command("dead-letters", "requeue")
        looked = listed(relay)

    assert done.returncode == 1
    assert "does not answer" in done.stderr
    assert len(looked) == 2, "looking needs nobody's answer"


@pytest.mark.slow
def test_looking_leaves_no_trace_in_a_stopped_store(short_dir: Path) -> None:
    with refusing() as sink, relay_with_letters(short_dir, sink, running=False) as r:
        before = r.store.read_bytes()
        for command in (["list"], ["show", "1"], ["export"]):
            r.command("dead-letters", *command)

        assert r.store.read_bytes() == before
        with closing(LetterReader(r.store)) as reader:
            assert reader.highest() == 2
