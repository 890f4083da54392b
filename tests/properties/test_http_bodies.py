"""Any events in any form and wrapping: through the relay as to the sink itself.

And where a request has bad events among good ones, which the sink refuses as a whole,
the relay makes of it what the sink makes of the good ones alone.
"""

import base64
import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.differ import Differ, Ends, differing, told
from tests.support.keys import KEY
from tests.support.lz64 import compressed

NOW = 1_800_000_000.25
UUID = "01890a5d-ac96-774b-bcce-b302099a8057"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
good_events = st.fixed_dictionaries(
    {
        "event": st.sampled_from(["e", "$identify", "naïve ☃"]),
        "distinct_id": st.sampled_from(["u", 7, True, [1], {"b": 1, "a": 2}]),
        "uuid": st.sampled_from([UUID, UUID.upper(), UUID.replace("-", "")]),
    },
    optional={
        "timestamp": st.sampled_from(
            ["2026-03-01T12:00:00.5+02:00", "2026-03-01", "x"]
        ),
        "properties": st.dictionaries(st.text(min_size=1, max_size=4), values),
        "$set": st.dictionaries(st.text(max_size=3), values, max_size=2),
        "groups": values,
        "project": values,
        "historical_migration": values,
        "session_id": values,
        "options": values,
    },
)
bad_events = st.sampled_from(
    [
        b'{"event":"","distinct_id":"u"}',
        b'{"event":"e"}',
        b'{"event":"e","distinct_id":"u","uuid":"no"}',
        b'{"event":"e","distinct_id":"u","properties":null}',
        b'{"event":"e","distinct_id":"u","timestamp":7}',
        b'{"event":"e","distinct_id":"u","properties":{"n":NaN}}',
        b'{"event":"e","distinct_id":"u","properties":{"n":1e999}}',
        b'{"event":"e","distinct_id":"u","properties":{"s":"\\ud800"}}',
        b'{"event":"e","distinct_id":"u","properties":{"s":"\n"}}',
        b'{"event":"e","distinct_id":"u","properties":%b1%b}'
        % (b"[" * 126, b"]" * 126),
    ]
)


class Wrapped(NamedTuple):
    """A request but for its address."""

    query: str
    body: bytes
    headers: dict[str, str]


WRAPPINGS: dict[str, Callable[[bytes], Wrapped]] = {
    "plain": lambda text: Wrapped("", text, {}),
    "gzip": lambda text: Wrapped("", gzip.compress(text), {}),
    "said": lambda text: Wrapped("?compression=gzip-js&ver=1", gzip.compress(text), {}),
    "base64": lambda text: Wrapped("", base64.b64encode(text), {}),
    "twice": lambda text: Wrapped("", gzip.compress(base64.b64encode(text)), {}),
    "form": lambda text: Wrapped("", urlencode({"data": text}).encode(), FORM),
    "form64": lambda text: Wrapped("", b"data=" + base64.b64encode(text), FORM),
    "query": lambda text: Wrapped("?data=" + quote(base64.b64encode(text)), b"", {}),
    "wrong": lambda text: Wrapped("?compression=gzip", text, {}),
    "lz64": lambda text: Wrapped(
        "",
        urlencode(
            {"data": compressed(text.decode(errors="replace")), "compression": "lz64"}
        ).encode(),
        FORM,
    ),
}


def spelling(*, indent: int | None, ascii_only: bool) -> Callable[[Any], bytes]:
    def spelled(value: Any) -> bytes:
        return json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode(
            errors="replace"
        )

    return spelled


spellings = st.builds(
    spelling, indent=st.sampled_from([None, 1]), ascii_only=st.booleans()
)


def batch(events: list[bytes]) -> bytes:
    return b'{"historical_migration":false,"api_key":"%b","batch":[ %b ],"x":{}}' % (
        KEY.encode(),
        b" ,\n".join(events),
    )


def array(events: list[bytes]) -> bytes:
    keyed = [b'{"token":"%b",%b' % (KEY.encode(), one.lstrip()[1:]) for one in events]
    return b"[%b]" % b",".join(keyed)


class Mixture(NamedTuple):
    """A request with good events, and perhaps bad ones among them."""

    good: list[dict[str, Any]]
    bad: list[bytes]
    spelled: Callable[[Any], bytes]
    form: Callable[[list[bytes]], bytes]
    wrapping: str
    path: str


mixtures = st.builds(
    Mixture,
    good=st.lists(good_events, max_size=3),
    bad=st.lists(bad_events, max_size=2),
    spelled=spellings,
    form=st.sampled_from([batch, array]),
    wrapping=st.sampled_from(sorted(WRAPPINGS)),
    path=st.sampled_from(["/batch/", "/e", "/i/v0/e/", "/capture/", "/engage"]),
)


@pytest.fixture(scope="module")
def differ() -> Iterator[Differ]:
    with differing(wall=NOW) as differ:
        yield differ


def same(relayed: Ends, direct: Ends) -> None:
    assert relayed.status == direct.status
    assert [told(row) for row in relayed.rows] == [told(row) for row in direct.rows]


@settings(max_examples=60, deadline=None)
@given(mixture=mixtures)
def test_the_outcome_is_that_of_the_good_events(
    differ: Differ, mixture: Mixture
) -> None:
    wrap = WRAPPINGS[mixture.wrapping]
    good = [mixture.spelled(event) for event in mixture.good]
    whole = wrap(mixture.form([*good[:1], *mixture.bad, *good[1:]]))
    proper = wrap(mixture.form(good or mixture.bad))

    relayed = differ.relayed(mixture.path + whole.query, whole.body, whole.headers)
    direct = differ.direct(mixture.path + proper.query, proper.body, proper.headers)

    same(relayed, direct)


@settings(max_examples=30, deadline=None)
@given(event=good_events, spelled=spellings, wrapping=st.sampled_from([*WRAPPINGS]))
def test_so_it_is_for_a_single_event(
    differ: Differ,
    event: dict[str, Any],
    spelled: Callable[[Any], bytes],
    wrapping: str,
) -> None:
    sent = WRAPPINGS[wrapping](spelled({**event, "api_key": KEY}))

    relayed = differ.relayed("/capture/" + sent.query, sent.body, sent.headers)
    direct = differ.direct("/capture/" + sent.query, sent.body, sent.headers)

    same(relayed, direct)


@settings(max_examples=60, deadline=None)
@given(
    body=st.binary(max_size=40)
    | st.text(alphabet='{}[]",:ebatch0 \\n', max_size=40).map(str.encode)
    | values.map(lambda value: json.dumps(value).encode()),
    wrapping=st.sampled_from([*WRAPPINGS]),
    path=st.sampled_from(["/batch/", "/e/", "/engage/"]),
)
def test_garbage_is_turned_down_as_the_sink_does(
    differ: Differ, body: bytes, wrapping: str, path: str
) -> None:
    sent = WRAPPINGS[wrapping](body)

    relayed = differ.relayed(path + sent.query, sent.body, sent.headers)
    direct = differ.direct(path + sent.query, sent.body, sent.headers)

    assert relayed.status == direct.status
    assert relayed.rows == ()
