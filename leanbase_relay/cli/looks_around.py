"""The looks of `doctor` at what is around the store: files, spool, machine."""

import ctypes
import fnmatch
import grp
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from leanbase_relay import config as configuration
from leanbase_relay.cli.finding import Finding, Patient, State
from leanbase_relay.cli.words import age, count, plain
from leanbase_relay.store.place import name_of_group, name_of_user

LONG_SECONDS = 600.0
"""A spool file that waited for so long beside a running relay is stuck."""
LEFT_SECONDS = 3600.0
"""A file that is still being written aside after so long was forgotten."""

_INOTIFY = Path("/proc/sys/fs/inotify")
_TEMPORARY = (".tmp", ".part")
_KEY = re.compile(r"""\bapi_key["']?\s*:\s*[^\s#]""")
_NAMED = 3

_TIMEX_BYTES = 512  # struct timex has 208 bytes on 64-bit machines
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised


def look_at_config_file(patient: Patient) -> Iterator[Finding]:
    """Whether a file that holds a key is open to all."""
    path = configuration.path_of(patient.config_path)
    look = path.stat()
    if look.st_mode & stat.S_IROTH and _KEY.search(path.read_text()):
        found = f"{path} holds a key, and every user of this machine can read it"
        mend = f"sudo chmod o= {path}; or put the key into a file: api_key_file"
        yield Finding("config file", State.ATTENTION, found, mend)
    else:
        whose = f"{name_of_user(look.st_uid)}:{name_of_group(look.st_gid)}"
        found = f"{path} is {whose}'s, mode {stat.S_IMODE(look.st_mode):04o}"
        yield Finding("config file", State.OK, found)


def look_at_sockets(patient: Patient) -> Iterator[Finding]:
    """Whether those who are to send may; what systemd made has its own mode."""
    group = patient.config.socket.group
    if group is not None:
        try:
            grp.getgrnam(group)
        except KeyError:
            found = f"socket.group: there is no group {group} on this machine"
            mend = f"sudo groupadd --system {group}; or name another"
            yield Finding("sockets", State.ATTENTION, found, mend)
            return
    path = patient.config.socket.path
    try:
        look = path.stat()
    except FileNotFoundError:
        state = State.OK if patient.pid is None else State.ATTENTION
        mend = "" if patient.pid is None else "restart the relay: it makes it anew"
        yield Finding("sockets", state, f"{path} is not there", mend)
        return
    mode = stat.S_IMODE(look.st_mode)
    found = f"{path}: {name_of_group(look.st_gid)} may send, mode {mode:04o}"
    if mode & stat.S_IWOTH:
        mend = "if that is too many: socket.mode, or SocketMode= of the socket unit"
        found = f"{path}: every user of this machine may send, mode {mode:04o}"
        yield Finding("sockets", State.NOTE, found, mend)
    else:
        yield Finding("sockets", State.OK, found)


def look_at_spool(patient: Patient) -> Iterator[Finding]:
    """Whether files wait too long, or would wait for ever."""
    top = patient.config.spool.path
    if top is None:
        yield Finding("spool", State.OK, "off")
        return
    if not top.is_dir():
        found = f"{top} is no directory, or not there"
        state = (
            State.OK if patient.pid is None and not top.exists() else State.ATTENTION
        )
        mend = "systemd-tmpfiles --create leanbase-relay.conf; or restart the relay"
        yield Finding("spool", state, found, "" if state is State.OK else mend)
        return
    if not top.stat().st_mode & stat.S_IWGRP:
        found = f"only {name_of_user(top.stat().st_uid)} can put files into {top}"
        mend = f"sudo chmod 3770 {top}, if apps of its group are to"
        yield Finding("spool", State.NOTE, found, mend)
    waiting, ignored, left = _files_of(patient, top)
    stuck = [name for name, seconds in waiting if seconds > LONG_SECONDS]
    if stuck and patient.pid is not None:
        oldest = max(seconds for _, seconds in waiting)
        found = (
            f"{count(len(stuck), 'file')} in {top} was not changed for {age(oldest)} "
            f"and is still there: {_some(stuck)}"
        )
        mend = "leanbase-relay status says why: who has it open, or who may not read it"
        yield Finding("spool", State.ATTENTION, found, mend)
    if ignored:
        found = f"never taken from {top}: {_some(ignored)}"
        mend = "move it away, rename it (*.jsonl), or see spool.patterns"
        yield Finding("spool", State.NOTE, found, mend)
    if left:
        found = f"begun in {top} more than an hour ago and not renamed: {_some(left)}"
        mend = "if nobody writes to it any more, rename it to *.jsonl, or remove it"
        yield Finding("spool", State.NOTE, found, mend)
    if not (stuck and patient.pid is not None) and not ignored and not left:
        yield Finding(
            "spool", State.OK, f"{top}: {count(len(waiting), 'file')} waiting"
        )


def look_at_watching(patient: Patient) -> Iterator[Finding]:
    """Whether the kernel has watches left for the spool; without, it only scans."""
    if patient.config.spool.path is None:
        return
    most = {
        name: int((_INOTIFY / f"max_user_{name}").read_text())
        for name in ("instances", "watches")
    }
    used = _instances_of(patient.store)
    found = (
        f"{used} of {most['instances']} inotify instances, {most['watches']} watches"
    )
    if used >= most["instances"]:
        mend = "sudo sysctl fs.inotify.max_user_instances=1024, and in /etc/sysctl.d"
        yield Finding("inotify", State.ATTENTION, f"{found}: all are in use", mend)
    else:
        yield Finding("inotify", State.OK, found)


def look_at_clock(_: Patient) -> Iterator[Finding]:
    """Whether somebody keeps the clock right; see `looks_upstream` for its skew."""
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    if state == _TIME_ERROR:
        found = "the kernel does not know it for synchronised"
        mend = "timedatectl set-ntp true; in a container: on its host"
        yield Finding("clock", State.NOTE, found, mend)
    elif state < 0:
        yield Finding("clock", State.NOTE, "the kernel does not say how it is kept")
    else:
        yield Finding("clock", State.OK, "synchronised")


def _files_of(
    patient: Patient, top: Path
) -> tuple[list[tuple[str, float]], list[str], list[str]]:
    """Files that wait with the age of each, those nobody takes, and forgotten ones."""
    now = patient.clock.wall()
    waiting: list[tuple[str, float]] = []
    ignored: list[str] = []
    left: list[str] = []
    served = [top / name for name in patient.config.projects if (top / name).is_dir()]
    for directory in (top, *served):
        for entry in os.scandir(directory):
            name = str(Path(entry.path).relative_to(top))
            if entry.name.startswith(".") or Path(entry.path) in served:
                continue
            seconds = now - entry.stat(follow_symlinks=False).st_mtime
            if entry.name.endswith(_TEMPORARY):
                left += [name] * (seconds > LEFT_SECONDS)
            elif entry.is_file(follow_symlinks=False) and any(
                fnmatch.fnmatchcase(entry.name, pattern)
                for pattern in patient.config.spool.patterns
            ):
                waiting.append((name, seconds))
            else:
                ignored.append(name)
    return waiting, ignored, left


def _some(names: list[str]) -> str:
    named = ", ".join(plain(name) for name in sorted(names)[:_NAMED])
    more = len(names) - _NAMED
    return f"{named} and {more} more" if more > 0 else named


def _instances_of(store: Path) -> int:
    """Inotify instances of the relay's user, as far as one may look."""
    place = next((one for one in (store, *store.parents) if one.exists()), Path("/"))
    uid = place.stat().st_uid
    used = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid != uid:
                continue
            links = [str(one.readlink()) for one in (process / "fd").iterdir()]
        except OSError:
            continue  # it has ended, or is not ours to look at
        used += links.count("anon_inode:inotify")
    return used
