"""What other programs wrote down becomes lines of events; all else passes as it is."""

import io
import json
from functools import partial
from typing import Any

import pytest

from leanbase_relay.cli import foreign
from leanbase_relay.cli.foreign import as_event, as_events, lines_of
from leanbase_relay.errors import RelayError

UUID = "01890a5d-ac96-774b-bcce-000000000007"

ROW: dict[str, Any] = {
    "uuid": UUID,
    "event": "$autocapture",
    "distinct_id": "user-1",
    "person_id": "01890a5d-0000-0000-0000-000000000001",
    "properties": {"$lib": "web", "price": 1.5, "$set": {"plan": "pro"}},
    "person_properties": {"plan": "free"},
    "elements_chain": 'a:text="Buy"nth-child="1"',
    "timestamp": "2024-03-01T12:00:00.123456+00:00",
    "created_at": "2024-03-01T12:00:01.000000+00:00",
    "_inserted_at": "2024-03-01T12:00:02+00:00",
}
"""As a batch export of events writes it, in JSON Lines."""

OLD_ROW = {
    **ROW,
    "team_id": 1,
    "set": {"plan": "pro"},
    "set_once": None,
    "ip": "203.0.113.1",
    "site_url": "",
    "elements": None,
}
"""As older ones did."""


def event(line: bytes | dict[str, Any], number: int = 1) -> dict[str, Any]:
    text = line if isinstance(line, bytes) else json.dumps(line).encode()
    found: dict[str, Any] = json.loads(as_event(text, number))
    return found


@pytest.mark.parametrize("row", [ROW, OLD_ROW], ids=["new", "old"])
def test_of_an_exported_row_goes_what_was_sent(row: dict[str, Any]) -> None:
    assert event(row) == {
        "event": "$autocapture",
        "distinct_id": "user-1",
        "timestamp": "2024-03-01T12:00:00.123456+00:00",
        "properties": {
            "$elements_chain": 'a:text="Buy"nth-child="1"',
            **ROW["properties"],
        },
        "uuid": UUID,
    }


@pytest.mark.parametrize("properties", [b"{}", b"{ }", b'{"a":1.10}'])
def test_numbers_of_an_exported_row_keep_their_spelling(properties: bytes) -> None:
    row = b'{"event":"e","team_id":1,"uuid":"u","elements_chain":"a","properties":%b}'

    found = as_event(row % properties, 1)

    assert json.loads(found)["properties"]["$elements_chain"] == "a"
    assert (b"1.10" in found) is (b"1.10" in properties)


@pytest.mark.parametrize("elements", [None, ""])
def test_no_elements_are_no_property(elements: str | None) -> None:
    found = event({**ROW, "elements_chain": elements})

    assert found["properties"] == ROW["properties"]


def test_elements_that_are_there_are_not_given_twice() -> None:
    properties = {"$elements_chain": "b"}

    assert event({**ROW, "properties": properties})["properties"] == properties


def test_properties_may_be_json_in_a_text() -> None:
    """As they are in Parquet, and in what other tools make of it."""
    row = {**ROW, "properties": json.dumps(ROW["properties"]), "elements_chain": ""}

    assert event(row)["properties"] == ROW["properties"]


def test_the_api_calls_the_uuid_id() -> None:
    row = {key: ROW[key] for key in ("event", "distinct_id", "properties", "timestamp")}

    found = event({"id": UUID, **row, "person": None, "elements": []})

    assert found == {**row, "uuid": UUID}


def test_an_event_with_a_uuid_passes_byte_for_byte() -> None:
    line = b' {"event" : "e","uuid":"%b", "properties":{"n":1.10}}\r' % UUID.encode()

    assert as_event(line, 1) is line


def test_a_line_of_the_php_sdk_gets_the_same_uuid_each_time() -> None:
    """Its identify and alias have none; everything else of it stays."""
    line = (
        b'{"event":"$identify","distinct_id":"u\\u00e9","$set":[],"groups":[],'
        b'"properties":{"$lib":"posthog-php","total":1.10},'
        b'"timestamp":"2026-03-01T12:00:00.123456+00:00","uuid":null}'
    )

    first, again, elsewhere = event(line, 7), event(line, 7), event(line, 8)

    assert first == again
    assert first["uuid"] != elsewhere["uuid"]
    assert first.keys() - {"uuid"} == json.loads(line).keys() - {"uuid"}
    assert as_event(line, 7).count(b'"uuid"') == 1
    assert b"1.10" in as_event(line, 7)


@pytest.mark.parametrize("line", [b"", b" \r", b"{torn", b"[]", b"17", b'"text"'])
def test_what_is_no_event_passes_for_the_relay_to_name(line: bytes) -> None:
    assert as_event(line, 1) == line


def test_a_run_has_a_line_for_a_line() -> None:
    run = b'{"event":"a"}\n\nbad\n{"event":"a"}\n'

    lines = as_events(run, 11).split(b"\n")

    assert len(lines) == 5
    assert lines[1:3] == [b"", b"bad"]
    assert json.loads(lines[0])["uuid"] == event(b'{"event":"a"}', 11)["uuid"]
    assert json.loads(lines[3])["uuid"] == event(b'{"event":"a"}', 14)["uuid"]


def read_all(text: bytes, block: int) -> bytes:
    file = io.BytesIO(text)
    return b"".join(lines_of(partial(lambda f, n, _: f.read(n), file, block)))


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("is_page", [True, False], ids=["page", "array"])
def test_a_document_that_lists_events_is_lines_of_them(
    *, is_page: bool, indent: int | None
) -> None:
    events = [ROW, {"event": "a\nb", "distinct_id": "u"}]
    document = {"next": None, "results": events} if is_page else events
    text = json.dumps(document, indent=indent).encode()

    lines = read_all(text, 64).splitlines()

    assert [json.loads(line) for line in lines] == events


def test_lines_stay_lines_however_the_file_is_read() -> None:
    text = b'{"event":"results"}\n{"event":"b"}'

    for block in (1, 5, 1000):
        assert read_all(text, block) == text + b"\n"
    assert read_all(b"", 10) == b""


def test_an_event_may_begin_as_a_page_does() -> None:
    text = b'{"count":1,"event":"a"}\n{"event":"b"}\n'

    assert read_all(text, 1000) == text


def test_a_document_that_is_broken_or_too_long_is_refused_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(RelayError, match="neither lines of events nor one JSON"):
        read_all(b'[{"event":', 100)
    monkeypatch.setattr(foreign, "MOST_DOCUMENT_BYTES", 10)
    with pytest.raises(RelayError, match="jq -c"):
        read_all(b'[{"event":"a"}]', 4)
