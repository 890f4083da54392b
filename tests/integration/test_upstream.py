"""One attempt, against servers that misbehave below HTTP, beside it and above it."""

import errno
import gzip
import json
import os
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from leanbase_relay.clock import SystemClock
from leanbase_relay.forward.batch import Batch
from leanbase_relay.forward.sending import MAX_ANSWER_BYTES
from leanbase_relay.forward.upstream import Upstream
from leanbase_relay.forward.verdict import Answer, Silence, Verdict, judge
from leanbase_relay.keys import Secret
from leanbase_relay.sink import Fault, Script, Sink
from tests.support.batch import batch_of
from tests.support.upstream import OK, Act, Call, RawUpstream, answer, says

EVENT = b'{"event":"e","distinct_id":"u","properties":{"price":1.10}}'
GOOD = answer("200 OK", OK, "Content-Type: application/json")


ONE = batch_of(EVENT)
CLOCK = SystemClock()


@contextmanager
def upstream_at(
    url: str,
    *,
    timeout_seconds: float = 5.0,
    connect_timeout_seconds: float = 5.0,
    compression: str = "gzip",
    ca_file: Path | None = None,
    proxy: str | None = None,
) -> Iterator[Upstream]:
    upstream = Upstream(
        url,
        key=Secret("phc_test"),
        clock=CLOCK,
        timeout_seconds=timeout_seconds,
        connect_timeout_seconds=connect_timeout_seconds,
        compression=compression,
        ca_file=ca_file,
        proxy=proxy,
    )
    try:
        yield upstream
    finally:
        upstream.close()


def answered(act: Act, *, timeout_seconds: float = 5.0) -> Answer:
    """What one attempt makes of a server that acts so."""
    with (
        RawUpstream(act) as server,
        upstream_at(server.url, timeout_seconds=timeout_seconds) as upstream,
    ):
        return send(upstream, ONE)


def send(upstream: Upstream, batch: Batch) -> Answer:
    """One attempt with a batch."""
    return upstream.send(upstream.begin(batch))


def verdict_of(answer: Answer) -> Verdict:
    return judge(answer, now=CLOCK.wall()).verdict


# What is sent.


def test_a_batch_arrives_with_its_key_and_the_bytes_of_its_events() -> None:
    with Sink() as sink, upstream_at(sink.url) as upstream:
        send(upstream, batch_of(EVENT, b'{"event":"f","distinct_id":"v"}'))

        (request,) = sink.requests
        assert request.path == "/batch/"
        assert request.headers["content-encoding"] == "gzip"
        assert EVENT in request.body
        assert json.loads(request.body)["api_key"] == "phc_test"
        assert [event["event"] for event in request.events] == ["e", "f"]


def test_without_compression_the_body_goes_as_it_is() -> None:
    with Sink() as sink, upstream_at(sink.url, compression="none") as upstream:
        send(upstream, ONE)

        (request,) = sink.requests
        assert "content-encoding" not in request.headers
        assert request.wire_bytes == len(request.body)


def test_a_path_in_the_url_is_kept() -> None:
    with (
        RawUpstream(says(GOOD)) as server,
        upstream_at(f"{server.url}/relay/") as upstream,
    ):
        send(upstream, ONE)

        assert server.requests[0].startswith(b"POST /relay/batch/ HTTP/1.1\r\n")


def test_one_connection_serves_many_attempts() -> None:
    def act(call: Call) -> None:
        while call.request():
            call.send(GOOD)

    with RawUpstream(act) as server, upstream_at(server.url) as upstream:
        for _ in range(3):
            assert send(upstream, ONE).status == 200

        assert server.connections == 1


# What is not asked for.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with Sink() as elsewhere, Sink() as sink, upstream_at(sink.url) as upstream:
        fault = Fault.redirect(f"{elsewhere.url}/batch/", status=status)
        sink.follow(Script().then(fault))

        assert send(upstream, ONE).status == status
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    "location", ["\xff\xfe", "http://[", "//", "http://localhost:99999/", "\x01", ""]
)
def test_a_redirect_to_nowhere_is_an_answer_like_any_other(location: str) -> None:
    raw = answer("302 Found", b"there", f"Location: {location}")

    assert answered(says(raw)).status == 302


def test_a_redirects_page_is_not_read_to_its_end() -> None:
    def act(call: Call) -> None:
        call.request()
        call.send(b"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n")
        while True:
            call.send(b"x" * (1 << 20))

    found = answered(act, timeout_seconds=10.0)

    assert found.status == 302
    assert len(found.body) == MAX_ANSWER_BYTES


def test_the_environment_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither `.netrc`, which replaces headers, nor proxy variables."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with RawUpstream(says(GOOD)) as server, upstream_at(server.url) as upstream:
        assert send(upstream, ONE).status == 200

        (request,) = server.requests
        assert b"authorization" not in request.lower()


def test_cookies_are_not_kept() -> None:
    def act(call: Call) -> None:
        while call.request():
            call.send(answer("200 OK", OK, "Set-Cookie: session=1; Path=/"))

    with RawUpstream(act) as server, upstream_at(server.url) as upstream:
        send(upstream, ONE)
        send(upstream, ONE)

        assert b"session" not in server.requests[1]


# No answer, or half of one.


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with upstream_at(f"http://127.0.0.1:{port}") as upstream:
        found = send(upstream, ONE)

    assert found.silence is Silence.UNREACHABLE
    assert found.detail == "Connection refused"
    assert verdict_of(found) is Verdict.LATER


def test_a_name_that_nobody_knows() -> None:
    with upstream_at("http://nobody.invalid") as upstream:
        found = send(upstream, ONE)

    assert found.silence is Silence.UNREACHABLE
    assert verdict_of(found) is Verdict.LATER


@pytest.mark.parametrize("name", ["a" * 64 + ".invalid", "a..b"])
def test_a_name_that_cannot_be(name: str) -> None:
    with upstream_at(f"http://{name}") as upstream:
        assert verdict_of(send(upstream, ONE)) is Verdict.LATER


def hangs_up(call: Call) -> None:
    call.request()


def resets(call: Call) -> None:
    call.request()
    call.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def resets_unread(call: Call) -> None:
    call.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def breaks_off_the_body(call: Call) -> None:
    call.request()
    call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n" + OK[:8])


def breaks_off_a_chunk(call: Call) -> None:
    call.request()
    call.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nf\r\n" + OK[:8])


def breaks_off_the_head(call: Call) -> None:
    call.request()
    call.send(b"HTTP/1.1 200 OK\r\nContent-Le")


@pytest.mark.parametrize(
    "act",
    [
        hangs_up,
        resets,
        resets_unread,
        breaks_off_the_body,
        breaks_off_a_chunk,
    ],
)
def test_half_an_answer_is_none(act: Act) -> None:
    found = answered(act)

    assert found.status is None
    assert verdict_of(found) is Verdict.LATER


def test_a_head_that_breaks_off_is_no_delivery() -> None:
    assert verdict_of(answered(breaks_off_the_head)) is not Verdict.DELIVERED


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n\r\n",
        b"hello\r\n\r\n",
        b"HTTP/1.1 \r\n\r\n",
        b"HTTP/1.1 999999 No\r\n\r\n",
        b"HTTP/1.1 -1 No\r\n\r\n",
        b"HTTP/1.1 \xb2\xb2\xb2 No\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n{}",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Type: \xff\xff\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 503 No\r\nRetry-After: \xff\xb2\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n: nothing\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 101 + b"\r\n{}",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: \xff=\xfe; expires=never\r\n\r\n{}",
    ],
)
def test_nonsense_never_ends_the_lane(raw: bytes) -> None:
    found = answered(says(raw))

    assert verdict_of(found) in Verdict


# Time.


def drips_its_head(call: Call) -> None:
    call.request()
    call.drip(b"HTTP/1.1 200 OK\r\n" + b"X-Slow: yes\r\n" * 500, seconds=0.02)


def drips_its_body(call: Call) -> None:
    call.request()
    call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
    call.drip(b"x" * 5000, seconds=0.02)


def drips_its_chunks(call: Call) -> None:
    call.request()
    call.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    call.drip(b"1\r\nx\r\n" * 1000, seconds=0.02)


def says_nothing(call: Call) -> None:
    call.request()
    call.wait()


def reads_nothing(call: Call) -> None:
    call.wait()


@pytest.mark.parametrize(
    "act",
    [drips_its_head, drips_its_body, drips_its_chunks, says_nothing, reads_nothing],
)
def test_an_attempt_ends_at_its_deadline(act: Act) -> None:
    started = CLOCK.monotonic()

    found = answered(act, timeout_seconds=0.3)

    assert found.silence is Silence.TIMEOUT
    assert 0.25 < CLOCK.monotonic() - started < 2.0


def test_an_upload_that_is_not_taken_ends_at_the_deadline() -> None:
    big = batch_of(b'{"event":"%b"}' % os.urandom(8 << 20).hex().encode())
    started = CLOCK.monotonic()
    with (
        RawUpstream(reads_nothing) as server,
        upstream_at(server.url, timeout_seconds=0.3, compression="none") as upstream,
    ):
        found = send(upstream, big)

    assert found.silence is Silence.TIMEOUT
    assert CLOCK.monotonic() - started < 2.0


def test_a_handshake_that_drips_ends_at_the_deadline() -> None:
    def act(call: Call) -> None:
        call.drip(b"\x16\x03\x03\x40\x00" + b"\0" * 1000, seconds=0.02)

    started = CLOCK.monotonic()
    with (
        RawUpstream(act) as server,
        upstream_at(
            f"https://localhost:{server.port}", timeout_seconds=0.3
        ) as upstream,
    ):
        found = send(upstream, ONE)

    assert found.silence is Silence.TIMEOUT
    assert CLOCK.monotonic() - started < 2.0


def test_the_connect_timeout_does_not_cut_a_slow_upload() -> None:
    """urllib3 leaves it on the socket, where it bounds the whole of the sending."""

    def act(call: Call) -> None:
        call.wait(0.3)
        call.request()
        call.send(GOOD)

    big = batch_of(b'{"event":"%b"}' % os.urandom(8 << 20).hex().encode())
    with (
        RawUpstream(act) as server,
        upstream_at(
            server.url,
            connect_timeout_seconds=0.1,
            timeout_seconds=10.0,
            compression="none",
        ) as upstream,
    ):
        assert send(upstream, big).status == 200


def test_a_huge_answer_is_bounded() -> None:
    def act(call: Call) -> None:
        call.request()
        call.send(b"HTTP/1.1 400 No\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            call.send(b"x" * (1 << 20))

    found = answered(act, timeout_seconds=10.0)

    assert found.status == 400
    assert len(found.body) == MAX_ANSWER_BYTES


def test_an_answer_that_inflates_is_bounded() -> None:
    bomb = gzip.compress(b"x" * (100 << 20), 9)
    raw = answer("400 No", bomb, "Content-Encoding: gzip")

    found = answered(says(raw), timeout_seconds=10.0)

    assert found.status == 400
    assert len(found.body) == MAX_ANSWER_BYTES


# Abort.


def cut_short(upstream: Upstream, under_way: threading.Event) -> Answer:
    """Send, and have it aborted once that is under way."""

    def abort() -> None:
        under_way.wait(5)
        upstream.abort()

    aborter = threading.Thread(target=abort)
    aborter.start()
    found = send(upstream, ONE)
    aborter.join()
    return found


def test_abort_ends_an_attempt_at_once() -> None:
    under_way = threading.Event()

    def act(call: Call) -> None:
        call.request()
        under_way.set()
        call.wait()

    started = CLOCK.monotonic()
    with RawUpstream(act) as server, upstream_at(server.url) as upstream:
        found = cut_short(upstream, under_way)

    assert found.status is None
    assert CLOCK.monotonic() - started < 2.0


def test_abort_ends_an_attempt_in_its_handshake() -> None:
    under_way = threading.Event()

    def act(call: Call) -> None:
        call.sock.recv(1)
        under_way.set()
        call.wait()

    started = CLOCK.monotonic()
    with (
        RawUpstream(act) as server,
        upstream_at(f"https://localhost:{server.port}") as upstream,
    ):
        found = cut_short(upstream, under_way)

    assert verdict_of(found) is Verdict.LATER
    assert CLOCK.monotonic() - started < 2.0


def test_an_abort_spoils_no_later_attempt() -> None:
    under_way = threading.Event()

    def hangs(call: Call) -> None:
        call.request()
        under_way.set()
        call.wait()

    with RawUpstream(hangs, says(GOOD)) as server, upstream_at(server.url) as upstream:
        assert cut_short(upstream, under_way).silence is Silence.TIMEOUT
        upstream.abort()

        assert send(upstream, ONE).status == 200


# A connection that went stale.


def test_a_connection_closed_while_idle_costs_nothing() -> None:
    closed = threading.Event()

    def act(call: Call) -> None:
        call.request()
        call.send(GOOD)
        call.sock.shutdown(socket.SHUT_RDWR)
        call.sock.close()
        closed.set()

    with RawUpstream(act) as server, upstream_at(server.url) as upstream:
        for number in range(1, 4):
            assert send(upstream, ONE).status == 200
            assert closed.wait(5)
            closed.clear()
            assert len(server.requests) == number


def test_a_connection_closed_as_the_request_comes_is_tried_again_later() -> None:
    """It cannot be told from a request that was taken: the lane's backoff decides."""

    def act(call: Call) -> None:
        call.request()
        call.send(GOOD)
        call.sock.recv(1)

    with RawUpstream(act) as server, upstream_at(server.url) as upstream:
        assert send(upstream, ONE).status == 200
        found = send(upstream, ONE)
        assert verdict_of(found) is Verdict.LATER
        assert send(upstream, ONE).status == 200


def test_a_closed_upstream_leaves_no_connection_open() -> None:
    ended = threading.Event()

    def act(call: Call) -> None:
        while call.request():
            call.send(GOOD)
        ended.set()

    with RawUpstream(act) as server:
        with upstream_at(server.url) as upstream:
            send(upstream, ONE)

        assert ended.wait(5)


# TLS.


def test_a_certificate_that_nobody_signed_is_refused(tls: ssl.SSLContext) -> None:
    with (
        RawUpstream(says(GOOD), tls=tls) as server,
        upstream_at(server.url) as upstream,
    ):
        found = send(upstream, ONE)

        assert found.silence is Silence.CERTIFICATE
        assert verdict_of(found) is Verdict.HELD
        assert server.requests == []


def test_a_certificate_from_the_ca_file_is_taken(
    tls: ssl.SSLContext, certificate: Path
) -> None:
    with (
        RawUpstream(says(GOOD), tls=tls) as server,
        upstream_at(server.url, ca_file=certificate) as upstream,
    ):
        assert send(upstream, ONE).status == 200


def test_a_certificate_for_another_name_is_refused(
    tls: ssl.SSLContext, certificate: Path
) -> None:
    with (
        RawUpstream(says(GOOD), tls=tls) as server,
        upstream_at(
            f"https://127.0.0.1:{server.port}", ca_file=certificate
        ) as upstream,
    ):
        assert send(upstream, ONE).silence is Silence.CERTIFICATE


def test_a_server_that_does_not_speak_tls_is_unreachable() -> None:
    def act(call: Call) -> None:
        call.sock.recv(1)
        call.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with (
        RawUpstream(act) as server,
        upstream_at(f"https://localhost:{server.port}") as upstream,
    ):
        found = send(upstream, ONE)

    assert found.silence is Silence.UNREACHABLE
    assert verdict_of(found) is Verdict.LATER


def test_a_ca_file_that_is_gone_is_told_as_such(
    tls: ssl.SSLContext, tmp_path: Path
) -> None:
    with (
        RawUpstream(says(GOOD), tls=tls) as server,
        upstream_at(server.url, ca_file=tmp_path / "gone.pem") as upstream,
    ):
        found = send(upstream, ONE)

    assert found.silence is Silence.CERTIFICATE
    assert "gone.pem" in found.detail


@pytest.mark.parametrize(
    ("inner", "silence"),
    [
        (TimeoutError("timed out"), Silence.TIMEOUT),
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), Silence.UNREACHABLE),
    ],
)
def test_a_write_that_is_not_taken_in_time_is_a_timeout_unless_the_kernel_s(
    inner: Exception, silence: Silence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its deadline cuts a line, the socket's own timeout may end a write."""

    def aborted(*_args: object, **_kwargs: object) -> None:
        raise requests.exceptions.ConnectionError(inner)

    monkeypatch.setattr(requests.Session, "send", aborted)
    with upstream_at("http://127.0.0.1:9") as upstream:
        assert send(upstream, ONE).silence is silence


def test_a_key_that_an_answer_quotes_is_masked() -> None:
    said = answer("400 Bad", b'{"error":"API key is not valid: phc_test"}')

    with RawUpstream(says(said)) as server, upstream_at(server.url) as upstream:
        found = send(upstream, ONE)

    assert b"phc_test" not in found.body
    assert b"********" in found.body


# Proxies.


@pytest.mark.parametrize(
    ("said", "verdict", "advice"),
    [
        ("407 Proxy Authentication Required", Verdict.HELD, "http://name:password@"),
        ("403 Forbidden", Verdict.HELD, "check upstream.proxy and upstream.url"),
        ("400 Bad Request", Verdict.HELD, "check upstream.proxy"),
        ("502 Bad Gateway", Verdict.LATER, "502 Bad Gateway"),
        ("429 Slow Down", Verdict.LATER, "429 Slow Down"),
    ],
)
def test_a_proxy_that_does_not_connect_us_is_told_from_the_upstream(
    said: str, verdict: Verdict, advice: str
) -> None:
    with (
        RawUpstream(says(answer(said))) as proxy,
        upstream_at("https://up.example", proxy=proxy.url) as upstream,
    ):
        got = send(upstream, ONE)

    assert proxy.requests[0].startswith(b"CONNECT up.example:443 ")
    assert got.proxy_status == int(said[:3])
    assert not got.reached, "it was told the host's name, and no event"
    judged = judge(got, now=0)
    assert judged.verdict is verdict
    assert advice in judged.reason
    assert said in judged.reason


def test_a_proxy_for_http_that_wants_a_password_says_so_too() -> None:
    wants = says(answer("407 Proxy Authentication Required", b"<html>"))
    with (
        RawUpstream(wants) as proxy,
        upstream_at("http://up.example", proxy=proxy.url) as upstream,
    ):
        judged = judge(send(upstream, ONE), now=0)

    assert judged.verdict is Verdict.HELD
    assert "http://name:password@" in judged.reason


def test_an_answer_beyond_all_measure_is_read_in_part_and_says_so() -> None:
    body = b'{"x":"' + b"y" * MAX_ANSWER_BYTES + b'"}'

    got = answered(says(answer("200 OK", body)))

    assert got.is_cut
    assert len(got.body) == MAX_ANSWER_BYTES
    assert "with more than 65,536 bytes" in judge(got, now=0).reason


def test_an_answer_of_just_the_most_bytes_is_whole() -> None:
    body = b'{"x":"' + b"y" * (MAX_ANSWER_BYTES - 8) + b'"}'

    got = answered(says(answer("200 OK", body)))

    assert (len(got.body), got.is_cut) == (MAX_ANSWER_BYTES, False)
    assert judge(got, now=0).verdict is Verdict.DELIVERED
