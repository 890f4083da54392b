"""One line: the rules of what an event is, one after another. Pure.

This is the slow and complete way; `event` takes it for the lines that its fast way
does not know to be in order. What the upstream would take is taken; what it would
answer with 400 is refused here, with a sentence that names the member. Mending is
done by splicing: members that need nothing keep the bytes that the app wrote.
"""

import json
import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple, NoReturn

import msgspec
import simdjson
from msgspec import Raw, Struct, field

from leanbase_relay.intake import timestamp
from leanbase_relay.intake.uuids import mint_uuid
from leanbase_relay.keys import KeyRing
from leanbase_relay.splice import inside, members_of, object_of

MAX_NESTING = 125
"""Levels of an event of its own: the upstream's parser stops at 128, counted from
the request's envelope, which adds an object and an array."""

TOO_LONG = "longer than events.max_bytes"
"""In the reason of a dead letter whose line was cut: its end was not kept."""

_KEYS = ("api_key", "token", "$token")  # one field in three spellings
_KNOWN = {
    *("event", "properties", "timestamp", "uuid", "offset", "$set", "$set_once"),
    *("distinct_id", "$distinct_id", *_KEYS),
}
# Protocol v1's members beside the properties, and the properties they stand for.
TEXT_PLACES = {"session_id": "$session_id", "window_id": "$window_id"}
OPTION_PLACES = {  # with the first characters of values of the right type
    "cookieless_mode": ("$cookieless_mode", "tf"),
    "disable_skew_correction": ("$ignore_sent_at", "tf"),
    "process_person_profile": ("$process_person_profile", "tf"),
    "product_tour_id": ("$product_tour_id", '"'),
}
_UUID = re.compile(
    r"(?:urn:uuid:)?(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32})"
    r"|\{[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\}",
    re.IGNORECASE,
)
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"')
_LEVELS = {ord("{"): 1, ord("["): 1, ord("}"): -1, ord("]"): -1}
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in _LEVELS)
_KINDS = {
    ord("{"): "an object",
    ord("["): "a list",
    ord('"'): "a string",
    ord("t"): "a boolean",
    ord("f"): "a boolean",
    ord("n"): "null",
}

_pairs = json.JSONDecoder(object_pairs_hook=list).decode
_text = msgspec.json.Decoder(str).decode
_ABSENT = Raw()


class _Properties(Struct, gc=False):
    """The members of `properties` that matter here, as they are spelled."""

    cookieless: Raw = field(default=_ABSENT, name="$cookieless_mode")
    profile: Raw = field(default=_ABSENT, name="$process_person_profile")
    address: Raw = field(default=_ABSENT, name="$ip")
    geoip_disable: Raw = field(default=_ABSENT, name="$geoip_disable")
    distinct_id: Raw = _ABSENT
    token: Raw = _ABSENT


_look = msgspec.json.Decoder(_Properties).decode
_GONE = b""  # the value of a property that is to go
_NO_KEYS = KeyRing()


class Refused(Exception):
    """The line is not an event; the message says which member, and why."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the configuration asks of an event.

    Attributes:
        max_bytes: the size of an event, above which it is refused.
        projects: the configured names.
        disable_geoip: add `$geoip_disable` where an event says nothing of its place.
        no_person_events: the names of events that `person_profiles: never` turns down.
        keys: what never reaches the store.
        from_sdk: the event came as protocol v0 has it. What that does not know passes
            through: members that speak to the relay, and those of protocol v1.
    """

    max_bytes: int
    projects: frozenset[str]
    disable_geoip: bool = False
    no_person_events: frozenset[str] = frozenset()
    keys: KeyRing = _NO_KEYS
    from_sdk: bool = False


class Line(NamedTuple):
    """What an accepted line came to.

    Attributes:
        project: whose event it is.
        event_bytes: as it is stored.
        stamped: whether its timestamp is the relay's.
        historical: whether it says that it is an import.
    """

    project: str
    event_bytes: bytes
    stamped: bool = False
    historical: bool = False


def judge_line(line: bytes, rules: Rules, *, project: str, now_ms: int) -> Line:
    """Judge one line and mend it where it needs to be.

    Raises:
        Refused: the line is not an event.
    """
    if len(line) > rules.max_bytes:
        what = "event" if rules.from_sdk else "line"
        raise Refused(too_long(rules.max_bytes, what))
    members = parse(line)
    event = _Event(members, rules, now_ms)
    event.check_key()
    project = event.take_project(project)
    historical = event.take_historical()
    event.check_name()
    event.mend_properties()
    event.mend_person_members()
    event.mend_id()
    event.mend_uuid()
    stamped = event.mend_timestamp()
    return Line(project, event.written(line), stamped, historical)


def too_long(max_bytes: int, what: str = "line") -> str:
    """The reason why a line of more bytes, or what came as one, is refused."""
    return f"{what} is {TOO_LONG} ({max_bytes} bytes)"


def parse(line: bytes) -> dict[str, bytes]:
    """Take a JSON object apart, as strictly as the upstream's parser does.

    Returns:
        The members, each with the bytes of its value.

    Raises:
        Refused: it is no JSON object, or a member that the upstream knows is there
            twice.
    """
    try:
        size = _size(simdjson.Parser().parse(line))
    except (ValueError, RuntimeError):
        # Strict, but it also declines integers above 64 bits, which the upstream
        # takes; and its messages are for programmers.
        size = _size(_explain(line))
    if size is None:
        raise Refused(f"not a JSON object but {_kind(line.strip())}")
    if depth(line) > MAX_NESTING:
        raise Refused(f"nested deeper than {MAX_NESTING} levels")
    try:
        members = members_of(line)
    except msgspec.DecodeError as bad:
        raise Refused(f"not JSON: {bad}") from None
    if len(members) != size:
        _refuse_repeated(line)
    return members


def depth(line: bytes) -> int:
    """How deep objects and lists are nested in a line that is known to be JSON."""
    if line.count(b"{") + line.count(b"[") <= MAX_NESTING:
        return 0  # cannot be too deep, and nobody asks for more than that
    brackets = _STRINGS.sub(b"", line).translate(None, _NOT_BRACKETS)
    return max(accumulate(map(_LEVELS.__getitem__, brackets)))


def extended(line: bytes, members: Mapping[str, bytes]) -> bytes:
    """An object's text with further members at its end; it must have some already."""
    return b"%b,%b}" % (line.strip()[:-1], inside(members))


class _Event:
    """The members of one line while they are judged."""

    def __init__(self, members: dict[str, bytes], rules: Rules, now_ms: int) -> None:
        self._members = members
        self._added: dict[str, bytes] = {}
        self._properties = _Properties()
        self._rules = rules
        self._now_ms = now_ms
        self._rewritten = False

    def written(self, line: bytes) -> bytes:
        """The event bytes: the line as it came, as far as nothing was to be mended."""
        if self._rewritten:
            return object_of(self._members | self._added)
        return extended(line, self._added) if self._added else line.strip()

    def check_key(self) -> None:
        """A key that came with the event never reaches the store."""
        given = [name for name in _KEYS if name in self._members]
        if len(given) > 1:
            raise Refused(f"{given[1]}: given beside {given[0]}; one of them is enough")
        for name in given:
            self._expect(name, '"n', "a string")
            self._remove(name)

    def take_project(self, project: str) -> str:
        if self._rules.from_sdk or "project" not in self._members:
            return project
        name = _value(self._members["project"].decode())
        if not isinstance(name, str):
            raise Refused("project: must be a string")
        if name not in self._rules.projects:
            raise Refused(f"project: {name[:80]!r} is not configured")
        self._remove("project")
        return name

    def take_historical(self) -> bool:
        """An import says so on its lines; upstream it is said of a whole request."""
        if self._rules.from_sdk:
            return False
        value = self._members.get("historical_migration", b"null")
        if value not in (b"true", b"false", b"null"):
            raise Refused(
                f"historical_migration: must be a boolean, not {_kind(value)}"
            )
        self._remove("historical_migration")
        return value == b"true"

    def check_name(self) -> None:
        if "event" not in self._members:
            raise Refused("event: missing")
        name = self._string("event")
        if not name:
            raise Refused("event: empty")
        if name in self._rules.no_person_events:
            raise Refused(
                f"event: {name} is about a person, and events.person_profiles is never"
            )

    def mend_properties(self) -> None:
        self._mend_php_map("properties")
        if not self._rules.from_sdk:
            self._bring_members_home()
        if "properties" not in self._members:
            if self._rules.disable_geoip:
                self._put("properties", b'{"$geoip_disable":true}')
            return
        self._expect("properties", "{", "an object")
        self._properties = _look(self._members["properties"])
        changes = _changed_properties(self._properties, self._rules)
        if changes:
            properties = members_of(self._members["properties"]) | changes
            kept = {name: value for name, value in properties.items() if value}
            self._put("properties", object_of(kept))

    def _bring_members_home(self) -> None:
        """Put what protocol v1 has beside the properties where `batch` has it: in them.

        So the store knows one shape of event, whichever protocol is in use when it is
        sent. v1 itself lets these win over the properties. What is mistyped stays: v0
        ignores it, and `forward` never sends it on.
        """
        given = {
            place: value
            for name, place in TEXT_PLACES.items()
            if (value := self._members.get(name, b""))[:1] == b'"'
        }
        options = self._members.get("options", b"")
        if options[:1] == b"{":
            given |= _option_properties(members_of(options))
        if not given:
            return
        properties = self._members.get("properties", b"{}")
        if properties[:1] == b"{":
            self._put("properties", object_of(members_of(properties) | given))
            for name in ("options", *TEXT_PLACES):
                self._remove(name)

    def mend_person_members(self) -> None:
        for name in ("$set", "$set_once"):
            self._mend_php_map(name)
            if name in self._members:
                self._expect(name, "{n", "an object")

    def mend_id(self) -> None:
        """Find the id in its four places; it stands in `distinct_id` afterwards."""
        if "distinct_id" in self._members and "$distinct_id" in self._members:
            raise Refused("distinct_id: given beside $distinct_id; one is enough")
        for name in ("distinct_id", "$distinct_id"):
            value = self._members.get(name, b"null")
            if value != b"null":
                break
        else:
            name, value = "", self._id_elsewhere()
        is_text = value[:1] == b'"'
        text = _text(value) if is_text else _id_text(_value(value.decode()))
        if not text.strip():
            raise Refused("distinct_id: empty")
        if name == "distinct_id" and is_text:
            return
        self._remove("$distinct_id")  # null, it would still be a second spelling
        self._put("distinct_id", value if is_text else _json(text))

    def _id_elsewhere(self) -> bytes:
        """The id in `properties`, or in PHP's spelling, or a random one if wished."""
        value = bytes(self._properties.distinct_id)
        if value in (b"", b"null"):  # else upstream takes that one, and so do we
            value = self._members.get("distinctId", b"null")
            self._remove("distinctId")
        if value != b"null":
            return value
        if bytes(self._properties.profile) in (b"false", b'"false"'):
            return _json(str(uuid.uuid4()))
        raise Refused("distinct_id: missing")

    def mend_uuid(self) -> None:
        if self._members.get("uuid", b"null") in (b"null", b'""'):
            self._put("uuid", _json(mint_uuid(self._now_ms)))
        elif not _UUID.fullmatch(self._string("uuid")):
            raise Refused("uuid: not a UUID")

    def mend_timestamp(self) -> bool:
        """See to the timestamp; True if it was made here, by this machine's clock."""
        moment = None
        if self._members.get("offset", b"null") != b"null":
            given = _stamp_or_now(self._now_ms - self._offset(), self._now_ms)
        else:
            given = timestamp.stamp(self._now_ms)
            if self._members.get("timestamp", b"null") != b"null":
                text = self._string("timestamp")
                if timestamp.are_in_order((text,)):
                    self._remove("offset")
                    return False
                moment = timestamp.utc(text)
        self._put("timestamp", _json(moment or given))
        self._remove("offset")
        return moment is None

    def _offset(self) -> int:
        value = self._members["offset"]
        if (
            not re.fullmatch(rb"-?\d{1,19}", value)
            or not -(2**63) <= int(value) < 2**63
        ):
            raise Refused("offset: must be a 64-bit integer (milliseconds)")
        return int(value)

    def _mend_php_map(self, name: str) -> None:
        """PHP writes its empty map as an empty list."""
        value = self._members.get(name, b"")
        if value[:1] == b"[" and not value[1:-1].strip():
            self._put(name, b"{}")

    def _string(self, name: str) -> str:
        self._expect(name, '"', "a string")
        return _text(self._members[name])

    def _expect(self, name: str, first: str, wanted: str) -> None:
        """Refuse a member whose value does not begin as one of its type does."""
        value = self._members[name]
        if chr(value[0]) not in first:
            raise Refused(f"{name}: must be {wanted}, not {_kind(value)}")

    def _put(self, name: str, value: bytes) -> None:
        if name in self._members:
            self._members[name] = value
            self._rewritten = True
        else:
            self._added[name] = value

    def _remove(self, name: str) -> None:
        if self._members.pop(name, None) is not None:
            self._rewritten = True


def _changed_properties(properties: _Properties, rules: Rules) -> dict[str, bytes]:
    """The members of `properties` that need another value, or are to come or to go."""
    changes = {}
    if bytes(properties.cookieless) not in (b"", b"true", b"false", b"null"):
        raise Refused("properties.$cookieless_mode: must be a boolean")
    wish = bytes(properties.profile)
    if wish in (b'"true"', b'"false"'):
        # As text it would mean the opposite of what the app wants.
        changes["$process_person_profile"] = wish.strip(b'"')
    if rules.disable_geoip and not properties.address and not properties.geoip_disable:
        changes["$geoip_disable"] = b"true"
    token = bytes(properties.token)
    if token[:1] == b'"' and rules.keys.project_of(_text(token).strip()):
        changes["token"] = _GONE  # where browser SDKs have the key
    return changes


def _option_properties(options: Mapping[str, bytes]) -> dict[str, bytes]:
    """The properties that v1 makes of well-typed `options`."""
    return {
        place: value
        for name, (place, first) in OPTION_PLACES.items()
        if chr((value := options.get(name, b"n"))[0]) in first
    }


def _integer(text: str) -> int | float:
    return -0.0 if text == "-0" else int(text)


_value = json.JSONDecoder(parse_int=_integer).decode


def _id_text(value: Any) -> str:
    """The text that the upstream makes of an id: compact JSON, keys sorted."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return str(value)
    if isinstance(value, int | float):
        return _float_text(float(value))
    return _compact(value)


def _compact(value: Any) -> str:
    if isinstance(value, dict):
        inside = (f"{_quoted(k)}:{_compact(value[k])}" for k in sorted(value))
        return "{" + ",".join(inside) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_compact, value)) + "]"
    if value is None:
        return "null"
    return _quoted(value) if isinstance(value, str) else _id_text(value)


def _float_text(value: float) -> str:
    """As the upstream writes it: 1e16 and 0.00001, where Python has 1e+16, 1e-05."""
    mantissa, _, exponent = repr(value).partition("e")
    if not exponent:
        return mantissa
    if int(exponent) == -5:
        return f"{value:.{len(mantissa.lstrip('-').replace('.', '')) + 4}f}"
    return f"{mantissa}e{int(exponent)}"


def _stamp_or_now(moment_ms: int, now_ms: int) -> str:
    try:
        return timestamp.stamp(moment_ms)
    except (ValueError, OverflowError, OSError):  # beyond the years 1 to 9999
        return timestamp.stamp(now_ms)


def _json(text: str) -> bytes:
    return msgspec.json.encode(text)


def _quoted(text: str) -> str:
    return _json(text).decode()


def _kind(value: bytes) -> str:
    return _KINDS.get(value[0], "a number") if value else "nothing"


def _size(document: object) -> int | None:
    """How many members an object has, repeated ones counted; None for other values."""
    return len(document) if isinstance(document, simdjson.Object | list) else None


def _explain(line: bytes) -> object:
    """Say why a line is not JSON; if it is, give its members as pairs.

    Raises:
        Refused: with a reason for people.
    """
    try:
        value = json.loads(
            line.decode(),
            object_pairs_hook=_Pairs,
            parse_constant=_no_constant,
            parse_int=_finite,
            parse_float=_finite,
        )
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as bad:
        raise Refused(f"not valid UTF-8 (byte {bad.start + 1} of the line)") from None
    except UnicodeEncodeError:
        raise Refused(r"a lone surrogate (\ud800 to \udfff) is not text") from None
    except RecursionError:
        raise Refused(f"nested deeper than {MAX_NESTING} levels") from None
    except json.JSONDecodeError as bad:
        raise Refused(f"not JSON: {bad.msg} (column {bad.colno})") from None
    return value if isinstance(value, _Pairs) else None


class _Pairs(list[tuple[str, object]]):
    """An object's members in order, the repeated ones too."""


def _no_constant(name: str) -> NoReturn:
    raise Refused(f"not JSON: {name} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        shown = text if len(text) <= 20 else f"{text[:17]}..."
        raise Refused(f"the number {shown} is beyond double range")
    return value


def _refuse_repeated(line: bytes) -> None:
    seen: set[str] = set()
    for name, _ in _pairs(line.decode()):
        if name in seen and name in _KNOWN:
            raise Refused(f"{name}: given twice")
        seen.add(name)
