"""What Python apps import: one call, and the event is on this machine's disk.

::

    from leanbase_relay.client import Client

    relay = Client()
    relay.capture("user-1", "order placed", {"total": 12.5})

Needs the standard library alone and starts no threads; any number of them may use it,
on both sides of a fork. An event goes to the relay's socket, and the call waits for
``stored``; where that cannot be had in time it becomes a file in the spool directory.

Owns the promise that trouble with either never raises into the app, and never loses an
event in silence: the `Outcome` says what became of it. Its uuid and timestamp are made
here, so that an event that is spooled because ``stored`` was not heard is the same one
that the relay may have after all: the upstream keeps one of the two.

What JSON does not have becomes what it has. NaN and Infinity: null. Decimals, fractions
and numpy's numbers: the nearest number, or text where a double cannot hold it.
Datetimes, dates and times: ISO 8601, in the zone they have; timedeltas: seconds. Bytes:
text. Bytes that are not UTF-8 and lone surrogates: U+FFFD. Enums: their value. Tuples,
sets and arrays: lists. Keys: text. What contains itself, or is deeper than 100 levels:
null. Properties that are no mapping: the property ``value``. All else, such as UUIDs
and paths: ``str()`` of it.
"""

import contextlib
import errno
import json
import logging
import math
import os
import secrets
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from enum import Enum
from numbers import Integral, Real
from pathlib import Path
from types import NoneType
from typing import Any, Literal, Self, TypedDict, Unpack
from uuid import UUID, uuid4

from leanbase_relay import __version__

log = logging.getLogger(__name__)

SOCKET_PATH = Path("/run/leanbase-relay/relay.sock")
SPOOL_PATH = Path("/var/spool/leanbase-relay")

MAX_IDLE_CONNECTIONS = 8
MAX_LEVELS = 100
MAX_REPLY_BYTES = 1 << 20

LIBRARY = {"$lib": "leanbase-relay", "$lib_version": __version__}
NOT_ACCEPTED = ("store full", "store unavailable", "the relay is stopping")
"""How the relay begins when it cannot take a line now; nothing of it is kept then."""

Id = str | int | UUID
Moment = datetime | date | str | float
Properties = Mapping[str, Any]


class NotKept(Exception):
    """The event is neither stored nor spooled; see `Outcome.or_raise`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one event.

    Attributes:
        became: ``stored``: the relay has it on its disk. ``spooled``: it is in a file
            that the relay will take. ``refused``: the relay keeps it as a dead letter,
            for this reason. ``lost``: neither way was open, for these reasons.
        uuid: the event's.
        reason: why it is not ``stored``.
    """

    became: Literal["stored", "spooled", "refused", "lost"]
    uuid: str
    reason: str = ""

    @property
    def is_kept(self) -> bool:
        """Whether it is on the disk and on its way upstream."""
        return self.became in ("stored", "spooled")

    def or_raise(self) -> Self:
        """For an app that cannot go on without the event.

        Raises:
            NotKept: it was refused or lost.
        """
        if not self.is_kept:
            raise NotKept(f"event {self.uuid} is {self.became}: {self.reason}")
        return self


class When(TypedDict, total=False):
    """What fixes an event that did not happen just now, or not for the first time.

    Attributes:
        timestamp: without a zone it is local time, as everywhere in Python. A number
            is seconds since 1970; text is read by the relay. Now, where nothing can be
            made of it.
        uuid: an event that is sent again with its uuid and timestamp counts once.
    """

    timestamp: Moment | None
    uuid: str | UUID | None


class Client:
    """Hands events to the relay.

    Args:
        project: one that the relay's configuration names; None = its ``default``.
        socket_path: the relay's ``socket.path``.
        spool_path: the relay's ``spool.path``, for when the socket gives no answer;
            None = an event without an answer is lost.
        connect_timeout_seconds: for a connection. A relay that is not there is noticed
            at once; this is for one that has too much to do.
        timeout_seconds: for ``stored``. Shorter, and a busy disk sends events the
            longer way round; longer, and the app waits for a relay that hangs.
        rest_seconds: how long a relay that did not answer in time is not asked again,
            so that an app does not wait for it with every event.
    """

    def __init__(
        self,
        project: str | None = None,
        *,
        socket_path: str | os.PathLike[str] = SOCKET_PATH,
        spool_path: str | os.PathLike[str] | None = SPOOL_PATH,
        connect_timeout_seconds: float = 0.05,
        timeout_seconds: float = 1.0,
        rest_seconds: float = 5.0,
    ) -> None:
        for seconds in (connect_timeout_seconds, timeout_seconds):
            if not 0.001 <= seconds <= 86_400:
                raise ValueError(f"{seconds} is no timeout: 0.001 to 86400 seconds are")
        self._project = project
        self._socket_path = os.fspath(socket_path)
        self._spool_path = None if spool_path is None else Path(spool_path)
        self._connect_timeout_seconds = connect_timeout_seconds
        self._timeout_seconds = timeout_seconds
        self._rest_seconds = rest_seconds
        # Taken and given back by one operation each: threads need no lock, and none
        # can be held by another thread at the moment of a fork.
        self._idle: deque[_Connection] = deque(maxlen=MAX_IDLE_CONNECTIONS)
        self._not_before = 0.0
        self._lost = 0

    def capture(
        self,
        distinct_id: Id | None,
        event: str,
        properties: Properties | None = None,
        *,
        groups: Mapping[str, Any] | None = None,
        **when: Unpack[When],
    ) -> Outcome:
        """Send one event.

        Args:
            distinct_id: whose it is; None = nobody's: it gets a random id, and no
                person is made.
            event: its name.
            properties: see the module for values that JSON does not have.
            groups: such as ``{"company": "acme"}``.
            when: see `When`.
        """
        given = _object(properties)
        if distinct_id is None:
            distinct_id = uuid4()
            given["$process_person_profile"] = False
        if groups is not None:
            given["$groups"] = _plain(groups)
        return self._send(distinct_id, event, given, when)

    def pageview(
        self,
        distinct_id: Id | None,
        url: str,
        properties: Properties | None = None,
        *,
        groups: Mapping[str, Any] | None = None,
        **when: Unpack[When],
    ) -> Outcome:
        """Say that a page was seen."""
        given = {**_object(properties), "$current_url": url}
        return self.capture(distinct_id, "$pageview", given, groups=groups, **when)

    def identify(
        self,
        distinct_id: Id,
        properties: Properties | None = None,
        *,
        set_once: Properties | None = None,
        **when: Unpack[When],
    ) -> Outcome:
        """Say who a person is.

        Args:
            distinct_id: the person's.
            properties: what the person has.
            set_once: the same, unless it was set before.
            when: see `When`.
        """
        given = {"$set": _object(properties), "$set_once": _object(set_once)}
        person = {name: members for name, members in given.items() if members}
        return self._send(distinct_id, "$identify", person, when)

    def set(
        self, distinct_id: Id, properties: Properties, **when: Unpack[When]
    ) -> Outcome:
        """Set properties of a person."""
        return self._send(distinct_id, "$set", {"$set": _object(properties)}, when)

    def set_once(
        self, distinct_id: Id, properties: Properties, **when: Unpack[When]
    ) -> Outcome:
        """Set properties of a person, unless they were set before."""
        person = {"$set_once": _object(properties)}
        return self._send(distinct_id, "$set_once", person, when)

    def alias(self, distinct_id: Id, *, alias: Id, **when: Unpack[When]) -> Outcome:
        """What `alias` does from now on belongs to `distinct_id`."""
        both = _object({"distinct_id": distinct_id, "alias": alias})
        return self._send(distinct_id, "$create_alias", both, when)

    def group_identify(
        self,
        group_type: str,
        group_key: Id,
        properties: Properties | None = None,
        *,
        distinct_id: Id | None = None,
        **when: Unpack[When],
    ) -> Outcome:
        """Set properties of a group, such as a company.

        Args:
            group_type: such as ``company``.
            group_key: which one of them.
            properties: what the group has.
            distinct_id: who says so; else ``$type_key``.
            when: see `When`.
        """
        given = _object(
            {
                "$group_type": group_type,
                "$group_key": group_key,
                "$group_set": _object(properties),
            }
        )
        if distinct_id is None:
            distinct_id = f"${_key(group_type)}_{_key(group_key)}"
        return self._send(distinct_id, "$groupidentify", given, when)

    def _send(
        self, distinct_id: Id, event: str, properties: dict[str, Any], when: When
    ) -> Outcome:
        uuid = str(_plain(when.get("uuid")) or _uuid7())
        members = {
            "event": _plain(event),
            "distinct_id": _plain(distinct_id),
            "uuid": uuid,
            "timestamp": _stamp(when.get("timestamp")),
            "properties": {**LIBRARY, **properties},
        }
        if self._project is not None:
            members["project"] = _plain(self._project)
        text = json.dumps(members, ensure_ascii=False, separators=(",", ":"))
        return self._keep(text.encode() + b"\n", uuid)

    def _keep(self, line: bytes, uuid: str) -> Outcome:
        """Bring a line to safety: by the socket, else by the spool."""
        try:
            refused = self._offer(line)
        except _Away as away:
            return self._spool(line, uuid, str(away))
        if refused:
            return Outcome("refused", uuid, refused)
        self._tell_of_losses()
        return Outcome("stored", uuid)

    def _offer(self, line: bytes) -> str:
        """Hand a line to the relay; says why it was refused, if it was."""
        if time.monotonic() < self._not_before:
            raise _Away("the relay did not answer in time a moment ago")
        try:
            connection = self._idle_connection() or _Connection(
                self._socket_path, self._connect_timeout_seconds
            )
            refused = connection.hand_over(line, self._timeout_seconds)
        except (TimeoutError, BlockingIOError):  # the latter: while connecting
            self._not_before = time.monotonic() + self._rest_seconds
            raise _Away(f"{self._socket_path}: no answer in time") from None
        except (OSError, ValueError) as error:  # the latter: no path at all
            raise _Away(f"{self._socket_path}: {_cause(error)}") from None
        self._idle.append(connection)
        return refused

    def _idle_connection(self) -> "_Connection | None":
        with contextlib.suppress(IndexError):
            while not (connection := self._idle.pop()).is_usable():
                pass
            return connection
        return None

    def _spool(self, line: bytes, uuid: str, reason: str) -> Outcome:
        if self._spool_path is None:
            return self._lose(uuid, reason)
        try:
            _write_file(self._spool_path, line)
        except (OSError, ValueError) as error:
            why = f"{reason}; {self._spool_path}: {_cause(error)}"
            return self._lose(uuid, why)
        self._tell_of_losses()
        return Outcome("spooled", uuid, reason)

    def _lose(self, uuid: str, reason: str) -> Outcome:
        """Log the first of a run of losses; of each one the outcome tells."""
        if not self._lost:
            log.error("event_lost uuid=%s reason=%s", uuid, reason)
        self._lost += 1
        return Outcome("lost", uuid, reason)

    def _tell_of_losses(self) -> None:
        if self._lost:
            lost, self._lost = self._lost, 0
            log.error("events_lost count=%d", lost)


class _Away(Exception):
    """The relay gave no answer that counts; the message says why."""


class _Connection:
    """One connection: handed a line and waited for, then the next."""

    def __init__(self, path: str, timeout_seconds: float) -> None:
        self._pid = os.getpid()
        self._counts = (0, 0)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # By `settimeout` a client would be turned away as soon as too many others
        # are before it. So the kernel waits, and is told for how long.
        seconds, rest = divmod(round(timeout_seconds * 1e6), 1_000_000)
        longest = struct.pack("@ll", seconds, rest)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, longest)
        self._socket.connect(path)

    def __del__(self) -> None:
        if hasattr(self, "_socket"):
            self._socket.close()  # a client is dropped and not closed; no warning

    def is_usable(self) -> bool:
        """Whether it is this process's own, and the relay has not hung up."""
        if self._pid != os.getpid():
            return False  # the parent's: two would read each other's replies
        self._socket.settimeout(0)
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def hand_over(self, line: bytes, timeout_seconds: float) -> str:
        """Send a line and wait until it is settled.

        Returns:
            Why it was refused; empty if it is stored.

        Raises:
            _Away: the relay cannot take it now, or hung up.
            OSError: the connection broke, or time is up.
        """
        deadline = time.monotonic() + timeout_seconds
        self._socket.settimeout(timeout_seconds)
        with contextlib.suppress(BrokenPipeError):  # it may have said why
            self._socket.sendall(line)
        (stored, refused), reason = self._counts, "no reason given"
        for reply in self._replies(deadline):
            match reply:
                case {"line": int(), "error": str(reason)}:
                    pass
                case {"error": str(said)}:
                    raise _Away(f"the relay says: {said}")
                case {"stored": int(), "refused": int()}:
                    self._counts = reply["stored"], reply["refused"]
                    if self._counts != (stored, refused):
                        break
        if self._counts[0] > stored:
            return ""
        if reason.startswith(NOT_ACCEPTED):
            raise _Away(f"the relay says: {reason}")
        return reason

    def _replies(self, deadline: float) -> Iterator[Any]:
        unread = b""
        while len(unread) < MAX_REPLY_BYTES:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            received = self._socket.recv(1 << 16)
            if not received:
                raise _Away("the relay hung up before it answered")
            *whole, unread = (unread + received).split(b"\n")
            for reply in whole:
                try:
                    yield json.loads(reply)
                except ValueError:
                    raise _Away("what answers is no relay") from None
        raise _Away("what answers is no relay")


def _write_file(directory: Path, line: bytes) -> None:
    """One event as a spool file: whole, and on the disk, before it has its name."""
    name = f"client-{secrets.token_hex(16)}"
    hidden = directory / f".{name}.tmp"
    try:
        with hidden.open("xb") as file:
            # Whatever the umask: the relay is another user. Who else may read is for
            # the directory to say.
            os.fchmod(file.fileno(), 0o644)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        hidden.rename(directory / f"{name}.jsonl")
        _sync_names(directory)
    except BaseException:
        for one in (hidden, directory / f"{name}.jsonl"):
            with contextlib.suppress(OSError):
                one.unlink()
        raise


def _sync_names(directory: Path) -> None:
    """Until the relay takes a file a power cut might take its name."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # it may be written and not read: then it cannot be synced
        return
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that knows no such thing
            raise
    finally:
        os.close(fd)


def _cause(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _uuid7() -> str:
    """Of time and chance (RFC 9562): ids sort by their age."""
    value = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return str(UUID(int=value))


def _stamp(moment: Moment | None) -> str:
    """RFC 3339 in UTC; text and bare dates are left to the relay."""
    now = datetime.fromtimestamp(time.time(), UTC)
    try:
        if isinstance(moment, int | float):
            moment = datetime.fromtimestamp(moment, UTC)
        if isinstance(moment, str) or not isinstance(moment, date):
            return _text(moment or _written(now))
        return _written(moment) if isinstance(moment, datetime) else str(moment)
    except Exception:  # noqa: BLE001 - no calendar has it, or its zone is not ready
        return _written(now)


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _object(properties: object) -> dict[str, Any]:
    """Properties as an object, whatever they are."""
    plain = {} if properties is None else _plain(properties)
    return plain if isinstance(plain, dict) else {"value": plain}


def _plain(value: Any, above: tuple[int, ...] = ()) -> Any:
    """What JSON has in place of a value that it may not have.

    Args:
        value: anything.
        above: what contains it, from the outermost.
    """
    try:
        for kinds, rule in _RULES:
            if isinstance(value, kinds):
                return rule(value)
        return _plain_container(value, above)
    except Exception:  # noqa: BLE001 - it is the app's own code that runs here
        return f"<{type(value).__name__}>"


def _plain_container(value: Any, above: tuple[int, ...]) -> Any:
    if len(above) == MAX_LEVELS or id(value) in above:
        return None
    inside = (*above, id(value))
    if isinstance(value, Mapping):
        pairs = list(value.items())  # another thread may be changing it
        return {_key(name): _plain(each, inside) for name, each in pairs}
    if isinstance(value, Sequence | Set):
        return [_plain(each, inside) for each in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist(), inside)  # of numpy, array and their like
    return _text(str(value))


def _key(name: object) -> str:
    plain = _plain(name)
    return plain if isinstance(plain, str) else json.dumps(plain)


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        # Two halves that follow each other are one character.
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def _integer(value: Any) -> int | str:
    number = int(value)
    try:
        float(number)
    except OverflowError:
        return hex(number)  # the decimal digits may be more than Python writes
    return number


def _number(value: Any) -> float | str | None:
    if isinstance(value, Decimal) and not value.is_finite():
        return None
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isfinite(number):
        return number
    return None if isinstance(value, float) else str(value)


_RULES: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (Enum, lambda value: _plain(value.value)),
    (str, _text),
    (bool | NoneType, lambda value: value),
    (Integral, _integer),
    (Real | Decimal, _number),
    (
        bytes | bytearray | memoryview,
        lambda value: bytes(value).decode(errors="replace"),
    ),
    (date | time_of_day, lambda value: value.isoformat()),
    (timedelta, lambda value: value.total_seconds()),
)

_here = Client()
capture = _here.capture
pageview = _here.pageview
identify = _here.identify
alias = _here.alias
group_identify = _here.group_identify
