"""Whatever comes to the listener for metrics is answered, and gets nothing by it."""

from hypothesis import given
from hypothesis import strategies as st

from leanbase_relay.observe.answers import Answers, asked

SHOWN = "what the metrics say"
PIECES = st.sampled_from(
    [
        *(b"GET", b"HEAD", b"POST", b" ", b"/", b"/metrics", b"?", b" HTTP/1.1"),
        *(b"\r\n", b"Host:", b"host: ", b"localhost", b"127.0.0.1", b"evil.example"),
        *(b":80", b"[::1]", b"[", b"::1%lo", b"\x00", b"\xff", b"9" * 20),
    ]
)
HEADS = st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=12).map(b"".join))


@given(HEADS)
def test_any_head_is_answered_and_only_who_names_us_is_told(head: bytes) -> None:
    answers = Answers(lambda: {"state": "idle", "problems": []}, lambda: SHOWN)

    reply = answers.to(asked(head), on_port=True)

    assert reply.status in (200, 400, 403, 404, 405)
    assert reply.encode().count(b"\r\n\r\n") == 1
    if SHOWN.encode() in reply.body:
        assert b"host:" in head.lower()
        assert b"evil" not in head.split(b"ost:", 1)[1].partition(b"\r\n")[0]
