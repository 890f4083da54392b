"""What the client sends: the shapes of the SDKs."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from leanbase_relay.client import LIBRARY, Client, Outcome
from tests.support.intake import RunningIntake

UUID_1 = "01890a5d-ac96-774b-bcce-000000000001"
MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)
STAMP = "2026-03-01T12:00:00Z"


@pytest.fixture
def relay(short_dir: Path) -> Iterator[RunningIntake]:
    with RunningIntake(short_dir) as relay:
        yield relay


@pytest.fixture
def client(relay: RunningIntake) -> Client:
    return Client(socket_path=relay.path, timeout_seconds=20.0)


def sent(relay: RunningIntake, outcome: Outcome) -> dict[str, Any]:
    assert outcome == Outcome("stored", UUID_1)
    event: dict[str, Any] = json.loads(relay.backlog()[-1])
    assert (event.pop("uuid"), event.pop("timestamp")) == (UUID_1, STAMP)
    for name, value in LIBRARY.items():
        assert event["properties"].pop(name) == value
    return event


def test_capture(relay: RunningIntake, client: Client) -> None:
    outcome = client.capture(
        "u1",
        "order placed",
        {"total": 12.5},
        groups={"company": "acme"},
        uuid=UUID(UUID_1),
        timestamp=MOMENT,
    )

    assert sent(relay, outcome) == {
        "event": "order placed",
        "distinct_id": "u1",
        "properties": {"total": 12.5, "$groups": {"company": "acme"}},
    }


def test_an_anonymous_event(relay: RunningIntake, client: Client) -> None:
    event = sent(relay, client.capture(None, "seen", uuid=UUID_1, timestamp=STAMP))

    assert UUID(event.pop("distinct_id")).version == 4
    assert event == {
        "event": "seen",
        "properties": {"$process_person_profile": False},
    }


def test_pageview(relay: RunningIntake, client: Client) -> None:
    url = "https://example.org/a?b=c"

    outcome = client.pageview("u1", url, {"title": "A"}, uuid=UUID_1, timestamp=STAMP)

    assert sent(relay, outcome) == {
        "event": "$pageview",
        "distinct_id": "u1",
        "properties": {"title": "A", "$current_url": url},
    }


def test_identify(relay: RunningIntake, client: Client) -> None:
    outcome = client.identify(
        "u1",
        {"plan": "pro"},
        set_once={"source": "ad"},
        uuid=UUID_1,
        timestamp=STAMP,
    )

    assert sent(relay, outcome) == {
        "event": "$identify",
        "distinct_id": "u1",
        "properties": {"$set": {"plan": "pro"}, "$set_once": {"source": "ad"}},
    }


@pytest.mark.parametrize("name", ["set", "set_once"])
def test_set(relay: RunningIntake, client: Client, name: str) -> None:
    call = getattr(client, name)

    outcome = call("u1", {"plan": "pro"}, uuid=UUID_1, timestamp=STAMP)

    assert sent(relay, outcome) == {
        "event": f"${name}",
        "distinct_id": "u1",
        "properties": {f"${name}": {"plan": "pro"}},
    }


def test_alias(relay: RunningIntake, client: Client) -> None:
    outcome = client.alias("u1", alias="v9", uuid=UUID_1, timestamp=STAMP)

    assert sent(relay, outcome) == {
        "event": "$create_alias",
        "distinct_id": "u1",
        "properties": {"distinct_id": "u1", "alias": "v9"},
    }


@pytest.mark.parametrize(("given", "speaker"), [(None, "$company_acme"), ("u1", "u1")])
def test_group_identify(
    relay: RunningIntake, client: Client, given: str | None, speaker: str
) -> None:
    outcome = client.group_identify(
        "company",
        "acme",
        {"seats": 25},
        distinct_id=given,
        uuid=UUID_1,
        timestamp=STAMP,
    )

    assert sent(relay, outcome) == {
        "event": "$groupidentify",
        "distinct_id": speaker,
        "properties": {
            "$group_type": "company",
            "$group_key": "acme",
            "$group_set": {"seats": 25},
        },
    }


def test_its_own_name_stays_out_of_the_apps_way(
    relay: RunningIntake, client: Client
) -> None:
    client.capture("u1", "e", {"$lib": "shop"})

    (event,) = relay.backlog()
    properties = json.loads(event)["properties"]
    assert properties == {**LIBRARY, "$lib": "shop"}


def test_a_project(relay: RunningIntake) -> None:
    shop = Client("shop", socket_path=relay.path, timeout_seconds=20.0)

    assert shop.capture("u1", "e").became == "stored"

    assert relay.backlog() == []
    assert len(relay.backlog("shop")) == 1


def test_an_event_keeps_the_form_that_the_relay_judges_fastest(
    relay: RunningIntake, client: Client
) -> None:
    """Nothing is to be mended: what is stored is the line that was sent."""
    outcome = client.capture("u1", "e", {"text": "é ☃ 😀"})

    (event,) = relay.backlog()
    start = '{"event":"e","distinct_id":"u1","uuid":"%s","timestamp":"'
    assert event.decode().startswith(start % outcome.uuid)
    assert event.decode().endswith('"text":"é ☃ 😀"}}')
