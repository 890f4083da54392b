"""The control socket: what takes its time holds nobody up, and complaints are told."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from leanbase_relay import listener
from leanbase_relay.control import MAX_CLIENTS, Aside, Command, Control, ask
from leanbase_relay.errors import NotRunning, RelayError, StoreUnavailable
from tests.support.waiting import eventually

PATIENCE_SECONDS = 10.0


class Serving:
    """A control socket whose loop has a thread of its own, as in the daemon."""

    def __init__(self, path: Path, commands: Mapping[str, Command]) -> None:
        self.path = path
        self.faults: list[Any] = []
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(
            lambda _, context: self.faults.append(context.get("exception"))
        )
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._control = Control(commands)
        started = self._control.start(listener.listen(path, mode=0o600))
        asyncio.run_coroutine_threadsafe(started, self._loop).result(PATIENCE_SECONDS)

    def ask(self, command: str, **members: Any) -> Any:
        return ask(self.path, command, timeout_seconds=PATIENCE_SECONDS, **members)

    def stop(self, within_seconds: float) -> None:
        stopped = self._control.stop(within_seconds)
        asyncio.run_coroutine_threadsafe(stopped, self._loop).result(PATIENCE_SECONDS)

    def close(self) -> None:
        self.stop(0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


Serve = Callable[[Mapping[str, Command]], Serving]


@pytest.fixture
def serve(short_dir: Path) -> Iterator[Serve]:
    servings: list[Serving] = []

    def serve(commands: Mapping[str, Command]) -> Serving:
        servings.append(Serving(short_dir / "control.sock", commands))
        return servings[-1]

    yield serve
    for serving in servings:
        serving.close()


def in_background(body: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=body)
    thread.start()
    return thread


def test_a_slow_command_does_not_hold_up_a_quick_one(serve: Serve) -> None:
    begun, may_end = threading.Event(), threading.Event()
    answers: list[Any] = []

    def slow(request: dict[str, Any]) -> dict[str, Any]:
        begun.set()
        assert may_end.wait(PATIENCE_SECONDS)
        return {"told": request["number"]}

    serving = serve({"slow": Aside()(slow), "quick": lambda _: {"quick": True}})
    waiting = in_background(lambda: answers.append(serving.ask("slow", number=7)))
    assert begun.wait(PATIENCE_SECONDS)

    assert serving.ask("quick") == {"quick": True}

    assert answers == []
    may_end.set()
    waiting.join()
    assert answers == [{"told": 7}]


def test_slow_commands_take_turns(serve: Serve) -> None:
    """So that clients cannot have any number of threads started."""
    begun, may_end = threading.Semaphore(0), threading.Semaphore(0)
    at_work: list[int] = []

    def slow(_: dict[str, Any]) -> dict[str, Any]:
        at_work.append(1)
        begun.release()
        assert may_end.acquire(timeout=PATIENCE_SECONDS)
        at_work.pop()
        return {"were_at_work": len(at_work) + 1}

    answers: list[Any] = []
    serving = serve({"slow": Aside()(slow), "quick": lambda _: {}})
    clients = [
        in_background(lambda: answers.append(serving.ask("slow"))) for _ in range(3)
    ]
    for _ in clients:
        assert begun.acquire(timeout=PATIENCE_SECONDS)
        serving.ask("quick")
        assert not begun.acquire(blocking=False)
        may_end.release()
    for client in clients:
        client.join()

    assert answers == [{"were_at_work": 1}] * 3


@pytest.mark.parametrize("aside", [False, True])
def test_a_complaint_is_the_answer(serve: Serve, *, aside: bool) -> None:
    def complaining(_: dict[str, Any]) -> Any:
        raise StoreUnavailable("store unavailable: disk I/O error")

    serving = serve({"complain": Aside()(complaining) if aside else complaining})

    for _ in range(2):
        answer = serving.ask("complain")
        assert answer == {"error": "store unavailable: disk I/O error"}
    assert serving.faults == []


@pytest.mark.parametrize("aside", [False, True])
def test_a_fault_of_ours_is_not_hidden(serve: Serve, *, aside: bool) -> None:
    """The daemon ends by it: see its exception handler."""

    def faulty(_: dict[str, Any]) -> Any:
        raise KeyError("a mistake")

    serving = serve({"faulty": Aside()(faulty) if aside else faulty})

    with pytest.raises(RelayError):
        serving.ask("faulty")

    eventually(lambda: serving.faults)
    assert isinstance(serving.faults[0], KeyError)


def test_an_unknown_command_is_told_which_there_are(serve: Serve) -> None:
    serving = serve({"status": lambda _: {}})

    assert "status" in serving.ask("frobnicate")["error"]


def test_who_waits_when_it_stops_is_answered(serve: Serve) -> None:
    """1. One waits, one is idle. 2. It stops. 3. The one is told, the other let go."""
    begun, may_end = threading.Event(), threading.Event()
    answers: list[Any] = []

    def slow(_: dict[str, Any]) -> dict[str, Any]:
        begun.set()
        assert may_end.wait(PATIENCE_SECONDS)
        raise StoreUnavailable("the relay is stopping")

    serving = serve({"slow": Aside()(slow)})
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as idle:
        idle.settimeout(PATIENCE_SECONDS)
        idle.connect(str(serving.path))
        waiting = in_background(lambda: answers.append(serving.ask("slow")))
        assert begun.wait(PATIENCE_SECONDS)
        stopping = in_background(lambda: serving.stop(PATIENCE_SECONDS))

        assert idle.recv(1) == b""

        may_end.set()
    stopping.join()
    waiting.join()
    assert answers == [{"error": "the relay is stopping"}]
    assert serving.faults == []


def test_a_command_that_does_not_end_does_not_keep_it_from_stopping(
    serve: Serve,
) -> None:
    begun, may_end = threading.Event(), threading.Event()
    outcomes: list[type[BaseException]] = []

    def endless(_: dict[str, Any]) -> None:
        begun.set()
        may_end.wait(PATIENCE_SECONDS)

    def client() -> None:
        with pytest.raises(NotRunning) as told:
            serving.ask("endless")
        outcomes.append(told.type)

    serving = serve({"endless": Aside()(endless)})
    waiting = in_background(client)
    assert begun.wait(PATIENCE_SECONDS)

    serving.stop(0)

    waiting.join()
    assert outcomes == [NotRunning]
    may_end.set()
    assert serving.faults == []


def test_a_crowd_of_clients_is_turned_away_and_the_next_is_served(serve: Serve) -> None:
    serving = serve({"status": lambda _: {"state": "idle"}})
    crowd = [socket.socket(socket.AF_UNIX) for _ in range(MAX_CLIENTS)]
    for client in crowd:
        client.connect(str(serving.path))
        client.sendall(b'{"command":')
    eventually(lambda: "error" in serving.ask("status"))

    crowd.pop().close()

    eventually(lambda: serving.ask("status") == {"state": "idle"})
    for client in crowd:
        client.close()


@pytest.mark.parametrize(
    "line",
    [
        b'{"command":"ask","x":"\\ud800"}',
        b'{"command":"ask","x":' + b"[" * 60_000,
    ],
)
def test_what_no_store_could_hold_is_answered_and_goes_no_further(
    serve: Serve, line: bytes
) -> None:
    asked: list[Any] = []
    served = serve({"ask": asked.append})

    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE_SECONDS)
        sock.connect(str(served.path))
        sock.sendall(line + b"\n")
        said = sock.recv(1000)

    assert b"error" in said
    assert asked == []
    assert served.faults == []
