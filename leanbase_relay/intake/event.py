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

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
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
    mint_uuid,
)
from leanbase_relay.store.chunk import Chunk
from leanbase_relay.store.deposit import DeadLetter

_PARTS = 8
"""Into how many a run is divided that is not in order; so few lines go one by one. A
line alone costs about ten times a line in a run."""

_TOO_DEEP = b"{" * (MAX_NESTING + 1)
_OPENING = bytes.maketrans(b"[", b"{")
_NOT_OPENING = bytes(byte for byte in range(256) if byte not in b"{[\n")
_HEX_AND_HYPHEN = b"0123456789abcdefABCDEF-"

Filled = Annotated[str, Meta(min_length=1)]
Uuid = Annotated[str, Meta(min_length=36, max_length=36)]


class _Object(Struct, gc=False):
    """Any object."""


class _Properties(Struct, gc=False):
    """What must be right inside `properties`; text here is for `line` to mend."""

    cookieless: bool | UnsetType | None = field(default=UNSET, name="$cookieless_mode")
    profile: bool | UnsetType = field(default=UNSET, name="$process_person_profile")


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
    offset: UnsetType = UNSET
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


class Judge:
    """Judges runs of lines. Keeps a parser: one judge for each thread.

    Args:
        max_bytes: `events.max_bytes`.
        projects: the configured names.
        disable_geoip: `events.disable_geoip`.
        max_events: of one chunk, so that batches are made of whole chunks.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        projects: frozenset[str],
        disable_geoip: bool = False,
        max_events: int = 5000,
    ) -> None:
        self._rules = Rules(max_bytes, projects, disable_geoip)
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
        chunk = self._at_once(run, lines, now_ms)
        if chunk is not None:
            return Judged((Chunk(project, lines, chunk),), (), lines)
        return self._sorted_out(run.split(b"\n"), project, now_ms)

    def _at_once(self, run: bytes, lines: int, now_ms: int) -> bytes | None:
        """The run as a chunk, if every line is in order as it is, or nearly."""
        if lines > self._max_events or len(run) >= self._rules.max_bytes + lines:
            return None  # divided, it becomes several chunks
        try:
            seen = self._look.decode_lines(run)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        uuids = [event.uuid for event in seen if event.uuid is not UNSET]
        stamps = [event.timestamp for event in seen if event.timestamp is not UNSET]
        chunk = run.replace(b"\n", b",")
        in_order = (
            len(seen) == lines
            and timestamp.are_in_order(stamps)
            and _are_uuids("".join(uuids), len(uuids))
            and not any(event.distinct_id.isspace() for event in seen)
            and (not self._rules.disable_geoip or _all_located(seen))
            and _TOO_DEEP not in run.translate(_OPENING, _NOT_OPENING)
            and self._is_strict(chunk)
        )
        if not in_order:
            return None
        if len(uuids) == len(stamps) == lines:
            return chunk
        return _completed(run, seen, now_ms)

    def _is_strict(self, chunk: bytes) -> bool:
        """Whether a chunk is JSON to a strict parser as well.

        To the look, the newlines of the run were blanks; here they are commas. So no
        event that both take reaches over the end of a line.
        """
        try:
            self._parser.parse(b"[%b]" % chunk)
        except (ValueError, RuntimeError):
            return False
        return True

    def _sorted_out(self, lines: list[bytes], project: str, now_ms: int) -> Judged:
        """Judge a run in which something is unusual."""
        accepted: list[tuple[str, int, bytes]] = []
        refusals: list[Refusal] = []
        blanks: list[int] = []
        for number, group, chunk in self._groups(lines, now_ms):
            if chunk is not None:
                accepted.append((project, len(group), chunk))
                continue
            for line_number, line in enumerate(group, number):
                if not line.strip() and len(line) <= self._rules.max_bytes:
                    blanks.append(line_number)
                    continue
                try:
                    owner, event = judge_line(
                        line, self._rules, project=project, now_ms=now_ms
                    )
                    accepted.append((owner, 1, event))
                except Refused as no:
                    text = line[: self._rules.max_bytes]
                    refusals.append(Refusal(line_number, str(no), text, project))
        return Judged(
            self._chunks(accepted), tuple(refusals), len(lines), tuple(blanks)
        )

    def _chunks(self, accepted: list[tuple[str, int, bytes]]) -> tuple[Chunk, ...]:
        """The events of each project in the order of their lines."""
        chunks: list[Chunk] = []
        # The sort is stable: it keeps that order.
        for project, parts in groupby(sorted(accepted, key=_first), key=_first):
            events = 0
            texts: list[bytes] = []
            for _, more, event_bytes in parts:
                if events + more > self._max_events:
                    chunks.append(Chunk(project, events, b",".join(texts)))
                    events, texts = 0, []
                events += more
                texts.append(event_bytes)
            chunks.append(Chunk(project, events, b",".join(texts)))
        return tuple(chunks)

    def _groups(
        self, lines: list[bytes], now_ms: int, number: int = 1
    ) -> Iterator[tuple[int, list[bytes], bytes | None]]:
        """Divide until a part is in order, or small enough to go line by line."""
        if len(lines) <= _PARTS:
            yield number, lines, None
            return
        size = -(-len(lines) // _PARTS)
        for first in range(0, len(lines), size):
            part = lines[first : first + size]
            chunk = self._at_once(b"\n".join(part), len(part), now_ms)
            if chunk is not None:
                yield number + first, part, chunk
            else:
                yield from self._groups(part, now_ms, number + first)


def _first(part: tuple[str, int, bytes]) -> str:
    return part[0]


def _completed(run: bytes, seen: list[_Seen], now_ms: int) -> bytes:
    """The chunk of a run in which uuids or timestamps are missing, and given here."""
    stamp = msgspec.json.encode(timestamp.stamp(now_ms))
    events = []
    for line, event in zip(run.split(b"\n"), seen, strict=True):
        given = {}
        if event.uuid is UNSET:
            given["uuid"] = msgspec.json.encode(mint_uuid(now_ms))
        if event.timestamp is UNSET:
            given["timestamp"] = stamp
        events.append(extended(line, given) if given else line)
    return b",".join(events)


def _are_uuids(joined: str, count: int) -> bool:
    """Whether texts of 36 characters each are hyphenated UUIDs, all of them."""
    if len(joined) != 36 * count or not joined.isascii():
        return False
    hyphens = "-" * count
    return (
        joined.count("-") == 4 * count
        and all(joined[place::36] == hyphens for place in (8, 13, 18, 23))
        and not joined.encode().translate(None, _HEX_AND_HYPHEN)
    )


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
        members = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return {}
    return {
        name: _readable(bytes(members[name]))
        for name in ("event", "distinct_id", "uuid")
        if name in members
    }


def _readable(value: bytes) -> str | None:
    """The beginning of a string; None for other values, and for broken ones."""
    try:
        return msgspec.json.decode(value, type=str)[:200]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
