"""`doctor` finds what is wrong, says what to type, and changes nothing."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from leanbase_relay.sink import Sink
from leanbase_relay.store import aside
from leanbase_relay.store.checkup import has_reset_defect
from leanbase_relay.store.store import Store
from tests.support.damage import (
    Content,
    fill,
    noise,
    overwrite,
    overwrite_page,
    page_of,
    stopped_store,
)
from tests.support.process import RelayProcess, as_nobody
from tests.support.root import only_root

pytestmark = pytest.mark.process

NOBODY = 65534


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Content:
    path = tmp_path_factory.mktemp("sound") / "relay.db"
    return stopped_store(path, chunks=40, longest=30_000)


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture
def relay(short_dir: Path, sound: Content, sink: Sink) -> RelayProcess:
    """Stopped, with a store; all is well around it."""
    relay = healthy(short_dir, sink)
    sound.copy_to(short_dir)
    relay.store.chmod(0o640)
    return relay


def healthy(directory: Path, sink: Sink) -> RelayProcess:
    relay = RelayProcess(directory, sink.url)
    relay.config.chmod(0o640)
    return relay


def doctor(relay: RelayProcess) -> tuple[int, dict[str, Any]]:
    """Its exit code, and its findings by what was looked at."""
    done = relay.command("doctor", "--json")
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert set(told) == {"healthy", "findings"}
    assert told["healthy"] is (done.returncode == 0)
    for finding in told["findings"]:
        assert set(finding) == {"look", "state", "found", "mend"}
    return done.returncode, {finding["look"]: finding for finding in told["findings"]}


def files(relay: RelayProcess) -> dict[str, bytes]:
    return {
        file.name: file.read_bytes()
        for file in relay.directory.iterdir()
        if file.name.startswith("relay.db") and not file.name.endswith(("-shm", "-wal"))
    }


def test_a_sound_store_is_looked_at_whole(relay: RelayProcess, sound: Content) -> None:
    before = files(relay)

    code, found = doctor(relay)

    assert code == 0
    assert list(found) == [
        *("configuration", "keys", "daemon", "config file", "permissions", "sockets"),
        *("disk", "SQLite", "store", "pages", "checksums", "dead letters", "set aside"),
        *("spool", "proxy", "DNS", "TLS", "upstream", "clock"),
    ]
    assert f"{len(sound.data)} chunks with" in found["checksums"]["found"]
    assert "/s: all are right" in found["checksums"]["found"]
    assert found["dead letters"]["mend"] == "leanbase-relay dead-letters list"
    assert files(relay) == before


def test_it_is_told_to_people_too(relay: RelayProcess) -> None:
    done = relay.command("doctor")

    assert done.returncode == 0
    assert "\nok        pages" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_before_the_first_start_there_is_nothing_wrong(
    short_dir: Path, sink: Sink
) -> None:
    relay = healthy(short_dir, sink)

    code, found = doctor(relay)

    assert code == 0
    assert "not there yet" in found["store"]["found"]
    assert "pages" not in found
    assert not relay.store.exists()


def test_beside_a_running_relay_it_reads(relay: RelayProcess) -> None:
    with relay:
        code, found = doctor(relay)
        ill = [look for look, one in found.items() if one["state"] == "attention"]
        # A store of noise has events of a project that is not configured.
        assert (code, ill) == (1, ["daemon"])
        assert f"pid {relay.pid}" in found["daemon"]["found"]
        assert found["pages"]["state"] == "ok"
        assert relay.status()["running"]


def test_the_pages_of_a_large_store_at_work_are_left_for_later(
    relay: RelayProcess,
) -> None:
    with closing(Store.open(relay.store)) as store, store.transaction():
        store._conn.execute(
            "insert into dead_letter (door, project, reason, origin, died_at_ms, line)"
            " values ('intake', 'other', 'no', 'test', 1, zeroblob(70000000))"
        )
    with relay:
        _, found = doctor(relay)

    assert found["pages"]["state"] == "note"
    assert "stop the relay" in found["pages"]["mend"]


@pytest.mark.parametrize("where", ["header", "tree", "length"])
def test_a_damaged_store_is_found_and_left_as_it_is(
    relay: RelayProcess, sound: Content, where: str
) -> None:
    if where == "header":
        overwrite(relay.store, 0, bytes(100))
    elif where == "tree":
        overwrite_page(relay.store, sound.roots["chunk"], noise(1))
    else:
        os.truncate(relay.store, relay.store.stat().st_size // 2)
    before = files(relay)

    code, found = doctor(relay)

    assert code == 1
    assert found["store"]["state"] == "attention"
    assert "is damaged" in found["store"]["found"]
    assert "start the relay" in found["store"]["mend"]
    assert "checksums" not in found
    assert files(relay) == before


def test_a_flipped_bit_in_a_chunk_is_found(relay: RelayProcess, sound: Content) -> None:
    number = max(sound.data)
    overwrite(
        relay.store, relay.store.read_bytes().index(sound.data[number][-99:]), b"x"
    )

    code, found = doctor(relay)

    assert code == 1
    assert "the checksum of 1 is wrong" in found["checksums"]["found"]
    assert f"chunk {number}" in found["checksums"]["found"]
    assert found["store"]["state"] == found["pages"]["state"] == "ok"


def test_what_only_a_whole_look_finds_can_be_mended_by_hand(
    relay: RelayProcess, sound: Content
) -> None:
    """A page where a chunk goes on that is not there."""
    number = next(n for n, places in sound.places.items() if len(places) > 2)
    overwrite_page(relay.store, sound.places[number][1], b"\xff\xff\xff\xff")

    code, found = doctor(relay)
    assert code == 1
    assert found["store"]["state"] == "ok"
    assert found["pages"]["state"] == "attention"
    assert f"touch {aside.suspected(relay.store)}" in found["pages"]["mend"]
    assert "damage was met" in found["chunks"]["found"]

    aside.suspected(relay.store).touch()
    with relay:
        relay.stop()
    code, found = doctor(relay)
    assert found["pages"]["state"] == "ok"
    assert found["set aside"]["state"] == "attention"
    assert "events were salvaged" in found["set aside"]["found"]
    assert "then rm " in found["set aside"]["mend"]


def test_a_damaged_log_is_found(relay: RelayProcess) -> None:
    store = Store.open(relay.store)
    fill(store, chunks=20, longest=3000, first=40)
    log = relay.store.with_name("relay.db-wal")
    copy, kept = relay.store.read_bytes(), log.read_bytes()
    store.close()
    relay.store.write_bytes(copy)
    log.write_bytes(kept[:5000] + b"damaged" + kept[5007:])
    log.chmod(0o640)

    code, found = doctor(relay)

    assert code == 1
    assert "of its log is damaged" in found["store"]["found"]


def test_the_database_of_another_program_is_named(relay: RelayProcess) -> None:
    relay.store.unlink()
    with closing(sqlite3.connect(relay.store)) as conn:
        conn.execute("create table songs (title)")

    code, found = doctor(relay)

    assert code == 1
    assert "another program's" in found["store"]["found"]


def test_files_that_others_may_read_are_named(relay: RelayProcess) -> None:
    relay.store.chmod(0o644)

    code, found = doctor(relay)

    assert code == 1
    assert "every user of this machine" in found["permissions"]["found"]
    assert "chmod o=" in found["permissions"]["mend"]


@only_root
def test_files_of_somebody_else_are_named(relay: RelayProcess) -> None:
    os.chown(relay.store, 65534, 65534)

    code, found = doctor(relay)

    assert code == 1
    assert "are not root's" in found["permissions"]["found"]
    assert "sudo chown root:" in found["permissions"]["mend"]


@only_root
@pytest.mark.parametrize("there", [True, False])
def test_a_directory_that_this_user_may_not_write_is_not_right(
    relay: RelayProcess, *, there: bool
) -> None:
    """Its group may look at it, and so at the findings."""
    for path in (relay.directory, *relay.directory.iterdir()):
        os.chown(path, 0, NOBODY)
    relay.directory.chmod(0o750)
    if not there:
        above = relay.directory / "store"
        relay.configure(settings={"store": {"path": str(above / "relay.db")}})

    done = as_nobody("doctor", "--json", "-c", str(relay.config))

    assert done.stdout, done.stderr
    found = json.loads(done.stdout)["findings"]
    (permissions,) = [one for one in found if one["look"] == "permissions"]
    assert permissions["state"] == "attention"
    assert "may not be written by nobody" in permissions["found"]
    assert "nobody" in permissions["mend"]


def test_a_wrong_configuration_is_all_that_it_says(relay: RelayProcess) -> None:
    relay.config.write_text(yaml.safe_dump({"store": {"max_bytes": "plenty"}}))

    code, found = doctor(relay)

    assert code == 1
    assert list(found) == ["configuration"]
    assert "store.max_bytes" in found["configuration"]["found"]


def test_keys_that_are_for_the_daemon_alone_are_a_note(
    relay: RelayProcess, sink: Sink
) -> None:
    relay.configure(sink.url, {"projects": {"default": None}})

    code, found = doctor(relay)

    assert code == 0
    assert found["keys"]["state"] == "note"
    assert "phc_" not in found["keys"]["found"]


@pytest.mark.parametrize(
    ("version", "defect"),
    [
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 53, 0), False),
    ],
)
def test_the_defect_of_sqlite_is_known_by_its_version(
    version: tuple[int, ...], *, defect: bool
) -> None:
    assert has_reset_defect(version) is defect


def test_a_page_is_a_page(sound: Content) -> None:
    """The places that these tests damage are those that they think."""
    assert page_of(sound.path, sound.roots["chunk"])[0] in (0x05, 0x0D)
