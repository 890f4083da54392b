"""Many producers at once, and a relay that is killed and started again among them.

Each producer is a child that sends until the file ``enough`` is there, and prints a
line for each event: its uuid, what became of it, and why.
"""

import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from leanbase_relay.sink import Request, Sink
from tests.support.process import RelayProcess
from tests.support.waiting import eventually

ENOUGH_EVENTS = 300
WITHIN_SECONDS = 60
UNACKED_BATCHES = 2
"""At a kill: one that the upstream took, with its ack on the way, and the next."""

_NOT_SENT = ("No such file", "Connection refused", "a moment ago")

Command = Sequence[str | Path]


@dataclass(frozen=True)
class Told:
    """What a producer was told of one event."""

    uuid: str
    became: str
    reason: str

    @classmethod
    def of(cls, line: str) -> Self:
        uuid, became, reason = line.rstrip("\n").split(" ", 2)
        return cls(uuid, became, reason)

    @property
    def is_unread(self) -> bool:
        """Whether the relay may have it although the producer was not told."""
        sent = not any(words in self.reason for words in _NOT_SENT)
        return self.became == "spooled" and sent


@dataclass(frozen=True)
class Story:
    """What producers were told, and what came upstream."""

    told: list[Told]
    sink: Sink
    unacked: frozenset[str]
    """uuids in the last batches that the upstream took before the kill."""
    totals: dict[str, int]


def around_a_kill(
    directory: Path, commands: Callable[[RelayProcess], list[Command]]
) -> Story:
    """Start producers, kill the relay among their events, start it, let all arrive."""
    spool = directory / "spool"
    settings = {"spool": {"path": str(spool), "scan_interval": "200ms"}}
    enough = directory / "enough"
    with Sink() as sink, RelayProcess(directory, sink.url, settings) as relay:
        eventually(spool.is_dir)
        with Crowd(commands(relay), directory, enough) as crowd:
            eventually(lambda: accepted(relay) >= ENOUGH_EVENTS, within=WITHIN_SECONDS)
            relay.kill()
            eventually(lambda: files_in(spool) >= crowd.size, within=WITHIN_SECONDS)
            unacked = frozenset(
                event["uuid"]
                for request in batches(sink)[-UNACKED_BATCHES:]
                for event in request.events
            )
            relay.start()
            before = accepted(relay) + files_in(spool)
            eventually(
                lambda: accepted(relay) >= before + ENOUGH_EVENTS, within=WITHIN_SECONDS
            )
            enough.touch()
            told = crowd.told()
        eventually(lambda: not any(spool.iterdir()), within=WITHIN_SECONDS)
        eventually(
            lambda: relay.status()["backlog"]["events"] == 0, within=WITHIN_SECONDS
        )
        totals = relay.status()["totals"]
        assert relay.stop() == 0
    return Story(told, sink, unacked, totals)


def check(story: Story) -> None:
    """None lost, none twice, and none refused."""
    sent = {told.uuid: told for told in story.told}
    assert len(sent) == len(story.told), "each event has a uuid of its own"
    became = Counter(told.became for told in story.told)
    assert became.keys() == {"stored", "spooled"}, became

    rows = Counter(uuid for *_, uuid in story.sink.rows)
    assert sent.keys() - rows.keys() == set(), "lost"
    assert rows.keys() - sent.keys() == set(), "made up"
    assert {uuid for uuid, count in rows.items() if count > 1} == set(), "two rows"

    unread = {told.uuid for told in story.told if told.is_unread}
    received = Counter(event["uuid"] for event in story.sink.events)
    for uuid, count in received.items():
        allowed = 1 + (uuid in unread) + (uuid in story.unacked)
        assert count <= allowed, f"{sent[uuid]}: {count} times"
    totals = story.totals
    assert totals["accepted"] == totals["delivered"]
    assert totals["dead"] == totals["dropped"] == totals["refused"] == 0


class Crowd:
    """The producers; none outlives the `with`."""

    def __init__(self, commands: list[Command], directory: Path, enough: Path) -> None:
        self.size = len(commands)
        self._commands = commands
        self._enough = enough
        self._files = [directory / f"told-{n}" for n in range(self.size)]
        self._children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        with ExitStack() as files:
            for command, file in zip(self._commands, self._files, strict=True):
                out = files.enter_context(file.open("wb"))
                self._children.append(
                    subprocess.Popen([*command, self._enough], stdout=out)
                )
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.kill()
            child.wait()

    def told(self) -> list[Told]:
        """What all were told, once they have ended."""
        assert [child.wait(WITHIN_SECONDS) for child in self._children] == [
            0
        ] * self.size
        lines = [file.read_text().splitlines() for file in self._files]
        assert all(lines), "each had its say"
        return [Told.of(line) for each in lines for line in each]


def accepted(relay: RelayProcess) -> int:
    total: int = relay.status()["totals"]["accepted"]
    return total


def files_in(spool: Path) -> int:
    return sum(1 for _ in spool.glob("*.jsonl"))


def batches(sink: Sink) -> list[Request]:
    return [request for request in sink.requests if request.events]
