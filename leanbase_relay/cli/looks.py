"""The looks of `doctor`: each at one thing, with what was found and what to type.

A look is a function from the patient to findings. To add one, write it and put it into
`LOOKS`; it changes nothing, and beside a running daemon it is short.
"""

import os
import re
import sqlite3
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from leanbase_relay import config as configuration
from leanbase_relay.cli.common import ask
from leanbase_relay.cli.finding import Finding, Look, Patient, State
from leanbase_relay.cli.looks_around import (
    look_at_clock,
    look_at_config_file,
    look_at_sockets,
    look_at_spool,
    look_at_watching,
)
from leanbase_relay.cli.looks_upstream import look_at_names, look_at_upstream
from leanbase_relay.cli.words import count, size
from leanbase_relay.clock import Clock
from leanbase_relay.config import ProjectConfig
from leanbase_relay.errors import ConfigError, RelayError, StoreError
from leanbase_relay.store import aside, checkup, damage, lock, place
from leanbase_relay.store.place import name_of_group, name_of_user
from leanbase_relay.store.reader import Reader
from leanbase_relay.store.size import file_bytes, log_path

LITTLE_ROOM_BYTES = 64 << 20
_KEY_BEGINS = "phc_"
_UNSEEN = re.compile(r"has no key|: cannot read ")
WHOLE_LOOK_BYTES = 64 << 20
"""Of a larger store the pages are not checked while the daemon is at work."""


def look_at_keys(patient: Patient) -> Iterator[Finding]:
    """Whether each project's key can be found; from here it may be another's secret."""
    if patient.keyed is not None:
        yield _kind_of_keys(patient.keyed)
        return
    unseen = [one for one in patient.key_problems if _UNSEEN.search(one)]
    for problem in patient.key_problems:
        if problem not in unseen:
            mend = f"write the project's key, which begins with {_KEY_BEGINS}"
            yield Finding("keys", State.ATTENTION, problem, mend)
    if unseen:
        yield Finding(
            "keys",
            State.NOTE,
            f"not seen from here: {'; '.join(unseen)}",
            "as a credential of systemd's they are for the daemon alone; else give "
            "api_key or api_key_file",
        )


def _kind_of_keys(projects: Mapping[str, ProjectConfig]) -> Finding:
    strange = [
        name
        for name, project in projects.items()
        if not project.api_key.reveal().startswith(_KEY_BEGINS)
    ]
    if strange:
        found = f"that of {', '.join(strange)} does not begin with {_KEY_BEGINS}"
        mend = "compare it with the project's settings upstream"
        return Finding("keys", State.NOTE, found, mend)
    return Finding("keys", State.OK, f"found, for {', '.join(projects)}")


def look_at_daemon(patient: Patient) -> Iterator[Finding]:
    """Whether it runs, and what it complains about itself."""
    if patient.pid is None:
        yield Finding("daemon", State.OK, "not running; the store is looked at whole")
        return
    try:
        status = ask(patient.config, "status")
    except RelayError as error:
        yield Finding("daemon", State.ATTENTION, str(error), "leanbase-relay status")
        return
    found = f"running, pid {patient.pid}, {status['state'].replace('_', ' ')}"
    if problems := status["problems"]:
        found += f", with {count(len(problems), 'problem')}: {problems[0]}"
        yield Finding("daemon", State.ATTENTION, found, "leanbase-relay status")
    else:
        yield Finding("daemon", State.OK, f"{found}; only read from")


def look_at_permissions(patient: Patient) -> Iterator[Finding]:
    """Whether the files belong to one user, and are for nobody else."""
    directory = patient.store.parent
    try:
        owner = directory.stat().st_uid
        files = [
            (path, path.stat())
            for path in sorted(directory.glob(f"{patient.store.name}*"))
        ]
    except FileNotFoundError:
        found = f"{directory} is not there yet"
        above = next(path for path in directory.parents if path.exists())
        if _not_writable([above]):
            user = name_of_user(os.geteuid())
            found += f", and {above} may not be written by {user} to make it"
            mend = f"sudo install -d -o {user} -m 0750 {directory}"
            yield Finding("permissions", State.ATTENTION, found, mend)
        else:
            found += "; the first start makes it"
            yield Finding("permissions", State.OK, found)
        return
    except PermissionError:
        found = f"{directory} may not be looked into"
        yield Finding("permissions", State.ATTENTION, found, "use sudo")
        return
    if strange := [path.name for path, look in files if look.st_uid != owner]:
        user = name_of_user(owner)
        found = f"{', '.join(strange)} in {directory} are not {user}'s"
        mend = f"sudo chown {user}: {directory}/{patient.store.name}*"
        yield Finding("permissions", State.ATTENTION, found, mend)
    open_to_all = [path.name for path, look in files if look.st_mode & stat.S_IRWXO]
    if open_to_all:
        found = f"{', '.join(open_to_all)} can be read by every user of this machine"
        mend = f"sudo chmod o= {directory}/{patient.store.name}*"
        yield Finding("permissions", State.ATTENTION, found, mend)
    closed = [] if patient.pid else _not_writable([directory, *dict(files)])
    if closed:
        user = name_of_user(os.geteuid())
        found = f"{closed[0]} may not be written by {user}, as whom doctor runs"
        mend = (
            f"if the relay is to run as {user}: sudo chown {user}: {directory} "
            f"{directory}/{patient.store.name}*; else run doctor as its user"
        )
        yield Finding("permissions", State.ATTENTION, found, mend)
    if not (strange or open_to_all or closed):
        look = directory.stat()
        whose = f"{name_of_user(look.st_uid)}:{name_of_group(look.st_gid)}"
        yield Finding("permissions", State.OK, f"{directory} is {whose}'s")


def look_at_disk(patient: Patient) -> Iterator[Finding]:
    """Whether the store can grow to its bound."""
    place = next((p for p in patient.store.parents if p.is_dir()), Path("/"))
    disk = os.statvfs(place)
    free = disk.f_bavail * disk.f_frsize
    used = file_bytes(str(patient.store)) + file_bytes(log_path(patient.store))
    wanted = max(patient.config.store.max_bytes - used, 0)
    found = f"{size(free)} free, the store may grow by {size(wanted)}"
    if disk.f_flag & os.ST_RDONLY:
        found = f"{place} is on a file system that can only be read"
        yield Finding("disk", State.ATTENTION, found, "dmesg says why; mount it again")
    elif free < min(wanted, LITTLE_ROOM_BYTES):
        mend = "make room, or events are refused when it is used up"
        yield Finding("disk", State.ATTENTION, found, mend)
    elif free < wanted:
        mend = "lower store.max_bytes, or make room"
        yield Finding("disk", State.NOTE, found, mend)
    else:
        yield Finding("disk", State.OK, found)


def look_at_sqlite(_: Patient) -> Iterator[Finding]:
    """Which SQLite it is."""
    version = sqlite3.sqlite_version
    if checkup.has_reset_defect(sqlite3.sqlite_version_info):
        found = (
            f"version {version} has the WAL-reset defect: harmless, since only two "
            "connections that write can meet it, and the relay has one"
        )
        yield Finding("SQLite", State.NOTE, found)
    else:
        yield Finding("SQLite", State.OK, f"version {version}")


def look_at_store(patient: Patient) -> Iterator[Finding]:
    """What a start would say of it."""
    if not patient.is_ours:
        return  # and that is said
    if patient.fault is not None:
        yield Finding(
            "store",
            State.ATTENTION,
            f"{patient.store} is damaged: {patient.fault}",
            "start the relay, or restart it: it sets the file aside, salvages what can "
            "be read, and says what that was",
        )
    elif not patient.has_store:
        found = f"{patient.store} is not there yet; the first start makes it"
        yield Finding("store", State.OK, found)
    else:
        used = file_bytes(str(patient.store)) + file_bytes(log_path(patient.store))
        found = (
            f"{patient.store}, {size(used)}: header, schema, log and totals are right"
        )
        yield Finding("store", State.OK, found)


def look_at_pages(patient: Patient) -> Iterator[Finding]:
    """What SQLite's own check of every page finds."""
    if not patient.has_store:
        return
    if patient.pid is not None and file_bytes(str(patient.store)) > WHOLE_LOOK_BYTES:
        found = (
            "not checked: that would keep the log of a store at work from being reset"
        )
        yield Finding("pages", State.NOTE, found, "stop the relay, then ask again")
        return
    faults = checkup.faults_of_pages(patient.store)
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        yield Finding(
            "pages",
            State.ATTENTION,
            f"SQLite finds: {faults[0]}{more}",
            _salvage_by_hand(patient),
        )
    else:
        yield Finding("pages", State.OK, "SQLite's integrity check finds nothing")


def look_at_chunks(patient: Patient) -> Iterator[Finding]:
    """Whether each chunk is what was stored."""
    if not patient.has_store:
        return
    looked = checkup.check_chunks(patient.store, patient.clock)
    rate = looked.bytes / max(looked.seconds, 0.001)
    found = (
        f"{count(looked.chunks, 'chunk')} with {count(looked.events, 'event')}, "
        f"{size(looked.bytes)} at {size(round(rate))}/s"
    )
    if looked.damaged:
        found += (
            f": the checksum of {len(looked.damaged)} is wrong, first of chunk "
            f"{looked.damaged[0]}, {count(looked.damaged_events, 'event')}"
        )
        mend = (
            "nothing to do: when its turn comes each is put right, or kept as a dead "
            "letter"
        )
        yield Finding("checksums", State.ATTENTION, found, mend)
    else:
        yield Finding("checksums", State.OK, f"{found}: all are right")


def look_at_dead_letters(patient: Patient) -> Iterator[Finding]:
    """Whether there are any."""
    if not patient.has_store:
        return
    with closing(Reader(patient.store)) as reader:
        letters = sum(one.dead_letters for one in reader.totals().values())
    if letters:
        mend = "leanbase-relay dead-letters list"
        yield Finding("dead letters", State.NOTE, f"{letters:,} are kept", mend)
    else:
        yield Finding("dead letters", State.OK, "none")


def look_at_set_aside(patient: Patient) -> Iterator[Finding]:
    """Damaged stores of former times."""
    reports = aside.reports(patient.store)
    for report in reports:
        yield Finding("set aside", State.ATTENTION, report.summary(), report.mend)
    if not reports:
        yield Finding("set aside", State.OK, "none")


LOOKS: tuple[Look, ...] = (
    look_at_keys,
    look_at_daemon,
    look_at_config_file,
    look_at_permissions,
    look_at_sockets,
    look_at_disk,
    look_at_sqlite,
    look_at_store,
    look_at_pages,
    look_at_chunks,
    look_at_dead_letters,
    look_at_set_aside,
    look_at_spool,
    look_at_watching,
    look_at_names,
    look_at_upstream,
    look_at_clock,
)
"""In the order in which they are told: what explains others comes first."""


def examine(config_path: Path | None, clock: Clock) -> list[Finding]:
    """All findings; without a right configuration only that it is not."""
    try:
        config = configuration.load(config_path, with_keys=False)
    except ConfigError as error:
        mend = "mend the file; leanbase-relay check-config says the same"
        return [
            Finding("configuration", State.ATTENTION, problem, mend)
            for problem in error.problems
        ]
    findings = [Finding("configuration", State.OK, "right")]
    patient = Patient(config, config_path, clock, lock.holder(config.store.path))
    try:
        keyed = configuration.load(config_path)
        patient = replace(patient, keyed=keyed.projects)
    except ConfigError as error:
        patient = replace(patient, key_problems=tuple(error.problems))
    try:
        patient = replace(patient, fault=_fault(patient))
    except StoreError as error:
        findings.append(Finding("store", State.ATTENTION, str(error)))
        patient = replace(patient, is_ours=False)
    return findings + [each for look in LOOKS for each in _looked(look, patient)]


def _fault(patient: Patient) -> str | None:
    """What is wrong with the store, as far as that shows without reading it all.

    Raises:
        StoreError: it is not ours, too new, or not for this user.
    """
    place.check_kind(patient.store)
    if patient.pid is None:
        fault = damage.fault_of(patient.store, patient.clock)
        if fault is None or lock.holder(patient.store) is None:
            return fault
        # It was started in between; what changed under our eyes is no damage.
    if not file_bytes(str(patient.store)):
        return None
    return damage.fault_by_sql(patient.store, patient.clock)


def _looked(look: Look, patient: Patient) -> list[Finding]:
    """What a look finds; that it could not look is a finding too."""
    name = look.__name__.removeprefix("look_at_").replace("_", " ")
    try:
        return list(look(patient))
    except sqlite3.Error as error:
        if damage.is_damage(error):
            mend = _salvage_by_hand(patient)
            return [Finding(name, State.ATTENTION, f"damage was met: {error}", mend)]
        return [Finding(name, State.ATTENTION, f"no look: {error}", "use sudo")]
    except OSError as error:
        return [Finding(name, State.ATTENTION, f"no look: {error}", "use sudo")]


def _salvage_by_hand(patient: Patient) -> str:
    """How to have a store salvaged that a start would take for sound."""
    return (
        f"stop the relay, touch {aside.suspected(patient.store)}, start it: then it "
        "sets the file aside and salvages what can be read"
    )


def _not_writable(paths: Iterable[Path]) -> list[Path]:
    """Those that this user may not write."""
    return [path for path in paths if not os.access(path, os.W_OK, effective_ids=True)]
