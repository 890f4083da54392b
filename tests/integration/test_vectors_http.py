"""Every vector to the relay over HTTP, and to the sink itself: the same outcome.

Where the outcome differs it does so on purpose; the tables say how.
"""

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.support.differ import Differ, differing, told
from tests.support.vectors import VECTORS, Vector, line_of, name_of

NOW = datetime(2026, 3, 2, 8, 30, 0, 250_000, tzinfo=UTC)
PATHS = {
    "batch": ("/batch/", b'{"api_key":"phc_test","batch":[%b]}'),
    "single": ("/i/v0/e/", b"%b"),
    "array": ("/e/", b"[%b]"),
    "engage": ("/engage/", b"%b"),
}
KINDER = {
    # What PHP writes for an empty map.
    *("props_list", "set_list", "set_once_list"),
}
MENDED_PROPERTIES = {"ppp_string_false": {"$process_person_profile": False}}


@pytest.fixture(scope="module")
def differ() -> Iterator[Differ]:
    with differing(wall=NOW.timestamp()) as differ:
        yield differ


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("vector", VECTORS, ids=name_of)
def test_it_comes_to_the_same(differ: Differ, vector: Vector, *, packed: bool) -> None:
    name = name_of(vector)
    path, form = PATHS[vector["envelope"]]
    body = form % line_of(vector)
    sent = gzip.compress(body) if packed else body

    direct = differ.direct(path, sent)
    relayed = differ.relayed(path, sent)

    if name in KINDER:
        assert (direct.status, relayed.status) == (400, 200)
        assert len(relayed.rows) == 1
        return
    assert relayed.status == direct.status
    given = json.loads(line_of(vector)).get("uuid") if direct.rows else None
    if name in MENDED_PROPERTIES:
        assert relayed.rows[0].properties == MENDED_PROPERTIES[name]
        return
    assert [told(row, with_uuid=bool(given)) for row in relayed.rows] == [
        told(row, with_uuid=bool(given)) for row in direct.rows
    ]


def test_the_exceptions_are_vectors() -> None:
    assert set(map(name_of, VECTORS)) >= KINDER | MENDED_PROPERTIES.keys()
