"""HTTP/1.1 as bytes: reads a request's body within bounds, spells an answer."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from io import BufferedIOBase

from leanbase_relay.sink.limits import MIB, Refusal

PIECE_BYTES = 64 * 1024
MAX_CHUNK_HEAD_BYTES = 1024

BODILESS = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})

# A client that is still sending sees the answer only after its body was taken. The
# service reads on for a while; beyond that the connection ends and looks broken.
DRAIN_SECONDS = 5.0
DRAIN_BYTES = 100 * MIB


class ClientGone(Exception):
    """The client hung up before its request was whole."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client gets to see."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def text(cls, status: int, text: str) -> "Answer":
        """Words for a person, as the service answers errors."""
        return cls(status, text.encode())

    @classmethod
    def json(cls, body: bytes) -> "Answer":
        """The service's success."""
        return cls(200, body, "application/json")


def render(answer: Answer, *, wall: float, closing: bool, padding: int = 0) -> bytes:
    """The answer as it goes over the wire, up to so many bytes that are to follow."""
    headers = {"Date": formatdate(wall, usegmt=True)}
    has_body = answer.status >= 200 and answer.status not in BODILESS
    if has_body:
        headers["Content-Type"] = answer.content_type
        headers["Content-Length"] = str(len(answer.body) + padding)
    if closing:
        headers["Connection"] = "close"
    lines = [f"HTTP/1.1 {answer.status} {_phrase(answer.status)}"]
    lines += [
        f"{name}: {value}" for name, value in {**headers, **answer.headers}.items()
    ]
    head = "\r\n".join([*lines, "", ""]).encode()
    return head + answer.body if has_body else head


def read_body(
    stream: BufferedIOBase,
    headers: Mapping[str, str],
    *,
    max_bytes: int,
    monotonic: Callable[[], float],
) -> bytes:
    """The request's body; above the bound it is read on for a while, then refused."""
    body = bytearray()
    pieces = _pieces(stream, headers)
    for piece in pieces:
        body += piece
        if len(body) > max_bytes:
            _drain(pieces, monotonic=monotonic)
            raise Refusal(
                413,
                "maximum event size exceeded: "
                f"Request body exceeds limit of {max_bytes} bytes",
                tag="payload_too_large",
            )
    return bytes(body)


def _drain(pieces: Iterator[bytes], *, monotonic: Callable[[], float]) -> None:
    give_up_at = monotonic() + DRAIN_SECONDS
    left = DRAIN_BYTES
    for piece in pieces:
        left -= len(piece)
        if left < 0 or monotonic() > give_up_at:
            return


def _pieces(stream: BufferedIOBase, headers: Mapping[str, str]) -> Iterator[bytes]:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        yield from _chunked(stream)
    else:
        yield from _exactly(stream, _length(headers.get("content-length", "0")))


def _length(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise Refusal(400, f"failed to decode request: Content-Length is {text!r}")
    return int(text)


def _exactly(stream: BufferedIOBase, count: int) -> Iterator[bytes]:
    while count:
        piece = stream.read(min(count, PIECE_BYTES))
        if not piece:
            raise ClientGone
        count -= len(piece)
        yield piece


def _chunked(stream: BufferedIOBase) -> Iterator[bytes]:
    while count := _chunk_length(stream):
        yield from _exactly(stream, count)
        stream.readline(len(b"\r\n"))
    while stream.readline(MAX_CHUNK_HEAD_BYTES).strip():  # trailers: nobody reads them
        pass


def _chunk_length(stream: BufferedIOBase) -> int:
    head = stream.readline(MAX_CHUNK_HEAD_BYTES)
    if not head:
        raise ClientGone
    try:
        return int(head.partition(b";")[0].strip(), 16)
    except ValueError:
        raise Refusal(400, "failed to decode request: bad chunk length") from None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
