"""Whose requests are served on a port: no page of the internet's."""

from collections.abc import Mapping

import pytest

from leanbase_relay.intake.callers import for_page, is_here, kept_out

HERE = {"Host": "127.0.0.1:8010"}


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8010",
        "127.0.0.1",
        "[::1]:8010",
        "localhost:8010",
        "LocalHost",
        "localhost.:8010",
        "app.localhost",
        "192.168.1.5:8010",  # an address cannot be led elsewhere
    ],
)
def test_an_address_and_localhost_are_answered_to(host: str) -> None:
    assert kept_out({"Host": host}) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:8010",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evillocalhost",
        "",
        "[::1",
        "a b",
    ],
)
def test_a_name_of_the_internets_is_not(host: str) -> None:
    """It can be made to lead here (DNS rebinding)."""
    said = kept_out({"Host": host})

    assert said is not None
    assert "http.listen" in said


def test_http_1_0_needs_no_host() -> None:
    assert kept_out({}) is None


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:3000",
        "https://localhost",
        "http://127.0.0.1:8010",
        "http://[::1]:5173",
        "http://shop.localhost:8080",
    ],
)
def test_a_page_of_this_machine_may_send(origin: str) -> None:
    assert kept_out({**HERE, "Origin": origin, "Sec-Fetch-Site": "cross-site"}) is None
    assert for_page({**HERE, "Origin": origin}) == {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Credentials": "true",
        "Vary": "Origin",
    }


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Origin": "http://192.168.1.1"},  # the router's page is not ours
        {"Origin": "null"},  # a file's, or a frame's that hides where it is from
        {"Origin": "chrome-extension://abc"},
        {"Origin": "file://"},
        {"Origin": "http://[::1"},
        {"Origin": ""},
        {"Referer": "https://evil.example/page"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site", "Referer": "http://localhost/"},
    ],
)
def test_a_page_of_anywhere_else_may_not(headers: Mapping[str, str]) -> None:
    said = kept_out({**HERE, **headers})

    assert said is not None
    assert "pages of this machine only" in said


@pytest.mark.parametrize("relation", ["none", "same-origin", "same-site"])
def test_an_address_typed_into_a_browser_is_served(relation: str) -> None:
    assert kept_out({**HERE, "Sec-Fetch-Site": relation}) is None


def test_a_preflight_hears_what_it_asks_for() -> None:
    said = for_page(
        {
            **HERE,
            "Origin": "http://localhost:3000",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,x-more",
        }
    )

    assert said["Access-Control-Allow-Methods"] == "GET, POST, OPTIONS"
    assert said["Access-Control-Allow-Headers"] == "content-type,x-more"


def test_without_an_origin_nothing_is_said_of_pages() -> None:
    assert for_page(HERE) == {}


@pytest.mark.parametrize("url", ["http://127.0.0.200/", "https://localhost./x"])
def test_loopback_is_here(url: str) -> None:
    assert is_here(url)
