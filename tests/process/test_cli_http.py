"""The capture API of the installed daemon: where it listens, and how it ends."""

import json
import signal
import socket
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
import requests

from leanbase_relay.sink import Sink
from leanbase_relay.store.chunk import split, unpack
from leanbase_relay.store.reader import Reader
from leanbase_relay.store.totals import BEGINNING
from tests.support.http import OK, Wire, batch, event, request, spelled
from tests.support.ports import free_port
from tests.support.process import WITHIN_SECONDS, RelayProcess, relay_command
from tests.support.waiting import eventually

pytestmark = pytest.mark.process


def listening(*addresses: str, **more: Any) -> dict[str, Any]:
    return {"http": {"listen": list(addresses)}, **more}


def post(port: int, body: Any) -> tuple[int, str]:
    answer = requests.post(f"http://127.0.0.1:{port}/batch/", json=body, timeout=10)
    return answer.status_code, answer.text


def test_it_listens_on_every_address_and_leaves_no_socket_behind(
    short_dir: Path,
) -> None:
    port, path = free_port(), short_dir / "http.sock"
    settings = listening(f"localhost:{port}", f"unix:{path}")
    with Sink() as sink, RelayProcess(short_dir, sink.url, settings) as relay:
        assert post(port, batch(event(1))) == OK
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with Wire(path) as client:
            client.send(request(spelled(batch(event(2)))))
            assert client.hear()[:2] == OK

        assert sink.wait_for(2, WITHIN_SECONDS)
        assert relay.stop() == 0
        assert not path.exists()


def test_without_an_address_aiohttp_is_not_even_imported(short_dir: Path) -> None:
    """It takes 12 MB."""
    with RelayProcess(short_dir) as relay:
        maps = Path(f"/proc/{relay.pid}/maps").read_text()

    assert "_http_parser" not in maps
    assert "isal" in maps


def test_a_port_that_is_taken_ends_the_start_with_a_sentence(short_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        relay = RelayProcess(short_dir, settings=listening(f"127.0.0.1:{port}"))
        relay.launch()

        assert relay.wait() == 1
    assert f"another process listens on 127.0.0.1:{port}; stop it" in relay.log


def test_an_address_for_everybody_is_refused_with_the_remedy(short_dir: Path) -> None:
    relay = RelayProcess(short_dir, settings=listening("0.0.0.0:8010"))

    done = relay_command("check-config", "-c", relay.config)

    assert done.returncode == 78
    assert "http.listen: ['0.0.0.0:8010'] goes too far" in done.stderr
    assert "unix:/path" in done.stderr


def test_a_new_key_counts_after_sighup(short_dir: Path) -> None:
    port = free_port()
    settings = listening(f"127.0.0.1:{port}")
    with RelayProcess(short_dir, settings=settings) as relay:
        new = {"projects": {"default": {"api_key": "phc_new"}}}
        relay.configure(settings={**settings, **new})
        relay.signal(signal.SIGHUP)

        eventually(lambda: post(port, batch(event(1), key="phc_new")) == OK)
        assert post(port, batch(event(1)))[0] == 401
        assert relay.stop() == 0


def test_other_addresses_need_a_restart_and_say_so(short_dir: Path) -> None:
    settings = listening(f"127.0.0.1:{free_port()}")
    with RelayProcess(short_dir, settings=settings) as relay:
        relay.configure(settings=listening(f"127.0.0.1:{free_port()}"))
        relay.signal(signal.SIGHUP)

        (problem,) = eventually(lambda: relay.status()["problems"])
        assert problem == "The configuration changed in http: restart the relay."


def test_a_second_sighup_does_not_hide_that_a_restart_is_needed(
    short_dir: Path,
) -> None:
    """1. Another address. 2. The same again. 3. The one of the start."""
    first = listening(f"127.0.0.1:{free_port()}")
    with RelayProcess(short_dir, settings=first) as relay:

        def reloaded(times: int) -> list[str]:
            relay.signal(signal.SIGHUP)
            eventually(lambda: relay.log.count("config_reloaded") == times)
            problems: list[str] = relay.status()["problems"]
            return problems

        relay.configure(settings=listening(f"127.0.0.1:{free_port()}"))
        assert len(reloaded(1)) == 1
        assert len(reloaded(2)) == 1
        relay.configure(settings=first)
        assert reloaded(3) == []


def test_a_request_that_is_on_its_way_at_the_stop_is_finished(short_dir: Path) -> None:
    path = short_dir / "http.sock"
    whole = request(spelled(batch(event(1))))
    with RelayProcess(short_dir, settings=listening(f"unix:{path}")) as relay:
        with Wire(path) as client:
            client.send(whole[:-5])
            eventually(lambda: relay.status()["running"])
            relay.signal(signal.SIGTERM)
            eventually(lambda: is_refused(path))
            client.send(whole[-5:])
            heard = client.hear()

        assert heard[:2] == OK
        assert heard.headers["connection"] == "close"
        assert relay.wait() == 0
        assert stored_uuids(relay) == {event(1)["uuid"]}


def is_refused(path: Path) -> bool:
    try:
        Wire(path).socket.close()
    except OSError:
        return True
    return False


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_whoever_heard_200_has_it_on_the_disk(short_dir: Path, end: str) -> None:
    """However it ends; at a stop, what was begun is finished."""
    port = free_port()
    heard: list[int] = []

    def work(first: int) -> None:
        with requests.Session() as session:
            for number in range(first, first + 10_000):
                body = spelled(batch(event(number)))
                try:
                    answer = session.post(
                        f"http://127.0.0.1:{port}/batch/", data=body, timeout=10
                    )
                except requests.ConnectionError:
                    return
                assert answer.status_code == 200
                heard.append(number)

    with RelayProcess(short_dir, settings=listening(f"127.0.0.1:{port}")) as relay:
        clients = [
            threading.Thread(target=work, args=(10_000 * client,))
            for client in range(8)
        ]
        for client in clients:
            client.start()
        eventually(lambda: len(heard) > 200, WITHIN_SECONDS)
        if end == "stop":
            assert relay.stop() == 0
        else:
            relay.kill()
        for client in clients:
            client.join()
        exported = stored_uuids(relay)

    assert {event(number)["uuid"] for number in heard} <= exported
    assert len(exported) <= len(heard) + len(clients)


def stored_uuids(relay: RelayProcess) -> set[str]:
    reader = Reader(relay.store)
    try:
        chunks = reader.peek(
            "default", BEGINNING, max_events=1 << 30, max_bytes=1 << 40
        )
        stored = [one for chunk in chunks for one in split(unpack(chunk.packed))]
    finally:
        reader.close()
    return {json.loads(one)["uuid"] for one in stored}
