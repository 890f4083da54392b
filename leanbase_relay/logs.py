"""The log: one line an event, on stderr, for people, for journald or for programs.

A record's message is ``event key=value key=value``. As text it is printed like that;
as JSON its facts become members. What is not printable is escaped, so that nobody's
data can break a line or command a terminal.
"""

import codecs
import json
import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from leanbase_relay.clock import rfc_3339

PACKAGE = "leanbase_relay"

_PRIORITIES = {
    logging.DEBUG: "<7>",
    logging.INFO: "<6>",
    logging.WARNING: "<4>",
    logging.ERROR: "<3>",
    logging.CRITICAL: "<2>",
}
"""What journald reads at the beginning of a line, sd-daemon(3)."""

_in_ascii = codecs.getencoder("unicode_escape")  # now: later no file may be opened
_PLACE = re.compile(r"(?:\b(\w+)=)?%[-.\d]*[sdfr]")


def set_up(
    level: str,
    form: str,
    *,
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Log to this stream from now on, and nowhere else; repeating it is fine.

    Args:
        level: of our own lines; libraries are heard from ``warning`` on.
        form: ``text`` or ``json``.
        stream: stderr unless given.
        environ: where systemd says that a stream leads to its journal.
    """
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    if form == "json":
        handler.setFormatter(JsonForm())
    elif _is_journal(stream, environ):
        handler.setFormatter(JournalForm())
    else:
        handler.setFormatter(TextForm())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(PACKAGE).setLevel(level.upper())


class TextForm(logging.Formatter):
    """``2026-11-23T08:00:00Z warning lane_held project=default``."""

    def format(self, record: logging.LogRecord) -> str:
        head = f"{_stamp(record)} {record.levelname.lower()} "
        return "\n".join([head + _escaped(_message(record)), *self._below(record)])

    def _below(self, record: logging.LogRecord) -> list[str]:
        """The exception, a line each."""
        if not record.exc_info:
            return []
        trace = self.formatException(record.exc_info)
        return [_escaped(line) for line in trace.splitlines()]


class JournalForm(TextForm):
    """Each line with its priority; journald stamps it."""

    def format(self, record: logging.LogRecord) -> str:
        priority = _PRIORITIES.get(record.levelno, "<5>")
        lines = [_escaped(_message(record)), *self._below(record)]
        return "\n".join(priority + line for line in lines)


class JsonForm(logging.Formatter):
    """One object a line: at, level, event, the facts, message."""

    def format(self, record: logging.LogRecord) -> str:
        message = _message(record)
        members = _facts(record) | {
            "at": _stamp(record),
            "level": record.levelname.lower(),
            "event": message.partition(" ")[0] if _is_ours(record) else record.name,
            "message": message,
        }
        if record.exc_info:
            members["exception"] = self.formatException(record.exc_info)
        return json.dumps(members, default=str)


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    return text if _is_ours(record) else f"{record.name}: {text}"


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] == PACKAGE


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    """The arguments by the names that the message gives them."""
    if not isinstance(record.args, tuple):
        return {}
    names = [place[1] for place in _PLACE.finditer(str(record.msg))]
    named = zip(names, record.args, strict=False)
    return {name: fact for name, fact in named if name is not None}


def _stamp(record: logging.LogRecord) -> str:
    return rfc_3339(record.created, timespec="seconds")


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else _in_ascii(char)[0].decode() for char in text
    )


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """True if it is this very stream that systemd connected to its journal.

    The variable alone says little: children inherit it with another stderr.
    """
    try:
        status = os.fstat(stream.fileno())
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
