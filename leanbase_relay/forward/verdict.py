"""Verdicts: what an answer of the upstream means. Pure; a table.

Delivered is only what the capture service itself took: a 2xx from a captive portal or
a proxy delivers nothing. What an operator can cause (a wrong key, address, proxy,
certificate, bill) is held, never dropped: nothing is lost but time.
"""

import json
import math
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum

import msgspec

MAX_RETRY_AFTER_SECONDS = 3600.0
MAX_REASON_CHARACTERS = 500


class Verdict(Enum):
    """What becomes of the batch."""

    DELIVERED = "delivered"
    LATER = "later"  # mends itself: try again with backoff
    TOO_BIG = "too big"  # split
    REFUSED = "refused"  # split; alone, a dead letter
    HELD = "held"  # needs the operator: try again slowly


class Silence(Enum):
    """Why there was no answer."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    CUT_OFF = "cut off"
    CERTIFICATE = "certificate"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back from one attempt.

    Attributes:
        status: of HTTP; None if there was no (whole) answer.
        body: its first bytes, and
        is_cut: whether there were more, which nobody read.
        retry_after, content_type, date: headers, as they came.
        silence: why there is no answer, and
        detail: in whose words.
        proxy_status: of HTTP, with which a proxy refused to connect us.
        reached: False if surely no byte of the request left this machine.
    """

    status: int | None = None
    body: bytes = b""
    is_cut: bool = False
    retry_after: str | None = None
    content_type: str = ""
    date: str | None = None
    silence: Silence | None = None
    detail: str = ""
    proxy_status: int | None = None
    reached: bool = True


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and what goes with it.

    Attributes:
        reason: a sentence for `status`, the log and the dead letter.
        status: of HTTP, if there was one.
        not_before_seconds: `Retry-After`: no attempt earlier than this from now.
    """

    verdict: Verdict
    reason: str = ""
    status: int | None = None
    not_before_seconds: float = 0.0

    @property
    def is_refusal(self) -> bool:
        """Whether something that was sent is to blame, and splitting finds it."""
        return self.verdict in (Verdict.REFUSED, Verdict.TOO_BIG)

    def but(self, verdict: Verdict) -> "Judgement":
        """The same with another verdict."""
        return replace(self, verdict=verdict)

    def because(self, reason: str) -> "Judgement":
        """The same with another reason."""
        return replace(self, reason=reason)


_BY_STATUS = {
    400: Verdict.REFUSED,
    422: Verdict.REFUSED,
    413: Verdict.TOO_BIG,
    408: Verdict.LATER,
    425: Verdict.LATER,
    429: Verdict.LATER,
}

_ADVICE = {
    401: "check this project's api_key",
    402: "the project's bill or quota needs attention",
    403: "check this project's api_key and upstream.url",
    404: "check upstream.url",
    405: "check upstream.url",
    407: "the proxy wants a name and a password: write them into upstream.proxy, as "
    "in http://name:password@proxy.example:3128",
}


def judge(answer: Answer, *, now: float) -> Judgement:
    """Say what an answer means.

    Args:
        answer: of one attempt.
        now: wall clock, for a `Retry-After` that is a date, if the upstream does not
            say what time it has itself.
    """
    status = answer.status
    if status is None:
        return _no_answer(answer)
    floor = retry_after_seconds(answer.retry_after, now=_upstreams_now(answer, now))
    if 200 <= status < 300:
        return replace(_success(answer), not_before_seconds=floor)
    verdict = _verdict(status)
    if verdict is Verdict.TOO_BIG and floor:
        verdict = Verdict.LATER  # so says who has no room just now (RFC 9110, 15.5.14)
    return Judgement(verdict, _said(answer, verdict), status, floor)


def _verdict(status: int) -> Verdict:
    """Of any status but success."""
    ours = Verdict.LATER if status >= 500 or status < 200 else Verdict.HELD
    return _BY_STATUS.get(status, ours)


def skew_seconds(answer: Answer, *, now: float) -> float | None:
    """How far this machine's clock is ahead of the upstream's; None if unknown."""
    if not answer.date:
        return None
    try:
        return now - _moment(answer.date)
    except (ValueError, OverflowError):
        return None


def _upstreams_now(answer: Answer, now: float) -> float:
    """The time by the clock that its dates are by; ours may be wrong."""
    skew = skew_seconds(answer, now=now)
    return now if skew is None else now - skew


def retry_after_seconds(text: str | None, *, now: float) -> float:
    """Read a `Retry-After`, in seconds or as a date; nonsense counts as none.

    Returns:
        Seconds from now, between 0 and an hour.
    """
    if not text:
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        seconds = _until(text, now)
    if math.isnan(seconds):
        return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def _until(date: str, now: float) -> float:
    try:
        return _moment(date) - now
    except (ValueError, OverflowError):
        return 0.0


def _moment(date: str) -> float:
    """An HTTP date as wall-clock time."""
    moment = parsedate_to_datetime(date)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _no_answer(answer: Answer) -> Judgement:
    if answer.silence is Silence.CERTIFICATE:
        return Judgement(
            Verdict.HELD,
            f"the upstream's certificate was refused ({answer.detail}); check "
            "upstream.url, upstream.ca_file and this machine's clock",
        )
    if answer.proxy_status is not None:
        return _refused_by_proxy(answer, answer.proxy_status)
    silence = answer.silence or Silence.UNREACHABLE
    return Judgement(Verdict.LATER, f"no answer: {silence.value} ({answer.detail})")


def _refused_by_proxy(answer: Answer, status: int) -> Judgement:
    """The proxy answered CONNECT, and the upstream never heard of it."""
    said = f"the proxy refuses to connect: {answer.detail}"
    if _verdict(status) is Verdict.LATER:
        return Judgement(Verdict.LATER, said)
    advice = "have its administrator allow it, or check upstream.proxy and upstream.url"
    return Judgement(
        Verdict.HELD, f"{said}; {_ADVICE[407] if status == 407 else advice}"
    )


def _success(answer: Answer) -> Judgement:
    if answer.status == 204 and not answer.body:
        return Judgement(Verdict.DELIVERED, status=204)
    try:
        if isinstance(json.loads(answer.body), dict):
            return Judgement(Verdict.DELIVERED, status=answer.status)
    except (ValueError, RecursionError):
        pass
    if answer.is_cut:
        return Judgement(
            Verdict.HELD,
            f"answered {answer.status} with more than {len(answer.body):,} bytes, and "
            "no answer of the capture service's is so long: check upstream.url and "
            "what lies in between",
            answer.status,
        )
    if _breaks_off(answer.body):
        return Judgement(
            Verdict.LATER,
            f"answered {answer.status}, but the answer breaks off after "
            f"{len(answer.body):,} bytes: nobody knows what it was to say",
            answer.status,
        )
    kind = answer.content_type.split(";")[0] or "something without a type"
    return Judgement(
        Verdict.HELD,
        f"answered {answer.status}, but with {kind} instead of the capture service's "
        "JSON: a captive portal or proxy may answer for it, or upstream.url is wrong",
        answer.status,
    )


def _breaks_off(body: bytes) -> bool:
    """Whether it is a JSON object that began and did not end."""
    try:
        msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as error:
        return "truncated" in str(error) and body.lstrip()[:1] == b"{"
    except RecursionError:
        pass
    return False


def _said(answer: Answer, verdict: Verdict) -> str:
    status = answer.status or 0
    if verdict is Verdict.HELD:
        advice = _ADVICE.get(status, "check upstream.url and what lies in between")
        if 300 <= status < 400:
            advice = "redirects are never followed; check upstream.url"
        return f"answered {status}{_quoted(answer)}; {advice}"
    return f"answered {status}{_quoted(answer)}"


def _quoted(answer: Answer) -> str:
    """The service's own words, unless they are a page."""
    text = " ".join(answer.body[:4096].decode("utf-8", "replace").split())
    if not text or text.startswith("<") or "html" in answer.content_type:
        return ""
    return f" ({text[:MAX_REASON_CHARACTERS]})"
