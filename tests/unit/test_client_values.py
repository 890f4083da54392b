"""What becomes of values that JSON does not have, and of moments."""

import array
import json
import math
from collections import OrderedDict, UserDict, deque
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from leanbase_relay import client

ONE = "00000000-0000-0000-0000-000000000001"
INDIA = timezone(timedelta(hours=5, minutes=30))


class Plan(Enum):
    PRO = "pro"


class Size(IntEnum):
    BIG = 3


class Colour(StrEnum):
    RED = "red"


class Sulky:
    """Says no to everything."""

    def __str__(self) -> str:
        raise RuntimeError


class Broken(Mapping[str, int]):
    def __getitem__(self, name: str) -> int:
        raise RuntimeError

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError

    def __len__(self) -> int:
        return 1


class NoZone(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        raise LookupError(moment)


class Text(str):
    """As template libraries mark safe text."""

    __slots__ = ()


def plain(value: object) -> Any:
    """The value as it is after the way through JSON."""
    line = json.dumps(client._plain(value), ensure_ascii=False, allow_nan=False)
    return json.loads(line.encode())


VALUES: dict[str, tuple[object, object]] = {
    "nan": (math.nan, None),
    "infinity": (-math.inf, None),
    "decimal nan": (Decimal("NaN"), None),
    "decimal signalling nan": (Decimal("sNaN"), None),
    "decimal infinity": (Decimal("-Infinity"), None),
    "decimal": (Decimal("1.10"), 1.1),
    "decimal beyond a double": (Decimal("1e400"), "1E+400"),
    "fraction": (Fraction(1, 4), 0.25),
    "fraction beyond a double": (Fraction(10**400), str(10**400)),
    "int beyond 64 bits": (2**80, 2**80),
    "int beyond a double": (-(10**400), hex(-(10**400))),
    "int beyond what Python writes": (10**5000, hex(10**5000)),
    "lone surrogate": ("\ud83d", "\ufffd"),
    "surrogate of os.fsdecode": ("a\udce9b", "a\ufffdb"),
    "two halves of a character": ("\ud83d\ude00", "😀"),
    "text": ("é, ☃, 😀 \x00\n", "é, ☃, 😀 \x00\n"),
    "a kind of text": (Text("safe"), "safe"),
    "bytes": (b"caf\xc3\xa9", "café"),
    "bytes that are not utf-8": (b"caf\xe9", "caf\ufffd"),
    "bytearray": (bytearray(b"a"), "a"),
    "memoryview": (memoryview(b"a"), "a"),
    "datetime": (datetime(2026, 3, 1, 12, tzinfo=INDIA), "2026-03-01T12:00:00+05:30"),
    "naive datetime": (datetime(2026, 3, 1), "2026-03-01T00:00:00"),  # noqa: DTZ001
    "date": (date(2026, 3, 1), "2026-03-01"),
    "time": (time(12, 30), "12:30:00"),
    "timedelta": (timedelta(minutes=1, milliseconds=500), 60.5),
    "uuid": (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    "path": (Path("/tmp/a"), "/tmp/a"),  # noqa: S108 - a value
    "enum": (Plan.PRO, "pro"),
    "int enum": (Size.BIG, 3),
    "str enum": (Colour.RED, "red"),
    "tuple": ((1, (2,)), [1, [2]]),
    "set": ({1}, [1]),
    "frozenset": (frozenset({"a"}), ["a"]),
    "deque": (deque([1, 2]), [1, 2]),
    "range": (range(3), [0, 1, 2]),
    "array": (array.array("d", [1.5, math.nan]), [1.5, None]),
    "ordered dict": (OrderedDict(a=1), {"a": 1}),
    "mapping": (UserDict(a=1), {"a": 1}),
    "view": ({"a": 1}.items(), [["a", 1]]),
    "keys": ({1: "a", None: "b", False: 0}, {"1": "a", "null": "b", "false": 0}),
    "odd keys": ({1.5: 1, (1, 2): 2, b"k": 3}, {"1.5": 1, "[1, 2]": 2, "k": 3}),
    "keys no json has": ({"\ud800": 1, UUID(int=1): 2}, {"\ufffd": 1, ONE: 2}),
    "text that fails": (Sulky(), "<Sulky>"),
    "mapping that fails": ({"a": Broken(), "b": 1}, {"a": "<Broken>", "b": 1}),
    "anything else": (1j, "1j"),
}


@pytest.mark.parametrize(("given", "wanted"), VALUES.values(), ids=VALUES)
def test_a_value_becomes_one_that_json_has(given: object, wanted: object) -> None:
    assert plain(given) == wanted


def test_a_boolean_stays_one() -> None:
    assert repr(plain([True, False, 1, 0])) == "[True, False, 1, 0]"


def test_what_contains_itself_is_cut() -> None:
    person: dict[str, Any] = {"name": "a"}
    person["friends"] = [person, person]

    assert plain(person) == {"name": "a", "friends": [None, None]}


def test_what_is_there_twice_stays_there_twice() -> None:
    shared = {"a": 1}

    assert plain([shared, shared]) == [{"a": 1}, {"a": 1}]


def test_what_is_too_deep_is_cut_where_the_relay_would_refuse_the_event() -> None:
    deep: Any = "bottom"
    for _ in range(10_000):
        deep = [deep]

    levels, value = 0, plain(deep)
    while value:
        levels, value = levels + 1, value[0]
    assert (levels, value) == (client.MAX_LEVELS, None)


def test_properties_that_are_no_mapping_are_kept() -> None:
    assert client._object(["a", 1]) == {"value": ["a", 1]}
    assert client._object(None) == {}
    assert client._object({}) == {}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (datetime(2026, 3, 1, 12, 0, 0, 500, INDIA), "2026-03-01T06:30:00.000500Z"),
        (datetime(2026, 3, 1, 12, tzinfo=UTC), "2026-03-01T12:00:00Z"),
        (date(2026, 3, 1), "2026-03-01"),
        (1772366400, "2026-03-01T12:00:00Z"),
        (1772366400.5, "2026-03-01T12:00:00.500000Z"),
        ("01/03/2026", "01/03/2026"),
        ("\ud800", "\ufffd"),
    ],
)
def test_a_moment_becomes_rfc_3339(given: client.Moment, wanted: str) -> None:
    assert client._stamp(given) == wanted


def test_a_moment_without_a_zone_is_local_time() -> None:
    given = datetime(2026, 3, 1, 12)  # noqa: DTZ001 - it is what is tested

    wanted = given.astimezone(UTC).isoformat().replace("+00:00", "Z")
    assert client._stamp(given) == wanted


@pytest.mark.parametrize(
    "given",
    [
        *(None, "", math.nan, math.inf, 1e300, -1e300, [], Sulky()),
        datetime(2026, 3, 1, tzinfo=NoZone()),  # type: ignore[abstract]
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
    ],
)
def test_a_moment_that_makes_no_sense_is_now(given: Any) -> None:
    before = datetime.now(UTC)  # noqa: TID251 - the client has no clock to fake

    stamp = datetime.fromisoformat(client._stamp(given))

    assert before <= stamp <= datetime.now(UTC)  # noqa: TID251


def test_a_uuid_is_of_version_7_and_of_this_moment() -> None:
    before = datetime.now(UTC).timestamp() * 1000  # noqa: TID251

    made = [UUID(client._uuid7()) for _ in range(100)]

    assert {(each.version, each.variant) for each in made} == {
        (7, "specified in RFC 4122")
    }
    assert all(0 <= (each.int >> 80) - int(before) < 1000 for each in made)
    assert len(set(made)) == 100


@pytest.mark.parametrize("seconds", [0, -1, math.inf, math.nan])
def test_a_timeout_that_is_none_is_refused_at_once(seconds: float) -> None:
    with pytest.raises(ValueError, match="is no timeout"):
        client.Client(timeout_seconds=seconds)
    with pytest.raises(ValueError, match="is no timeout"):
        client.Client(connect_timeout_seconds=seconds)
