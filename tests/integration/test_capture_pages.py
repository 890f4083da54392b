"""Browsers: a page of this machine may send events, and no other page may."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.http import OK, RunningApi, batch, event, request, spelled

BODY = batch(event(1))


@pytest.fixture
def relay(short_dir: Path) -> Iterator[RunningApi]:
    with RunningApi(short_dir) as relay:
        yield relay


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Referer": "https://evil.example/"},
    ],
)
@pytest.mark.parametrize("path", ["/batch/", "/e/", "/i/v1/analytics/events", "/"])
def test_a_page_of_the_internet_stores_nothing(
    relay: RunningApi, path: str, headers: dict[str, str]
) -> None:
    """Not even by what a browser sends without asking: a form, or text/plain."""
    answer = relay.answer(path, BODY, {"Content-Type": "text/plain", **headers})

    assert answer.status_code == 403
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert relay.backlog() == []


def test_nor_does_an_image_of_its(relay: RunningApi) -> None:
    answer = requests.get(
        f"{relay.url}/e/",
        params={"data": spelled({**event(1), "api_key": "phc_test"})},
        headers={"Sec-Fetch-Site": "cross-site"},
        timeout=10,
    )

    assert answer.status_code == 403
    assert relay.backlog() == []


def test_its_preflight_is_refused(relay: RunningApi) -> None:
    answer = requests.options(
        f"{relay.url}/e/",
        headers={
            "Origin": "https://evil.example",
            "Access-Control-Request-Method": "POST",
        },
        timeout=10,
    )

    assert answer.status_code == 403
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("path", ["/batch/", "/e/", "/i/v1/analytics/events"])
def test_a_page_of_this_machine_asks_first_and_then_sends(
    relay: RunningApi, path: str
) -> None:
    origin = {"Origin": "http://localhost:3000"}
    asked = requests.options(
        relay.url + path,
        headers={
            **origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        },
        timeout=10,
    )
    sent = relay.answer("/e/", BODY, origin)
    refused = relay.answer("/e/", b"{}", origin)

    assert (asked.status_code, asked.text) == (200, "")
    assert asked.headers["Access-Control-Allow-Methods"] == "GET, POST, OPTIONS"
    assert asked.headers["Access-Control-Allow-Headers"] == "content-type"
    for answer in (asked, sent, refused):
        assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert answer.headers["Vary"] == "Origin"
    assert (sent.status_code, sent.text) == OK


def test_behind_a_unix_socket_a_proxy_decides(relay: RunningApi) -> None:
    sent = request(
        spelled(BODY), Host="app.example.com", Origin="https://app.example.com"
    )
    with relay.wire(unix=True) as client:
        client.send(sent)
        heard = client.hear()

    assert heard[:2] == OK
    assert "access-control-allow-origin" not in heard.headers


def test_what_looks_like_a_header_stays_within_its_line(relay: RunningApi) -> None:
    """An origin is given back as it came, which must not begin a header of its own."""
    with relay.wire() as client:
        client.send(request(spelled(BODY), Origin="http://localhost\r\n X: y"))

        assert client.hear().status in (400, 403)
