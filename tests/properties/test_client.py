"""The client: whatever an app gives, the relay gets an event that it takes."""

import json
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from leanbase_relay import client
from leanbase_relay.intake.event import Judge

JUDGE = Judge(max_bytes=900 << 10, projects=frozenset({"default"}))

any_text = st.text(st.characters(codec=None), max_size=20)  # lone surrogates too
any_scalar = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers().map(lambda n: n * 10**400),
    st.floats(),
    st.decimals().filter(lambda d: not d.is_snan()),  # it has no hash
    st.fractions(),
    st.binary(max_size=20),
    st.uuids(),
    st.datetimes(timezones=st.none() | st.timezones()),
    st.dates(),
    st.times(),
    st.timedeltas(timedelta(days=-9), timedelta(days=9)),
    any_text,
)
any_key = st.one_of(any_scalar, st.tuples(any_scalar))
any_value = st.recursive(
    any_scalar,
    lambda inside: st.one_of(
        st.lists(inside, max_size=4),
        st.tuples(inside, inside),
        st.frozensets(any_scalar, max_size=4),
        st.dictionaries(any_key, inside, max_size=4),
    ),
    max_leaves=20,
)
json_value = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**1000), 2**1000)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inside: (
        st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4)
    ),
    max_leaves=20,
)


class Overheard(client.Client):
    """Keeps its lines to itself."""

    line = b""

    def _keep(self, line: bytes, uuid: str) -> client.Outcome:
        self.line = line
        return client.Outcome("stored", uuid)


@given(
    name=any_text.filter(bool),
    distinct_id=any_text.filter(lambda text: bool(text.strip())) | st.uuids(),
    properties=any_value,
    moment=any_value,
)
def test_whatever_an_app_gives_is_an_event(
    name: str, distinct_id: Any, properties: Any, moment: Any
) -> None:
    relay = Overheard()

    outcome = relay.capture(distinct_id, name, properties, timestamp=moment)

    assert relay.line.count(b"\n") == 1
    judged = JUDGE.judge(relay.line, project="default", now_ms=0)
    assert (judged.events, judged.refusals) == (1, ())
    assert json.loads(judged.chunks[0].event_bytes)["uuid"] == outcome.uuid


@given(json_value)
def test_what_json_has_arrives_as_it_was(value: Any) -> None:
    relay = Overheard()

    relay.capture("u", "e", {"value": value})

    given = json.loads(relay.line)["properties"]
    assert given == {"value": value, **client.LIBRARY}
    assert repr(given["value"]) == repr(value)  # 1, 1.0 and True are not the same
