"""Protocol v1: what the headers of a request must say. Pure.

All of them are required, and judged in the service's order: a missing key comes
before a missing header, and that before one that makes no sense.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from leanbase_relay.sink.envelope import UUID_TEXT
from leanbase_relay.sink.judge import checked_key
from leanbase_relay.sink.limits import Refusal
from leanbase_relay.sink.stored_time import parse_rfc_3339

REQUEST_ID = "PostHog-Request-Id"
MAX_SDK_INFO_CHARACTERS = 200

Encoding = Literal["gzip", "deflate"]

_ATTEMPT = "PostHog-Attempt"
_TIMESTAMP = "PostHog-Request-Timestamp"
_SDK_INFO = "PostHog-Sdk-Info"
_REQUIRED = (_SDK_INFO, _ATTEMPT, REQUEST_ID, _TIMESTAMP, "content-type", "user-agent")
_UNSIGNED_32_BITS = re.compile(r"\+?[0-9]{1,64}")
_ENCODINGS: Mapping[str, Encoding] = {"gzip": "gzip", "deflate": "deflate"}
_ENCODINGS_UNKNOWN_HERE = ("br", "zstd")


@dataclass(frozen=True, slots=True)
class Context:
    """The headers of one request that has all of them right."""

    api_key: str
    attempt: int
    request_id: str
    sent_at: datetime
    sdk_info: str
    encoding: Encoding | None

    @property
    def library(self) -> Mapping[str, str]:
        """``$lib`` and ``$lib_version``, if the SDK says them in a usable way."""
        name, slash, version = map(str.strip, self.sdk_info.rpartition("/"))
        if not (name and slash and version):
            return {}
        if len(self.sdk_info.encode()) > MAX_SDK_INFO_CHARACTERS:
            return {}
        return {"$lib": name, "$lib_version": version}


def read_context(
    headers: Mapping[str, str], *, known_keys: frozenset[str] | None
) -> Context:
    """The context, or the service's 400, 401 or 415."""
    if "authorization" not in headers:
        raise Refusal(
            401, "request is missing authorization", tag="missing_authorization"
        )
    missing = [name for name in _REQUIRED if name.lower() not in headers]
    if missing:
        names = ", ".join(f'"{name}"' for name in missing)
        raise Refusal(
            400,
            f"request is missing required headers: [{names}]",
            tag="missing_required_headers",
        )
    api_key = _api_key(headers["authorization"], known_keys)
    _check_content_type(headers["content-type"])
    return Context(
        api_key=api_key,
        encoding=_encoding(headers.get("content-encoding")),
        request_id=_request_id(headers[REQUEST_ID.lower()]),
        attempt=_attempt(headers[_ATTEMPT.lower()]),
        sent_at=_sent_at(headers[_TIMESTAMP.lower()]),
        sdk_info=headers[_SDK_INFO.lower()],
    )


def _api_key(authorization: str, known_keys: frozenset[str] | None) -> str:
    scheme, key = authorization[:7], authorization[7:].strip()
    if scheme.lower() != "bearer " or len(authorization) <= 7:
        raise _invalid("Authorization must use Bearer scheme")
    try:
        return checked_key(key, known_keys=known_keys)
    except Refusal as refusal:
        raise Refusal(
            401,
            "The provided API token is not valid.",
            tag="invalid_api_token",
            hint=str(refusal),
        ) from None


def _check_content_type(given: str) -> None:
    if given.partition(";")[0].strip().lower() != "application/json":
        raise Refusal(
            415,
            f"unsupported content type: {given}",
            tag="unsupported_content_type",
        )


def _encoding(given: str | None) -> Encoding | None:
    if given is None:
        return None
    encoding = _ENCODINGS.get(given.lower())
    if encoding is None:
        is_ours = given.lower() in _ENCODINGS_UNKNOWN_HERE
        raise Refusal(
            415,
            f"unsupported content encoding: {given}",
            tag="unsupported_encoding",
            hint="the real service knows it, the sink does not" if is_ours else "",
        )
    return encoding


def _request_id(given: str) -> str:
    if UUID_TEXT.fullmatch(given) is None:
        raise _invalid(f"{REQUEST_ID} is not a valid UUID: {given}")
    return given


def _attempt(given: str) -> int:
    attempt = int(given) if _UNSIGNED_32_BITS.fullmatch(given) else 0
    if not 1 <= attempt < 2**32:
        raise _invalid(f"{_ATTEMPT} must be a positive integer: {given}")
    return attempt


def _sent_at(given: str) -> datetime:
    try:
        time = parse_rfc_3339(given)
    except OverflowError:
        time = None
    if time is None:
        raise _invalid(f"{_TIMESTAMP} is not valid RFC 3339: {given}")
    return time


def _invalid(what: str) -> Refusal:
    return Refusal(400, f"invalid header value: {what}", tag="invalid_header_value")
