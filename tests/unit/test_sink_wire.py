import io
from collections.abc import Mapping

import pytest

from leanbase_relay.sink.limits import Refusal
from leanbase_relay.sink.wire import Answer, ClientGone, read_body, render

CHUNKED = {"transfer-encoding": "chunked"}


class EndlessClock:
    """A minute passes at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 60.0
        return self.now


def read(raw: bytes, headers: Mapping[str, str], *, max_bytes: int = 100) -> bytes:
    return read_body(
        io.BytesIO(raw), headers, max_bytes=max_bytes, monotonic=lambda: 0.0
    )


def test_the_body_ends_where_its_length_says() -> None:
    assert read(b"abcdef", {"content-length": "4"}) == b"abcd"
    assert read(b"abcdef", {}) == b""


def test_a_chunked_body_is_joined() -> None:
    assert read(b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\n", CHUNKED) == (
        b"abc0123456789"
    )


@pytest.mark.parametrize(
    ("raw", "headers"),
    [(b"abc", {"content-length": "4"}), (b"3\r\nab", CHUNKED), (b"", CHUNKED)],
)
def test_a_body_that_breaks_off_is_no_request(
    raw: bytes, headers: Mapping[str, str]
) -> None:
    with pytest.raises(ClientGone):
        read(raw, headers)


@pytest.mark.parametrize(
    ("raw", "headers"),
    [
        (b"abc", {"content-length": "-1"}),
        (b"abc", {"content-length": "x"}),
        (b"x\r\nabc", CHUNKED),
    ],
)
def test_a_length_that_is_none_is_400(raw: bytes, headers: Mapping[str, str]) -> None:
    with pytest.raises(Refusal) as refused:
        read(raw, headers)

    assert refused.value.status == 400


def test_a_body_over_the_bound_is_read_on_and_then_413() -> None:
    stream = io.BytesIO(bytes(300_000) + b"next request")

    with pytest.raises(Refusal, match=r"^maximum event size exceeded") as refused:
        read_body(
            stream,
            {"content-length": "300000"},
            max_bytes=10,
            monotonic=lambda: 0.0,
        )

    assert refused.value.status == 413
    assert stream.read() == b"next request"


def test_nobody_is_read_on_for_ever() -> None:
    stream = io.BytesIO(bytes(300_000))

    with pytest.raises(Refusal):
        read_body(
            stream, {"content-length": "300000"}, max_bytes=10, monotonic=EndlessClock()
        )

    assert stream.read()


def test_an_answer_is_spelled_in_full() -> None:
    raw = render(Answer.json(b"{}"), wall=0.0, closing=True)

    assert raw == (
        b"HTTP/1.1 200 OK\r\n"
        b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
        b"Content-Type: application/json\r\n"
        b"Content-Length: 2\r\n"
        b"Connection: close\r\n\r\n{}"
    )


def test_no_content_has_no_length_and_headers_can_be_replaced() -> None:
    raw = render(Answer(204, headers={"Date": "wrong"}), wall=0.0, closing=False)

    assert raw == b"HTTP/1.1 204 No Content\r\nDate: wrong\r\n\r\n"


def test_a_status_that_nobody_knows_can_be_answered() -> None:
    raw = render(Answer(599), wall=0.0, closing=False)

    assert raw.startswith(b"HTTP/1.1 599 Unknown\r\n")


@pytest.mark.parametrize("status", [100, 204, 304])
def test_some_statuses_have_no_body_whatever_is_asked_for(status: int) -> None:
    raw = render(Answer(status, b"x"), wall=0.0, closing=False)

    assert b"Content-Length" not in raw
    assert raw.endswith(b"\r\n\r\n")


def test_padding_that_is_to_follow_counts() -> None:
    raw = render(Answer.json(b"{}"), wall=0.0, closing=False, padding=8)

    assert b"Content-Length: 10\r\n" in raw
