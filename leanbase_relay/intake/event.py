"""Judging: what an event is, for a whole run of lines at once. Pure.

The fast way hands the run to C four times, without a Python step for each line:
one look at the members that matter, one strict JSON parse of the chunk that the run
becomes (the very bytes that will be sent), one count of the nesting, one check of the
uuids. An event that lacks only its uuid or timestamp is given them at its end. A run
with anything else in it (a bad line, a member that has to be mended) is divided until
the unusual lines stand in small groups, and these go line by line through
`intake.line`, which has all the rules.

The fast way knows nothing of a known member that is given twice in one object; such
an event passes, and stands alone after the upstream refused it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Annotated

import msgspec
import simdjson
from msgspec import UNSET, Meta, Struct, UnsetType, field

from leanbase_relay.intake import timestamp
from leanbase_relay.intake.line import (
    MAX_NESTING,
    Refused,
    Rules,
    extended,
    judge_line,
)
from leanbase_relay.intake.profiles import Profiles
from leanbase_relay.intake.uuids import are_uuids, mint_uuid
from leanbase_relay.keys import KeyRing
from leanbase_relay.splice import members_of
from leanbase_relay.store.chunk import MAX_CHUNK_BYTES, Chunk, runs_of
from leanbase_relay.store.deposit import DeadLetter
from leanbase_relay.store.row import merged

_PARTS = 8
"""Into how many a run is divided that is not in order; so few lines go one by one. A
line alone costs about ten times a line in a run."""

_TOO_DEEP = b"{" * (MAX_NESTING + 1)
_OPENING = bytes.maketrans(b"[", b"{")
_NOT_OPENING = bytes(byte for byte in range(256) if byte not in b"{[\n")

_HEAD = re.compile(
    rb'\{(?P<historical>"historical_migration":true,)?'
    rb'(?:"project":"(?P<project>[\w-]{1,64})",)?'
)
"""What `send` writes before an event's own members; see `cli.lines`."""

Filled = Annotated[str, Meta(min_length=1)]
Uuid = Annotated[str, Meta(min_length=36, max_length=36)]


class _Object(Struct, gc=False):
    """Any object."""


class _Properties(Struct, gc=False):
    """What must be right inside `properties`; text here is for `line` to mend."""

    cookieless: bool | UnsetType | None = field(default=UNSET, name="$cookieless_mode")
    profile: bool | UnsetType = field(default=UNSET, name="$process_person_profile")
    token: UnsetType = UNSET  # where browser SDKs have the key


class _Located(_Properties, gc=False):
    """The same, where the configuration asks for `$geoip_disable`."""

    geoip_disable: msgspec.Raw | UnsetType = field(default=UNSET, name="$geoip_disable")
    address: msgspec.Raw | UnsetType = field(default=UNSET, name="$ip")


class _Seen(Struct, gc=False):
    """An event that is in order as it is. A member typed as unset must be absent."""

    event: Filled
    distinct_id: Filled
    uuid: Uuid | UnsetType = UNSET
    timestamp: str | UnsetType = UNSET
    properties: _Properties | UnsetType = UNSET
    set: _Object | UnsetType | None = field(default=UNSET, name="$set")
    set_once: _Object | UnsetType | None = field(default=UNSET, name="$set_once")
    dollar_distinct_id: UnsetType = field(default=UNSET, name="$distinct_id")
    project: UnsetType = UNSET
    historical_migration: UnsetType = UNSET
    offset: UnsetType = UNSET
    options: UnsetType = UNSET
    session_id: UnsetType = UNSET
    window_id: UnsetType = UNSET
    api_key: UnsetType = UNSET
    token: UnsetType = UNSET
    dollar_token: UnsetType = field(default=UNSET, name="$token")


class _SeenLocated(_Seen, gc=False, kw_only=True):
    properties: _Located


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line that intake turned down.

    Attributes:
        line: its number within the run, from 1, blank lines counted.
        reason: a sentence that begins with the member, where one is to blame.
        text: the line, cut to `events.max_bytes`.
        project: whose dead letter it becomes.
    """

    line: int
    reason: str
    text: bytes
    project: str

    def dead_letter(self, origin: str) -> DeadLetter:
        """The dead letter that keeps this line."""
        known = _names(self.text)
        return DeadLetter(
            door="intake",
            project=self.project,
            reason=self.reason,
            origin=origin,
            line=self.text,
            event=known.get("event"),
            distinct_id=known.get("distinct_id"),
            uuid=known.get("uuid"),
        )


@dataclass(frozen=True, slots=True)
class Judged:
    """What a run of lines came to.

    Attributes:
        chunks: at least one for each project that the run has events of.
        refusals: the lines that were turned down, in order.
        lines: how many lines the run had, blank ones too.
        blanks: the numbers of the blank ones, from 1.
    """

    chunks: tuple[Chunk, ...]
    refusals: tuple[Refusal, ...]
    lines: int
    blanks: tuple[int, ...] = ()

    @property
    def blank(self) -> int:
        """How many lines were blank."""
        return len(self.blanks)

    @property
    def events(self) -> int:
        """How many events were accepted."""
        return sum(chunk.events for chunk in self.chunks)

    def as_import(self) -> "Judged":
        """The same, all of it from an import."""
        chunks = tuple(replace(chunk, historical=True) for chunk in self.chunks)
        return replace(self, chunks=chunks)


class Judge:
    """Judges runs of lines. Keeps a parser: one judge for each thread.

    Args:
        max_bytes: `events.max_bytes`.
        projects: the configured names.
        disable_geoip: `events.disable_geoip`.
        max_events: of one chunk, so that batches are made of whole chunks.
        profiles: which events make person profiles.
        keys: what never reaches the store, be it in a dead letter.
        from_sdk: see `Rules`.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        projects: frozenset[str],
        disable_geoip: bool = False,
        max_events: int = 5000,
        profiles: Profiles | None = None,
        keys: KeyRing | None = None,
        from_sdk: bool = False,
    ) -> None:
        self._profiles = profiles or Profiles("as_sent")
        self._rules = Rules(
            max_bytes,
            projects,
            disable_geoip,
            self._profiles.refused,
            keys or KeyRing(),
            from_sdk,
        )
        self._max_events = max_events
        seen: type[_Seen] = _SeenLocated if disable_geoip else _Seen
        self._look: msgspec.json.Decoder[_Seen] = msgspec.json.Decoder(seen)
        self._parser = simdjson.Parser()

    def judge(self, run: bytes, *, project: str, now_ms: int) -> Judged:
        """Judge a run of lines.

        Args:
            run: whole lines, each ended by a newline; the last may lack it.
            project: whose events they are, unless a line says otherwise.
            now_ms: the time of acceptance, milliseconds since 1970 UTC.
        """
        if b"\r" in run:
            run = run.replace(b"\r\n", b"\n")
        run = run.removesuffix(b"\n")
        lines = run.count(b"\n") + 1
        run, project, historical = self._without_head(run, lines, project)
        chunk = self._at_once(run, lines, project, now_ms)
        if chunk is None:
            judged = self._sorted_out(run.split(b"\n"), project, now_ms)
        else:
            judged = Judged((chunk,), (), lines)
        chunks = tuple(map(self._profiles.applied, judged.chunks))
        judged = replace(judged, chunks=chunks)
        return judged.as_import() if historical else judged

    def refusal(self, line: int, reason: str, text: bytes, *, project: str) -> Refusal:
        """What is kept of a line that is turned down."""
        kept = self._rules.keys.masked(text)[: self._rules.max_bytes]
        return Refusal(line, reason, kept, project)

    def _without_head(
        self, run: bytes, lines: int, project: str
    ) -> tuple[bytes, str, bool]:
        """Take off the members that `send` puts at the head of each line, if all agree.

        So a run for a project, or of an import, goes the fast way like any other.
        """
        found = None if self._rules.from_sdk else _HEAD.match(run)
        if found is None or not found[0][1:]:
            return run, project, False
        name = found["project"].decode() if found["project"] else project
        head = b"\n" + found[0]
        if name not in self._rules.projects or run.count(head) != lines - 1:
            return run, project, False
        return (b"\n" + run).replace(head, b"\n{")[1:], name, bool(found["historical"])

    def _at_once(
        self, run: bytes, lines: int, project: str, now_ms: int
    ) -> Chunk | None:
        """The run as a chunk, if every line is in order as it is, or nearly."""
        if lines > self._max_events or len(run) > MAX_CHUNK_BYTES:
            return None  # divided, it becomes several chunks
        try:
            seen = self._look.decode_lines(run)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        uuids = [event.uuid for event in seen if event.uuid is not UNSET]
        stamps = [event.timestamp for event in seen if event.timestamp is not UNSET]
        event_bytes = run.replace(b"\n", b",")
        in_order = (
            len(seen) == lines
            and timestamp.are_in_order(stamps)
            and are_uuids("".join(uuids), len(uuids))
            and not any(event.distinct_id.isspace() for event in seen)
            and (not self._rules.disable_geoip or _all_located(seen))
            and not self._is_any_refused(seen)
            and not _has_line_beyond(self._rules.max_bytes, run)
            and _TOO_DEEP not in run.translate(_OPENING, _NOT_OPENING)
            and self._is_strict(event_bytes)
        )
        if not in_order:
            return None
        if len(uuids) == len(stamps) == lines:
            return Chunk(project, lines, event_bytes)
        return _completed(project, run, seen, now_ms)

    def _is_any_refused(self, seen: list[_Seen]) -> bool:
        names = self._rules.no_person_events
        return bool(names) and any(event.event in names for event in seen)

    def _is_strict(self, event_bytes: bytes) -> bool:
        """Whether a chunk is JSON to a strict parser as well.

        To the look, the newlines of the run were blanks; here they are commas. So no
        event that both take reaches over the end of a line.
        """
        try:
            self._parser.parse(b"[%b]" % event_bytes)
        except (ValueError, RuntimeError):
            return False
        return True

    def _sorted_out(self, lines: list[bytes], project: str, now_ms: int) -> Judged:
        """Judge a run in which something is unusual."""
        accepted: list[Chunk] = []
        refusals: list[Refusal] = []
        blanks: list[int] = []
        for number, group, chunk in self._groups(lines, project, now_ms):
            if chunk is not None:
                accepted.append(chunk)
                continue
            for line_number, line in enumerate(group, number):
                if not line.strip() and len(line) <= self._rules.max_bytes:
                    blanks.append(line_number)
                    continue
                try:
                    accepted.append(self._alone(line, project, now_ms))
                except Refused as no:
                    refusals.append(
                        self.refusal(line_number, str(no), line, project=project)
                    )
        # The sort is stable: it keeps the order of each project's lines.
        chunks = merged(
            sorted(accepted, key=attrgetter("project")),
            max_events=self._max_events,
            max_bytes=MAX_CHUNK_BYTES,
        )
        return Judged(tuple(chunks), tuple(refusals), len(lines), tuple(blanks))

    def _alone(self, line: bytes, project: str, now_ms: int) -> Chunk:
        """A line as a chunk of its own."""
        owner, event, stamped, historical = judge_line(
            line, self._rules, project=project, now_ms=now_ms
        )
        return Chunk(owner, 1, event, ((0, 1),) if stamped else (), historical)

    def _groups(
        self, lines: list[bytes], project: str, now_ms: int, number: int = 1
    ) -> Iterator[tuple[int, list[bytes], Chunk | None]]:
        """Divide until a part is in order, or small enough to go line by line."""
        if len(lines) <= _PARTS:
            yield number, lines, None
            return
        size = -(-len(lines) // _PARTS)
        for first in range(0, len(lines), size):
            part = lines[first : first + size]
            chunk = self._at_once(b"\n".join(part), len(part), project, now_ms)
            if chunk is not None:
                yield number + first, part, chunk
            else:
                yield from self._groups(part, project, now_ms, number + first)


def _has_line_beyond(most: int, run: bytes) -> bool:
    """Whether a line is longer: from one end to the last one that is near enough."""
    start = 0
    while len(run) - start > most:
        start = run.rfind(b"\n", start, start + most + 1) + 1
        if not start:
            return True
    return False


def _completed(project: str, run: bytes, seen: list[_Seen], now_ms: int) -> Chunk:
    """The chunk of a run in which uuids or timestamps are missing, and given here."""
    stamp = msgspec.json.encode(timestamp.stamp(now_ms))
    events = []
    stamped = []
    for number, (line, event) in enumerate(zip(run.split(b"\n"), seen, strict=True)):
        given = {}
        if event.uuid is UNSET:
            given["uuid"] = msgspec.json.encode(mint_uuid(now_ms))
        if event.timestamp is UNSET:
            given["timestamp"] = stamp
            stamped.append(number)
        events.append(extended(line, given) if given else line)
    return Chunk(project, len(events), b",".join(events), runs_of(stamped))


def _all_located(seen: list[_Seen]) -> bool:
    return all(
        isinstance(event.properties, _Located)
        and not (
            event.properties.geoip_disable is UNSET
            and event.properties.address is UNSET
        )
        for event in seen
    )


def _names(line: bytes) -> dict[str, str | None]:
    """What can be read of a refused line, to find it again."""
    try:
        members = members_of(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return {}
    return {
        name: _readable(members[name])
        for name in ("event", "distinct_id", "uuid")
        if name in members
    }


def _readable(value: bytes) -> str | None:
    """A string; None for other values, and for broken ones."""
    try:
        return msgspec.json.decode(value, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
