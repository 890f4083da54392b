"""The upstream: one attempt at a time, by either protocol. requests lives here.

requests is tamed: redirects are not followed (it would turn a redirected POST into a
GET and report that one's 200), the environment is not asked (a `.netrc` would replace
our headers, a proxy variable our way), cookies are not kept, and its adapter never
tries again by itself. Its timeouts are for each read; the whole attempt is bounded by
cutting the connection at the deadline, which also ends a handshake, an upload or an
answer that drips.
"""

import contextlib
import os
import re
import socket
import threading
from dataclasses import replace
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol
from zlib import crc32

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from leanbase_relay import __version__
from leanbase_relay.clock import Clock
from leanbase_relay.forward.batch import Batch
from leanbase_relay.forward.sending import BatchSending, Request, Sending
from leanbase_relay.forward.v1 import V1Sending
from leanbase_relay.forward.verdict import Answer, Silence
from leanbase_relay.settings import MASK

_PIECE_BYTES = 64 << 10


class Secret(Protocol):
    """A key that does not show itself when printed."""

    def reveal(self) -> str:
        """The key."""


class Identity(NamedTuple):
    """Which upstream it is, and as whom we come: what it taught holds for no other.

    Attributes:
        place: its URL and the protocol.
        key: of the project.
    """

    place: tuple[str, str]
    key: Secret

    @property
    def number(self) -> int:
        """Stands for the place in the store; never 0."""
        return 1 + crc32(" ".join(self.place).encode())


class Upstream:
    """Sends batches of one project and brings back the answers.

    Args:
        url: base URL.
        key: of the project.
        protocol: ``batch`` or ``v1``.
        compression: ``gzip`` or ``none``.
        connect_timeout_seconds: for each address that the host has.
        timeout_seconds: for the whole attempt: connecting, body and answer.
        proxy: explicit; the environment is not consulted.
        ca_file: certificates to trust instead of the usual ones.
    """

    def __init__(
        self,
        url: str,
        *,
        key: Secret,
        clock: Clock,
        protocol: str = "batch",
        compression: str = "gzip",
        connect_timeout_seconds: float = 5.0,
        timeout_seconds: float = 30.0,
        proxy: str | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._key = key
        self._clock = clock
        self._protocol = protocol
        self._compress = compression == "gzip"
        self._connect_timeout_seconds = connect_timeout_seconds
        self._timeout_seconds = timeout_seconds
        self._line = _Line()
        self._session = self._opened(proxy, ca_file)
        self.identity = Identity((self.url, protocol), key)
        self.terms = (
            self.identity,
            compression,
            connect_timeout_seconds,
            timeout_seconds,
            proxy,
            object() if ca_file else None,  # it may have other content by now
        )
        """Equal where both send the same requests to the same place."""

    def begin(self, batch: Batch) -> Sending:
        """A batch that is to be sent, by the protocol of this upstream."""
        if self._protocol == "v1":
            return V1Sending(batch, created_at=self._clock.wall())
        return BatchSending(batch)

    def send(self, sending: Sending) -> Answer:
        """Make one attempt. Never raises for what the network does."""
        request = sending.request(key=self._key.reveal(), now=self._clock.wall())
        headers = {"Content-Type": "application/json", **request.headers}
        if self._compress:
            headers["Content-Encoding"] = "gzip"
            request = replace(request, parts=(request.gzip,))
        request = replace(request, headers=headers)
        # It, or something in between, may quote the key; an answer is logged and kept.
        answer = self._guarded(request)
        return replace(
            answer,
            body=answer.body.replace(self._key.reveal().encode(), MASK.encode()),
            detail=answer.detail.replace(self._key.reveal(), MASK),
        )

    def _guarded(self, request: Request) -> Answer:
        """Post, for as long as an attempt may take."""
        self._line.begin()
        guard = threading.Timer(self._timeout_seconds, self.abort)
        guard.daemon = True
        guard.start()
        try:
            return self._post(request)
        finally:
            guard.cancel()
            self._line.end()

    def abort(self) -> None:
        """Cut the attempt under way, from any thread; it ends as a timeout."""
        self._line.hang_up()

    def close(self) -> None:
        self._session.close()

    def _post(self, request: Request) -> Answer:
        try:
            with self._session.post(
                self.url + request.path,
                data=request.body,
                headers=request.headers,
                timeout=(self._connect_timeout_seconds, self._timeout_seconds),
                allow_redirects=False,
                stream=True,
            ) as response:
                body, is_cut = _first_bytes(response, request.max_answer_bytes)
                answer = Answer(
                    status=response.status_code,
                    body=body,
                    is_cut=is_cut,
                    retry_after=response.headers.get("Retry-After"),
                    content_type=response.headers.get("Content-Type", ""),
                    date=response.headers.get("Date"),
                )
            # An answer that was cut in its head looks like one that is all there.
            return self._timed_out() if self._line.cut else answer
        except (OSError, HTTPError, UnicodeError) as error:
            return self._no_answer(error)

    def _no_answer(self, error: Exception) -> Answer:
        if self._line.cut or _is_about_time(error):
            return self._timed_out()
        silence = Silence.UNREACHABLE
        if _is_about_certificates(error):
            silence = Silence.CERTIFICATE
        elif isinstance(error, requests.exceptions.ChunkedEncodingError):
            silence = Silence.CUT_OFF
        proxy_status = _refused_tunnel(error)
        # A certificate is refused before anything of ours is said; and who asks a
        # proxy for a connection has only named the host.
        reached = self._line.was_open and not (
            silence is Silence.CERTIFICATE or proxy_status
        )
        return Answer(
            silence=silence,
            detail=_shortly(error),
            proxy_status=proxy_status,
            reached=reached,
        )

    def _timed_out(self) -> Answer:
        detail = f"within {self._timeout_seconds:g} s"
        reached = self._line.was_open
        return Answer(silence=Silence.TIMEOUT, detail=detail, reached=reached)

    def _opened(self, proxy: str | None, ca_file: Path | None) -> requests.Session:
        session = _Session()
        session.trust_env = False
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        session.headers.clear()
        session.headers["User-Agent"] = f"leanbase-relay/{__version__}"
        session.headers["Accept"] = "application/json"
        adapter = _Adapter(self._line, self._timeout_seconds)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        if proxy is not None:
            session.proxies = {"http": proxy, "https": proxy}
        if ca_file is not None:
            session.verify = str(ca_file)
        return session


class _Session(requests.Session):
    """A session to which a redirect is an answer like any other."""

    def get_redirect_target(self, _: requests.Response) -> None:
        # Even where it does not follow, requests reads the page to its end, however
        # long that is, and trips over a target that is no URL.
        return None


class _Line:
    """The connection of the attempt under way, so that another thread can cut it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handle: socket.socket | None = None
        self.cut = False
        self.was_open = False

    def begin(self) -> None:
        self.cut = False
        self.was_open = False

    def watch(self, sock: socket.socket) -> None:
        # A second handle on the same connection: shutting that one down wakes the
        # reader, and leaves the TLS object of the first to its own thread.
        handle = socket.socket(fileno=os.dup(sock.fileno()))
        with self._lock:
            self.was_open = True
            old, self._handle = self._handle, handle
            if self.cut:  # meanwhile, while there was nothing yet to cut
                _shut(handle)
        if old is not None:
            old.close()

    def hang_up(self) -> None:
        with self._lock:
            self.cut = True
            if self._handle is not None:
                _shut(self._handle)

    def end(self) -> None:
        """Let go: while we keep a handle, closing the connection does not end it."""
        with self._lock:
            handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()


class _Connection(HTTPConnection):
    """A connection that is watched from its first packet on."""

    line: ClassVar[_Line]
    attempt_seconds: ClassVar[float]

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        self.line.watch(sock)
        return sock

    def connect(self) -> None:
        super().connect()
        # urllib3 leaves the timeout for connecting on the socket while it sends the
        # body, and it then bounds the whole upload: too little on a slow link.
        self.sock.settimeout(self.attempt_seconds)

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:  # from an earlier attempt
            self.line.watch(self.sock)
        super().request(*args, **kwargs)


class _TlsConnection(_Connection, HTTPSConnection):
    """The same, for https."""


class _Adapter(HTTPAdapter):
    """An adapter whose connections are watched."""

    def __init__(self, line: _Line, timeout_seconds: float) -> None:
        self._line = line
        self._timeout_seconds = timeout_seconds
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools()

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = self._pools()
        return manager

    def _pools(self) -> dict[str, type[HTTPConnectionPool]]:
        class Plain(_Connection):
            line, attempt_seconds = self._line, self._timeout_seconds

        class Tls(_TlsConnection):
            line, attempt_seconds = self._line, self._timeout_seconds

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class TlsPool(HTTPSConnectionPool):
            ConnectionCls = Tls

        return {"http": PlainPool, "https": TlsPool}


def _first_bytes(response: requests.Response, most: int) -> tuple[bytes, bool]:
    """The beginning of the body, and whether there is more than that."""
    body = bytearray()
    for piece in response.iter_content(_PIECE_BYTES):
        body += piece
        if len(body) > most:
            break
    return bytes(body[:most]), len(body) > most


def _refused_tunnel(error: Exception) -> int | None:
    """The status with which a proxy refused CONNECT; http.client has it in a text."""
    if not isinstance(error, requests.exceptions.ProxyError):
        return None
    found = re.search(r"Tunnel connection failed: (\d{3})", str(_innermost(error)))
    return int(found[1]) if found else None


def _is_about_time(error: Exception) -> bool:
    """A write that is not taken in time is a ConnectionError to requests.

    One that the kernel gave up (ETIMEDOUT) has an errno; the time was not ours.
    """
    inner = _innermost(error)
    ours = isinstance(inner, TimeoutError) and inner.errno is None
    return ours or isinstance(error, requests.exceptions.Timeout)


def _is_about_certificates(error: Exception) -> bool:
    """A handshake that breaks off mends itself; a certificate refused does not.

    Nor does an `upstream.ca_file` that is gone, of which requests tells by a bare
    OSError.
    """
    of_tls = isinstance(error, requests.exceptions.SSLError)
    bare = not isinstance(error, requests.exceptions.RequestException)
    return (of_tls or bare) and "certificate" in str(error).lower()


def _shut(handle: socket.socket) -> None:
    with contextlib.suppress(OSError):
        handle.shutdown(socket.SHUT_RDWR)


def _shortly(error: BaseException) -> str:
    """The innermost reason, in its own words, without the objects around it."""
    error = _innermost(error)
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)[:200]


def _innermost(error: BaseException) -> BaseException:
    while (inner := _cause(error)) is not None:
        error = inner
    return error


def _cause(error: BaseException) -> BaseException | None:
    if error.__cause__ is not None:
        return error.__cause__
    candidates = (getattr(error, "reason", None), *error.args)
    return next((one for one in candidates if isinstance(one, BaseException)), None)
