"""The looks of `doctor` at the upstream and the way there: a request without events."""

import ipaddress
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from leanbase_relay.cli.finding import Finding, Patient, State
from leanbase_relay.cli.words import age
from leanbase_relay.keys import KeyRing, ProjectConfig, Secret
from leanbase_relay.settings import hide_credentials
from leanbase_relay.status import MOST_SKEW_SECONDS

if TYPE_CHECKING:
    from leanbase_relay.forward.verdict import Answer, Judgement

ENOUGH_SECONDS = 10.0
"""For an answer; a person waits."""

_PLACEHOLDER = Secret("phc_doctor")  # where the key is the daemon's alone
_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")


def look_at_names(patient: Patient) -> Iterator[Finding]:
    """Whether the name servers know the way, and which way that is."""
    upstream = patient.config.upstream
    yield from _proxy(upstream.proxy)
    address = urlsplit(upstream.proxy or upstream.url)
    host = address.hostname or ""
    if _is_address(host):
        yield Finding("DNS", State.OK, f"{host} is no name")
        return
    try:
        found = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        mend = f"getent hosts {host}; /etc/resolv.conf; or is the name wrong?"
        told = f"no address for {host}: {error.strerror or error}"
        yield Finding("DNS", State.ATTENTION, told, mend)
        return
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    more = f" and {len(addresses) - 2} more" if len(addresses) > 2 else ""
    told = f"{host} is {', '.join(addresses[:2])}{more}"
    yield Finding("DNS", State.OK, told)


def look_at_upstream(patient: Patient) -> Iterator[Finding]:
    """What it answers to a request that has no events in it, for each project."""
    projects = patient.keyed or {
        name: ProjectConfig(name, _PLACEHOLDER) for name in patient.config.projects
    }
    skews = []
    for number, project in enumerate(projects.values()):
        heard = _ask(patient, project)
        if number == 0:
            yield from _tls(patient, heard.answer)
        yield _finding(patient, project, heard)
        if heard.skew_seconds is not None:
            skews.append(heard.skew_seconds)
        if heard.answer.status is None:
            break  # the others go the same way
    yield from _clock(skews)


class _Heard(NamedTuple):
    """What came of a request without events."""

    answer: "Answer"
    judgement: "Judgement"
    seconds: float
    skew_seconds: float | None


def _ask(patient: Patient, project: ProjectConfig) -> _Heard:
    from leanbase_relay.assembly import Parts
    from leanbase_relay.forward.batch import Batch, Piece
    from leanbase_relay.forward.verdict import judge, skew_seconds
    from leanbase_relay.store.chunk import pack

    config = patient.config
    seconds = min(config.upstream.timeout_seconds, ENOUGH_SECONDS)
    hasty = replace(
        config.upstream,
        timeout_seconds=seconds,
        connect_timeout_seconds=min(config.upstream.connect_timeout_seconds, seconds),
    )
    parts = Parts(replace(config, upstream=hasty), patient.clock, KeyRing())
    upstream = parts.upstream(project)
    empty = Piece(0, 0, 0, last=True, packed=pack(b""), size=0, accepted_at_ms=0)
    nothing = Batch((empty,))
    try:
        began = patient.clock.monotonic()
        answer = upstream.send(upstream.begin(nothing))
        took = patient.clock.monotonic() - began
    finally:
        upstream.close()
    now = patient.clock.wall()
    return _Heard(answer, judge(answer, now=now), took, skew_seconds(answer, now=now))


def _finding(patient: Patient, project: ProjectConfig, heard: _Heard) -> Finding:
    from leanbase_relay.forward.verdict import Verdict

    config = patient.config
    where = config.upstream.url
    if len(config.projects) > 1:
        where = f"project {project.name}: {where}"
    status, body = heard.answer.status, heard.answer.body.lstrip()
    # That there are no events in it is what a capture service complains about.
    takes = heard.judgement.verdict in (Verdict.DELIVERED, Verdict.REFUSED)
    wants_key = status in (401, 403)
    if (takes and not body.startswith(b"<")) or (wants_key and patient.keyed is None):
        found = f"{where} answers as a capture service does"
        found += " that wants a key, which is the daemon's alone" * wants_key
        found += f", in {heard.seconds * 1000:.0f} ms"
        return Finding("upstream", State.OK, found)
    mend = (
        f"curl -v {config.upstream.url}/batch/ from this machine; see upstream.url and "
        "upstream.proxy"
    )
    if wants_key:
        mend = f"the key of project {project.name}"
    found = f"{where}: {heard.judgement.reason}"
    return Finding("upstream", State.ATTENTION, found, mend)


def _tls(patient: Patient, answer: "Answer") -> Iterator[Finding]:
    from leanbase_relay.forward.verdict import Silence

    address = urlsplit(patient.config.upstream.url)
    if address.scheme != "https":
        local = address.hostname in ("localhost", "127.0.0.1", "::1")
        state = State.OK if local else State.NOTE
        mend = "" if local else "upstream.url: https://…"
        yield Finding("TLS", state, "none: events and key go unencrypted", mend)
    elif answer.silence is Silence.CERTIFICATE:
        mend = "upstream.ca_file for a CA of your own; else somebody listens in"
        yield Finding("TLS", State.ATTENTION, "the certificate was refused", mend)
    elif answer.status is not None:
        yield Finding("TLS", State.OK, "the certificate is right")


def _clock(skews: Sequence[float]) -> Iterator[Finding]:
    skew = max(skews, key=abs, default=None)
    if skew is None:
        return
    if abs(skew) > MOST_SKEW_SECONDS:
        way = "ahead of" if skew > 0 else "behind"
        found = f"this machine's is {age(abs(skew))} {way} the upstream's"
        yield Finding("clock", State.ATTENTION, found, "timedatectl set-ntp true")
    else:
        yield Finding("clock", State.OK, "within 150 s of the upstream's")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _proxy(proxy: str | None) -> Iterator[Finding]:
    if proxy is not None:
        yield Finding("proxy", State.OK, f"by {hide_credentials(proxy)}")
        return
    names = {*_VARIABLES, *map(str.upper, _VARIABLES)}
    if seen := sorted(name for name in names if os.environ.get(name)):
        found = f"none, though {', '.join(seen)} is set here: the relay does not ask it"
        yield Finding("proxy", State.NOTE, found, "upstream.proxy, if there is one")
    else:
        yield Finding("proxy", State.OK, "none")
