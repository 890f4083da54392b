"""What answers mean: the table of docs/protocol.md, every status of it."""

import pytest

from leanbase_relay.forward.verdict import (
    Answer,
    Silence,
    Verdict,
    judge,
    retry_after_seconds,
)

NOW = 1_800_000_000.0
OK = Answer(status=200, body=b'{"status":"Ok"}', content_type="application/json")
LATER = {408, 425, 429, *range(500, 600), *range(100, 200)}
REFUSED = {400, 422}


def expected(status: int) -> Verdict:
    if 200 <= status < 300:
        return Verdict.HELD  # no body of the capture service's
    if status in LATER:
        return Verdict.LATER
    if status == 413:
        return Verdict.TOO_BIG
    return Verdict.REFUSED if status in REFUSED else Verdict.HELD


@pytest.mark.parametrize("status", [s for s in range(100, 600) if s != 204])
def test_every_status_has_its_verdict(status: int) -> None:
    answer = Answer(status=status, body=b"<html>", content_type="text/html")

    assert judge(answer, now=NOW).verdict is expected(status)


@pytest.mark.parametrize("body", [b'{"status":"Ok"}', b'{"status":1}', b"{}"])
def test_an_object_of_the_capture_service_is_delivery(body: bytes) -> None:
    assert judge(Answer(status=200, body=body), now=NOW).verdict is Verdict.DELIVERED


def test_an_empty_204_is_delivery_and_a_full_one_is_not() -> None:
    assert judge(Answer(status=204), now=NOW).verdict is Verdict.DELIVERED
    assert judge(Answer(status=204, body=b"x"), now=NOW).verdict is Verdict.HELD


@pytest.mark.parametrize("body", [b"", b"ok", b"[]", b"1", b"{]", b"[1,", b"[" * 9999])
def test_anything_else_with_200_is_not_delivery(body: bytes) -> None:
    assert judge(Answer(status=200, body=body), now=NOW).verdict is Verdict.HELD


@pytest.mark.parametrize("body", [b'{"status":', b'{"results":{"a":{}}', b" {"])
def test_a_yes_that_breaks_off_is_no_answer(body: bytes) -> None:
    judged = judge(Answer(status=200, body=body), now=NOW)

    assert judged.verdict is Verdict.LATER
    assert f"breaks off after {len(body)} bytes" in judged.reason


def test_a_yes_that_is_too_long_to_be_read_is_held_and_says_so() -> None:
    long = Answer(status=200, body=b'{"x":"' + b"y" * 60_000, is_cut=True)

    judged = judge(long, now=NOW)

    assert judged.verdict is Verdict.HELD
    assert "with more than 60,006 bytes" in judged.reason
    assert judge(Answer(status=200, body=b"{}", is_cut=True), now=NOW).verdict is (
        Verdict.DELIVERED
    ), "what is whole in its beginning is whole"


@pytest.mark.parametrize("silence", Silence)
def test_no_answer_is_tried_again_unless_a_certificate_was_refused(
    silence: Silence,
) -> None:
    verdict = judge(Answer(silence=silence, detail="x"), now=NOW).verdict

    refused = silence is Silence.CERTIFICATE
    assert verdict is (Verdict.HELD if refused else Verdict.LATER)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("3", 3),
        ("2.5", 2.5),
        ("-5", 0),
        ("nan", 0),
        ("inf", 3600),
        ("1e400", 3600),
        ("soon", 0),
        ("Fri, 15 Jan 2027 08:00:10 GMT", 10),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600),
        ("Fri, 99 Dec 9999 23:59:59 GMT", 0),
    ],
)
def test_retry_after_is_obeyed_within_reason(text: str | None, seconds: float) -> None:
    assert retry_after_seconds(text, now=NOW) == seconds


def test_the_floor_of_the_answer_goes_with_the_verdict() -> None:
    judged = judge(Answer(status=429, retry_after="7"), now=NOW)

    assert judged.not_before_seconds == 7


def test_a_retry_after_that_is_a_date_is_by_the_clock_of_who_says_it() -> None:
    """This machine's may be wrong by years, and would wait for as long as it may."""
    answer = Answer(
        status=503,
        retry_after="Fri, 15 Jan 2027 08:00:07 GMT",
        date="Fri, 15 Jan 2027 08:00:00 GMT",
    )

    for now in (0.0, NOW, NOW + 86_400):
        assert judge(answer, now=now).not_before_seconds == 7


def test_too_large_for_now_is_no_reason_to_divide() -> None:
    """RFC 9110, 15.5.14: with Retry-After a 413 is temporary."""
    judged = judge(Answer(status=413, retry_after="7"), now=NOW)

    assert (judged.verdict, judged.not_before_seconds) == (Verdict.LATER, 7)
    assert judge(Answer(status=413, retry_after="0"), now=NOW).verdict is (
        Verdict.TOO_BIG
    )


@pytest.mark.parametrize("status", [400, 403, 404, 407, 413, 302])
def test_a_proxy_that_refuses_us_is_held_and_says_what_to_do(status: int) -> None:
    refused = Answer(silence=Silence.UNREACHABLE, detail="no", proxy_status=status)

    judged = judge(refused, now=NOW)

    assert judged.verdict is Verdict.HELD
    assert judged.reason.startswith("the proxy refuses to connect: no; ")
    assert "upstream.proxy" in judged.reason
    assert ("http://name:password@" in judged.reason) == (status == 407)


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_a_proxy_that_has_a_bad_day_is_weather(status: int) -> None:
    refused = Answer(silence=Silence.UNREACHABLE, detail="no", proxy_status=status)

    assert judge(refused, now=NOW).verdict is Verdict.LATER


def test_a_redirect_says_that_it_is_not_followed() -> None:
    assert "never followed" in judge(Answer(status=301), now=NOW).reason


def test_a_page_is_not_quoted_and_the_services_words_are() -> None:
    page = Answer(status=502, body=b"<html>secret</html>", content_type="text/html")
    words = Answer(status=401, body=b"API key is not valid: empty")

    assert "secret" not in judge(page, now=NOW).reason
    assert "API key is not valid: empty" in judge(words, now=NOW).reason
