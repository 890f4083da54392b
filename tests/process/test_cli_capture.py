"""Single events arrive upstream in the shapes that the SDKs have."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from leanbase_relay import __version__
from leanbase_relay.sink import Sink
from tests.support.process import RelayProcess, relay_command

pytestmark = pytest.mark.process

LIBRARY = {"$lib": "leanbase-relay", "$lib_version": __version__}


def arrived(short_dir: Path, *arguments: str) -> dict[str, Any]:
    """Run the command; the event as it came upstream, less its timestamp."""
    with Sink() as sink, RelayProcess(short_dir, sink.url) as relay:
        done = relay.command(*arguments)
        assert done.returncode == 0, done.stderr
        assert sink.wait_for(1, within_seconds=5)
        (event,) = sink.events
    assert done.stdout == f"stored {event.pop('uuid')}\n"
    event.pop("timestamp")
    return dict(event)


def test_capture_takes_values_as_json_or_as_text(short_dir: Path) -> None:
    given = ("-p", "seconds=12.50", "-p", "ok=true", "-p", "note=a=b", "-p", "nan=NaN")

    event = arrived(short_dir, "capture", "backup", "--distinct-id", "h7", *given)

    properties = {"seconds": 12.5, "ok": True, "note": "a=b", "nan": "NaN", **LIBRARY}
    assert event == {"event": "backup", "distinct_id": "h7", "properties": properties}


def test_an_anonymous_event_makes_no_person(short_dir: Path) -> None:
    event = arrived(short_dir, "capture", "seen", "--anonymous")

    assert UUID(event["distinct_id"]).version == 4
    assert event["properties"] == {"$process_person_profile": False, **LIBRARY}


def test_identify_sets_what_a_person_has(short_dir: Path) -> None:
    given = ("-p", "plan=pro", "--set-once", "source=shop")

    event = arrived(short_dir, "identify", "--distinct-id", "u1", *given)

    assert event == {
        "event": "$identify",
        "distinct_id": "u1",
        "properties": {
            "$set": {"plan": "pro"},
            "$set_once": {"source": "shop"},
            **LIBRARY,
        },
    }


def test_alias_names_both_ids(short_dir: Path) -> None:
    event = arrived(short_dir, "alias", "--distinct-id", "u1", "--alias", "v9")

    assert event == {
        "event": "$create_alias",
        "distinct_id": "u1",
        "properties": {"distinct_id": "u1", "alias": "v9", **LIBRARY},
    }


def test_a_group_speaks_for_itself(short_dir: Path) -> None:
    given = ("--type", "company", "--key", "acme", "-p", "plan=pro")

    event = arrived(short_dir, "group", *given)

    assert event == {
        "event": "$groupidentify",
        "distinct_id": "$company_acme",
        "properties": {
            "$group_type": "company",
            "$group_key": "acme",
            "$group_set": {"plan": "pro"},
            **LIBRARY,
        },
    }


def test_a_pageview_has_its_address(short_dir: Path) -> None:
    url = "https://example.org/a?b=c"

    event = arrived(short_dir, "pageview", "--distinct-id", "u1", "--url", url)

    assert event == {
        "event": "$pageview",
        "distinct_id": "u1",
        "properties": {"$current_url": url, **LIBRARY},
    }


def test_a_refused_event_says_why(short_dir: Path) -> None:
    with RelayProcess(short_dir) as relay:
        blank = relay.command("capture", "seen", "--distinct-id", "")
        unknown = relay.command(
            "capture", "seen", "--distinct-id", "u1", "--project", "nope"
        )

    assert blank.returncode == 4
    assert "distinct_id: empty" in blank.stderr
    assert unknown.returncode == 4
    assert "nope" in unknown.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("capture", "seen"),
        ("capture", "seen", "--anonymous", "--distinct-id", "u1"),
        ("capture", "seen", "--anonymous", "-p", "novalue"),
        ("capture", "seen", "--anonymous", "-p", "a=1", "-p", "a=2"),
        ("pageview", "--distinct-id", "u1"),
    ],
)
def test_a_wrong_command_line_sends_nothing(arguments: tuple[str, ...]) -> None:
    assert relay_command(*arguments).returncode == 2
