"""The terms of a script: what can be written in an entry, and what it means. Pure.

A reader turns what the file gives into a value, or raises ValueError with the end of
a sentence that begins with the name and what was given.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, get_args

from leanbase_relay.settings import (
    Count,
    Flag,
    Seconds,
    Size,
    Text,
    need,
    no_such_setting,
    one_of,
    shown,
)
from leanbase_relay.sink.fault import Fault, Ruling

Reader = Callable[[Any], Any]
Values = dict[str, Any]

MISSING = "missing"  # the result of a uuid that the answer leaves out
ANY = object()  # the value of a property that only has to be there

_SKEW = re.compile(r"([+-]?)(.+)")
_REQUESTS = re.compile(r"([0-9]{1,9})(?: requests?)?")
_HEADER = re.compile(r"[!-9;-~]+: ?[ -~]*")  # as one line, whatever the pieces hold


def read_entry(
    entry: Mapping[Any, Any], readers: Mapping[str, Reader]
) -> tuple[Values, list[str]]:
    """The values that are right, and complaints about the others."""
    values: Values = {}
    problems: list[str] = []
    for name, given in entry.items():
        if name not in readers:
            problems.append(no_such_setting(str(name), readers))
            continue
        try:
            values[name] = readers[name](given)
        except ValueError as wrong:
            problems.append(f"{name}: {shown(given)} {wrong}")
    return values, problems


def contradictions(values: Values) -> Iterator[str]:
    """Complaints about values that are right by themselves and not together."""
    if not values.keys() & _DEEDS.keys():
        yield f"says not what happens; write one of {', '.join(_DEEDS)}"
    endings = sorted(values.keys() & _ENDINGS)
    if len(endings) > 1:
        yield f"{' and '.join(endings)} cannot both happen; write two entries"
    spans = sorted(values.keys() & {"times", "for", "forever"})
    if len(spans) > 1:
        yield f"{' and '.join(spans)} contradict each other; write one of them"
    if "every" in values and "times" not in values and len(spans) == 0:
        yield "every: for how long? write for, times or forever beside it"
    if "results" in values and "status" in values:
        yield "results and status cannot both be answered; write two entries"


def fault_of(values: Values) -> Fault:
    """What happens to a request."""
    fault = Fault()
    for name, make in _DEEDS.items():
        if name in values:
            fault = make(fault, values[name])
    if fault.stores is not None and fault.status is None and "hang" not in values:
        fault = _over(fault, Fault.partial(fault.stores), "status", "body")
    if "body" in values:
        fault = replace(fault, body=values["body"].encode())
    return fault


def _over(fault: Fault, other: Fault, *names: str) -> Fault:
    """The fault with some of another's members."""
    return replace(fault, **{name: getattr(other, name) for name in (*names, "name")})


def _portal(fault: Fault, _: bool) -> Fault:  # noqa: FBT001 - a reader's value
    page = Fault.html(fault.status or 200)
    return _over(fault, page, "status", "body", "content_type", "stores")


def _redirect(fault: Fault, to: str) -> Fault:
    there = Fault.redirect(to, status=fault.status or 301)
    return replace(
        _over(fault, there, "status"), headers={**fault.headers, **there.headers}
    )


def _reader(kind: Any) -> Reader:
    """How the configuration reads a setting of this kind."""
    reader: Reader = get_args(kind)[1]
    return reader


def _status(given: Any) -> int:
    is_status = type(given) is int and 100 <= given <= 599
    need(is_status, "is no HTTP status; write a number from 100 to 599")
    return int(given)


def _number(given: Any) -> int:
    match = _REQUESTS.fullmatch(str(given)) if type(given) in (int, str) else None
    need(match, "is not a number of requests; write a whole number")
    return int(match[1]) if match else 0


def _skew(given: Any) -> float:
    match = _SKEW.fullmatch(str(given))
    seconds = _reader(Seconds)(match[2] if match else given)
    return float(-seconds if match and match[1] == "-" else seconds)


def _headers(given: Any) -> dict[str, str]:
    need(isinstance(given, dict) and given, "are none; write {Retry-After: 3}")
    lines = [f"{name}: {value}" for name, value in given.items()]
    fit = all(_HEADER.fullmatch(line) for line in lines)
    need(fit, "are none; write names and values in ASCII")
    return {str(name): str(value) for name, value in given.items()}


def _true(given: Any) -> bool:
    need(given is True, "says nothing; write true, or leave it out")
    return True


def _body(given: Any) -> str:
    need(isinstance(given, str), "is not a text; write it in quotes")
    return str(given)


def _rulings(given: Any) -> tuple[Ruling, ...]:
    entries = given if isinstance(given, list) else [given]
    return tuple(_ruling(entry) for entry in entries)


def _ruling(entry: Any) -> Ruling:
    is_entry = isinstance(entry, dict) and "result" in entry
    need(is_entry, "are none; write [{result: retry, every: 3}]")
    values, problems = read_entry(entry, _RESULT_TERMS)
    need(not problems, f"are none; {'; '.join(problems)}")
    word = values.pop("result")
    return Ruling(None if word == MISSING else word, **values)


def _uuids(given: Any) -> frozenset[str]:
    fit = isinstance(given, list) and all(isinstance(each, str) for each in given)
    need(fit and given, "is not a list of uuids")
    return frozenset(each.lower() for each in given)


def _property(given: Any) -> dict[str, Any]:
    """One name for any value, or names and values."""
    if isinstance(given, str) and given:
        return {given: ANY}
    need(isinstance(given, dict) and given, "is no property; write a name, or {a: 1}")
    return dict(given)


_DEEDS: Mapping[str, Callable[[Fault, Any], Fault]] = {
    "status": lambda fault, it: replace(fault, status=it),
    "headers": lambda fault, it: replace(fault, headers=it),
    "portal": _portal,
    "redirect": _redirect,
    "reset": lambda fault, it: _over(
        fault, Fault.reset(after_body=it == "after_body"), "ending"
    ),
    "hang": lambda fault, it: _over(
        fault, Fault.hang(it), "delay_seconds", "ending", "stores"
    ),
    "cut_off": lambda fault, _: _over(fault, Fault.cut_off(), "ending"),
    "delay": lambda fault, it: replace(fault, delay_seconds=it, name="a late answer"),
    "drip": lambda fault, it: _over(fault, Fault.drip(it), "drip_seconds"),
    "huge": lambda fault, it: _over(fault, Fault.huge(it), "padding_bytes"),
    "date_skew": lambda fault, it: _over(fault, Fault.skewed(it), "date_skew_seconds"),
    "results": lambda fault, it: _over(fault, Fault.results(*it), "rulings"),
    "stores": lambda fault, it: replace(fault, stores=it, name="stored in part"),
}
_ENDINGS = frozenset({"reset", "hang", "cut_off", "drip", "huge"})
_READERS: Mapping[str, Reader] = {
    "status": _status,
    "headers": _headers,
    "portal": _true,
    "redirect": _reader(Text),
    "reset": one_of("before_body", "after_body"),
    "hang": _reader(Seconds),
    "cut_off": _true,
    "delay": _reader(Seconds),
    "drip": _reader(Seconds),
    "huge": _reader(Size),
    "date_skew": _skew,
    "results": _rulings,
    "stores": _number,
}
_SPANS: Mapping[str, Reader] = {
    "times": _reader(Count),
    "for": _reader(Seconds),
    "forever": _true,
    "after": _number,
    "every": _reader(Seconds),
}
FAULT_TERMS: Mapping[str, Reader] = {**_READERS, "body": _body, **_SPANS}
_RESULT_TERMS: Mapping[str, Reader] = {
    "result": _reader(Text),
    "details": _reader(Text),
    "every": _reader(Count),
    "uuids": _uuids,
    "event": _reader(Text),
    "stores": _reader(Flag),
}
REFUSAL_TERMS: Mapping[str, Reader] = {"event": _reader(Text), "property": _property}
