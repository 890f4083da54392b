"""The looks of `doctor` at the upstream and the way there: a request without events."""

import ipaddress
import os
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from leanbase_relay.cli.finding import Finding, Patient, State
from leanbase_relay.cli.words import age
from leanbase_relay.keys import KeyRing, ProjectConfig, Secret
from leanbase_relay.settings import hide_credentials
from leanbase_relay.status import MOST_SKEW_SECONDS

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
    skew: float | None = None
    for number, project in enumerate(projects.values()):
        finding, project_skew = _asked(patient, project)
        skew = project_skew if skew is None else skew
        if number == 0:
            yield from _tls(patient, finding)
        yield finding
        if finding.state is State.ATTENTION and number == 0:
            break  # the others go the same way
    if skew is not None and abs(skew) > MOST_SKEW_SECONDS:
        way = "ahead of" if skew > 0 else "behind"
        found = f"this machine's is {age(abs(skew))} {way} the upstream's"
        yield Finding("clock", State.ATTENTION, found, "timedatectl set-ntp true")
    elif skew is not None:
        yield Finding("clock", State.OK, "within 150 s of the upstream's")


def _asked(patient: Patient, project: ProjectConfig) -> tuple[Finding, float | None]:
    from dataclasses import replace

    from leanbase_relay.assembly import Parts
    from leanbase_relay.forward.batch import Batch, Piece
    from leanbase_relay.forward.verdict import Verdict, judge, skew_seconds

    config = patient.config
    seconds = min(config.upstream.timeout_seconds, ENOUGH_SECONDS)
    hasty = replace(
        config.upstream,
        timeout_seconds=seconds,
        connect_timeout_seconds=min(config.upstream.connect_timeout_seconds, seconds),
    )
    parts = Parts(replace(config, upstream=hasty), patient.clock, KeyRing())
    upstream = parts.upstream(project)
    nothing = Batch((Piece(0, 0, 0, last=True, event_bytes=b"", accepted_at_ms=0),))
    try:
        began = patient.clock.monotonic()
        answer = upstream.send(upstream.begin(nothing))
        took = patient.clock.monotonic() - began
    finally:
        upstream.close()
    now = patient.clock.wall()
    judgement = judge(answer, now=now)
    where = config.upstream.url
    if len(config.projects) > 1:
        where = f"project {project.name}: {where}"
    of_a_service = not answer.body.lstrip().startswith(b"<")
    if of_a_service and judgement.verdict in (Verdict.DELIVERED, Verdict.REFUSED):
        # That there are no events in it is what a capture service complains about.
        found = f"{where} answers as a capture service does, in {took * 1000:.0f} ms"
        return Finding("upstream", State.OK, found), skew_seconds(answer, now=now)
    mend = (
        f"curl -v {config.upstream.url}/batch/ from this machine; see upstream.url and "
        "upstream.proxy"
    )
    if answer.status in (401, 403):
        mend = f"the key of project {project.name}"
    found = f"{where}: {judgement.reason}"
    return Finding("upstream", State.ATTENTION, found, mend), skew_seconds(
        answer, now=now
    )


def _tls(patient: Patient, finding: Finding) -> Iterator[Finding]:
    address = urlsplit(patient.config.upstream.url)
    if address.scheme != "https":
        local = address.hostname in ("localhost", "127.0.0.1", "::1")
        state = State.OK if local else State.NOTE
        mend = "" if local else "upstream.url: https://…"
        yield Finding("TLS", state, "none: events and key go unencrypted", mend)
    elif "certificate was refused" in finding.found:
        mend = "upstream.ca_file for a CA of your own; else somebody listens in"
        yield Finding("TLS", State.ATTENTION, "the certificate was refused", mend)
    elif finding.state is State.OK:
        yield Finding("TLS", State.OK, "the certificate is right")


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
