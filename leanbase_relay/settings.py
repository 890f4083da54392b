"""A setting: how the text in the file becomes a value, and how the value is shown.

Each kind of setting is an annotated type: the type itself, its reader and, where it
differs, how it is shown. A reader turns what the file gives into a value, or raises
ValueError with the end of a sentence that begins with the key and what was given.
"""

import difflib
import ipaddress
import os
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
MASK = "********"

_SIZES = {"GiB": GIB, "MiB": MIB, "KiB": KIB, "": 1}
_DURATIONS_MS = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_LONGEST_MS = 500 * 3_600_000  # a socket's timeout must stay below 2**31 ms
_LARGEST = 2**63 - 1  # what SQLite can hold
_LONGEST_SOCKET_PATH = 107  # sun_path has 108 bytes, the last one is NUL

_HOST = r"([\w.-]+|\[[0-9a-fA-F:.]+\])"
_PORT = r":(?P<port>[1-9][0-9]{0,4})"
_URL = rf"https?://{_HOST}({_PORT})?(/[^\s?#@]*)?"
_PROXY = rf"https?://([^\s/]+@)?{_HOST}({_PORT})?/?"
_ADDRESS = rf"unix:/\S+|{_HOST}{_PORT}"


def need(condition: object, complaint: str) -> None:
    """Refuse a value with this complaint unless the condition holds."""
    if not condition:
        raise ValueError(complaint)


def _number_and_unit(given: Any, units: Mapping[str, int]) -> int:
    match = re.fullmatch(f"([0-9]{{1,19}})({'|'.join(units)})", str(given))
    return int(match[1]) * units[match[2]] if match else 0


def _in_units(number: int, units: Mapping[str, int]) -> str:
    """The number in the largest unit that divides it: 900KiB, 1500ms."""
    unit = next(unit for unit, worth in units.items() if number % worth == 0)
    return f"{number // units[unit]}{unit}"


def _read_size(given: Any) -> int:
    size = _number_and_unit(given, _SIZES)
    need(0 < size <= _LARGEST, "is not a size; write bytes or a size such as 512MiB")
    return size


def _show_size(size: int) -> str | int:
    return _in_units(size, _SIZES) if size % KIB == 0 else size


def _read_seconds(given: Any) -> float:
    ms = _number_and_unit(given, _DURATIONS_MS)
    wanted = "write 250ms, 5s, 5m or 2h, always with the unit, at most 500h"
    need(0 < ms <= _LONGEST_MS, f"is not a duration; {wanted}")
    return ms / 1000


def _show_seconds(seconds: float) -> str:
    return _in_units(round(seconds * 1000), _DURATIONS_MS)


def _read_count(given: Any) -> int:
    is_count = type(given) is int and 0 < given <= _LARGEST  # a bool is none
    need(is_count, "is not a count; write a whole number above 0")
    return int(given)


def _read_flag(given: Any) -> bool:
    need(isinstance(given, bool), "is neither true nor false")
    return bool(given)


def _read_text(given: Any) -> str:
    is_text = isinstance(given, str) and given.strip() and given.isprintable()
    need(is_text, "is not a text; write one, in quotes if it looks like a number")
    return str(given)


def read_path(given: Any) -> Path:
    """An absolute path."""
    is_path = isinstance(given, str) and given.isprintable() and given.startswith("/")
    need(is_path, "is not an absolute path; write one that begins with /")
    return Path(given)


def _read_socket_path(given: Any) -> Path:
    path = read_path(given)
    is_short = len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH
    need(is_short, f"is over {_LONGEST_SOCKET_PATH} bytes, too long for a socket")
    return path


def _read_mode(given: Any) -> int:
    if isinstance(given, str) and re.fullmatch(r"(0o?)?[0-7]{3}", given):
        given = int(given, 8)
    # YAML itself reads 0660 without quotes as octal.
    is_mode = type(given) is int and 0 <= given <= 0o777
    need(is_mode, "is not a file mode; write octal digits in quotes, such as '0660'")
    return int(given)


def _fits(pattern: str, given: Any) -> bool:
    """True for a text of this pattern whose port, if it has one, exists."""
    match = re.fullmatch(pattern, given) if isinstance(given, str) else None
    return match is not None and int(match["port"] or 1) < 2**16


def _read_url(given: Any) -> str:
    wanted = "write http:// or https:// and a host, no credentials, no query"
    need(_fits(_URL, given), f"is not a base URL; {wanted}")
    return str(given).rstrip("/")


def _read_proxy(given: Any) -> str:
    wanted = "write http:// or https://, a host and a port"
    need(_fits(_PROXY, given), f"is not a proxy's URL; {wanted}")
    return str(given)


def hide_credentials(text: str) -> str:
    """A URL without its user name and password."""
    return re.sub(r"(?s)^(\w+://)?.*@", rf"\1{MASK}@", text)


def one_of(*words: str) -> Callable[[Any], str]:
    """A reader that takes these words only."""

    def read(given: Any) -> str:
        need(given in words, f"is not known; write {' or '.join(words)}")
        return str(given)

    return read


def _read_uids(given: Any) -> tuple[int, ...]:
    is_list = isinstance(given, list) and len(given) > 0
    wanted = "write [0, 1000], or null for all whom the socket's mode lets in"
    fit = is_list and all(type(uid) is int and 0 <= uid < 2**32 - 1 for uid in given)
    need(fit, f"is not a list of user ids; {wanted}")
    return tuple(given)


def _read_patterns(given: Any) -> tuple[str, ...]:
    is_list = isinstance(given, list) and len(given) > 0
    wanted = "write ['*.jsonl'], or spool.path: null for no spool"
    fit = is_list and all(isinstance(name, str) and name for name in given)
    fit = fit and all(name.isprintable() and "/" not in name for name in given)
    need(fit, f"is not a list of file name patterns; {wanted}")
    return tuple(given)


def _read_addresses(given: Any) -> tuple[str, ...]:
    fit = isinstance(given, list) and all(_fits(_ADDRESS, each) for each in given)
    wanted = "write ['127.0.0.1:8010', 'unix:/run/http.sock']"
    need(fit, f"is not a list of addresses; {wanted}")
    need(len(set(given)) == len(given), "has an address twice; write it once")
    for address in given:
        where = place_of(address)
        if isinstance(where, Path):
            _read_socket_path(str(where))
        else:
            wanted = "write 127.0.0.1, [::1] or localhost with the port, or unix:/path"
            reach = f"{address} can be reached from other machines; {wanted}"
            need(_is_loopback(where[0]), f"goes too far: {reach}")
    return tuple(given)


def place_of(address: str) -> Path | tuple[str, int]:
    """Where to listen: a socket's path, or a host and a port."""
    if address.startswith("unix:"):
        return Path(address.removeprefix("unix:"))
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# A kind of setting: its type, its reader and, where it differs, how it is shown.
Size = Annotated[int, _read_size, _show_size]
Seconds = Annotated[float, _read_seconds, _show_seconds]
Count = Annotated[int, _read_count]
Flag = Annotated[bool, _read_flag]
Text = Annotated[str, _read_text]
AbsolutePath = Annotated[Path, read_path, str]
SocketPath = Annotated[Path, _read_socket_path, str]
Mode = Annotated[int, _read_mode, "{:04o}".format]
BaseUrl = Annotated[str, _read_url]
ProxyUrl = Annotated[str, _read_proxy, hide_credentials]
Uids = Annotated[tuple[int, ...], _read_uids, list]
Patterns = Annotated[tuple[str, ...], _read_patterns, list]
Addresses = Annotated[tuple[str, ...], _read_addresses, list]


def members_of(given: object) -> dict[Any, Any]:
    """What is below a key; nothing, when all its lines are comments."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ValueError("holds no settings; write 'name: value' lines")  # noqa: TRY004
    return dict(given)


def no_such_setting(key: str, known: Iterable[str]) -> str:
    """The complaint about an unknown key, with the known one that may be meant."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.7)
    return f"{key}: no such setting" + (f"; did you mean {near[0]}?" if near else "")


def shown(given: object) -> str:
    """What was given: short, and without the password of a URL."""
    if given is None or isinstance(given, bool):
        return {None: "null", True: "true", False: "false"}[given]
    brief = reprlib.Repr()
    brief.maxstring = 80
    return brief.repr(hide_credentials(given) if isinstance(given, str) else given)
