"""The configuration: every setting, its default, and what is said when it is wrong.

The dataclasses below are the one table of settings. A field's name is its key in the
file (durations lose their ``_seconds``), its default is the default, and its type
says how a value is read and shown: reading, `describe` and the test that holds
``config.example.yaml`` to the code all follow from there.

Owns the rule that a configuration is taken whole or refused whole, all complaints at
once, and that no complaint, repr or dump ever shows a key.
"""

import difflib
import operator
import os
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import yaml

from leanbase_relay.errors import ConfigError

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
DEFAULT_PATH = Path("/etc/leanbase-relay/config.yaml")
MASK = "********"

_SIZES = {"GiB": GIB, "MiB": MIB, "KiB": KIB, "": 1}
_DURATIONS_MS = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_LONGEST_MS = 500 * 3_600_000  # a socket's timeout must stay below 2**31 ms
_LARGEST = 2**63 - 1  # what SQLite can hold
_LONGEST_SOCKET_PATH = 107  # sun_path has 108 bytes, the last one is NUL
_LONGEST_KEY = 64  # what the upstream takes
_PROJECT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

_HOST = r"([\w.-]+|\[[0-9a-fA-F:.]+\])"
_PORT = r":(?P<port>[1-9][0-9]{0,4})"
_URL = rf"https?://{_HOST}({_PORT})?(/[^\s?#@]*)?"
_PROXY = rf"https?://([^\s/]+@)?{_HOST}({_PORT})?/?"
_ADDRESS = rf"unix:/\S+|{_HOST}{_PORT}"


class Secret:
    """A text that can be used, but not printed, logged or dumped by accident."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the request that needs it."""
        return self._text

    def __repr__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


# Readers turn what the file gives into a value, or raise ValueError with the end of
# a sentence that begins with the key and what was given.


def _need(condition: object, complaint: str) -> None:
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
    _need(0 < size <= _LARGEST, "is not a size; write bytes or a size such as 512MiB")
    return size


def _show_size(size: int) -> str | int:
    return _in_units(size, _SIZES) if size % KIB == 0 else size


def _read_seconds(given: Any) -> float:
    ms = _number_and_unit(given, _DURATIONS_MS)
    wanted = "write 250ms, 5s, 5m or 2h, always with the unit, at most 500h"
    _need(0 < ms <= _LONGEST_MS, f"is not a duration; {wanted}")
    return ms / 1000


def _show_seconds(seconds: float) -> str:
    return _in_units(round(seconds * 1000), _DURATIONS_MS)


def _read_count(given: Any) -> int:
    is_count = type(given) is int and 0 < given <= _LARGEST  # a bool is none
    _need(is_count, "is not a count; write a whole number above 0")
    return int(given)


def _read_flag(given: Any) -> bool:
    _need(isinstance(given, bool), "is neither true nor false")
    return bool(given)


def _read_text(given: Any) -> str:
    is_text = isinstance(given, str) and given.strip() and given.isprintable()
    _need(is_text, "is not a text; write one, in quotes if it looks like a number")
    return str(given)


def _read_path(given: Any) -> Path:
    is_path = isinstance(given, str) and given.isprintable() and given.startswith("/")
    _need(is_path, "is not an absolute path; write one that begins with /")
    return Path(given)


def _read_socket_path(given: Any) -> Path:
    path = _read_path(given)
    is_short = len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH
    _need(is_short, f"is over {_LONGEST_SOCKET_PATH} bytes, too long for a socket")
    return path


def _read_mode(given: Any) -> int:
    if isinstance(given, str) and re.fullmatch(r"(0o?)?[0-7]{3}", given):
        given = int(given, 8)
    # YAML itself reads 0660 without quotes as octal.
    is_mode = type(given) is int and 0 <= given <= 0o777
    _need(is_mode, "is not a file mode; write octal digits in quotes, such as '0660'")
    return int(given)


def _fits(pattern: str, given: Any) -> bool:
    """True for a text of this pattern whose port, if it has one, exists."""
    match = re.fullmatch(pattern, given) if isinstance(given, str) else None
    return match is not None and int(match["port"] or 1) < 2**16


def _read_url(given: Any) -> str:
    wanted = "write http:// or https:// and a host, no credentials, no query"
    _need(_fits(_URL, given), f"is not a base URL; {wanted}")
    return str(given).rstrip("/")


def _read_proxy(given: Any) -> str:
    wanted = "write http:// or https://, a host and a port"
    _need(_fits(_PROXY, given), f"is not a proxy's URL; {wanted}")
    return str(given)


def _hide_credentials(text: str) -> str:
    return re.sub(r"(?s)^(\w+://)?.*@", rf"\1{MASK}@", text)


def _one_of(*words: str) -> Callable[[Any], str]:
    def read(given: Any) -> str:
        _need(given in words, f"is not known; write {' or '.join(words)}")
        return str(given)

    return read


def _read_uids(given: Any) -> tuple[int, ...]:
    is_list = isinstance(given, list) and len(given) > 0
    wanted = "write [0, 1000], or null for all whom the socket's mode lets in"
    fit = is_list and all(type(uid) is int and 0 <= uid < 2**32 - 1 for uid in given)
    _need(fit, f"is not a list of user ids; {wanted}")
    return tuple(given)


def _read_patterns(given: Any) -> tuple[str, ...]:
    is_list = isinstance(given, list) and len(given) > 0
    wanted = "write ['*.jsonl'], or spool.path: null for no spool"
    fit = is_list and all(isinstance(name, str) and name for name in given)
    fit = fit and all(name.isprintable() and "/" not in name for name in given)
    _need(fit, f"is not a list of file name patterns; {wanted}")
    return tuple(given)


def _read_addresses(given: Any) -> tuple[str, ...]:
    fit = isinstance(given, list) and all(_fits(_ADDRESS, each) for each in given)
    wanted = "write ['127.0.0.1:8010', 'unix:/run/http.sock']"
    _need(fit, f"is not a list of addresses; {wanted}")
    return tuple(given)


# A kind of setting: its type, its reader and, where it differs, how it is shown.
Size = Annotated[int, _read_size, _show_size]
Seconds = Annotated[float, _read_seconds, _show_seconds]
Count = Annotated[int, _read_count]
Flag = Annotated[bool, _read_flag]
Text = Annotated[str, _read_text]
AbsolutePath = Annotated[Path, _read_path, str]
SocketPath = Annotated[Path, _read_socket_path, str]
Mode = Annotated[int, _read_mode, "{:04o}".format]
BaseUrl = Annotated[str, _read_url]
ProxyUrl = Annotated[str, _read_proxy, _hide_credentials]
Uids = Annotated[tuple[int, ...], _read_uids, list]
Patterns = Annotated[tuple[str, ...], _read_patterns, list]
Addresses = Annotated[tuple[str, ...], _read_addresses, list]


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    """Where events go; ``timeout_seconds`` bounds a whole attempt."""

    url: BaseUrl = "https://us.i.leanbase.com"  # without a slash at its end
    protocol: Annotated[str, _one_of("batch", "v1")] = "batch"
    compression: Annotated[str, _one_of("gzip", "none")] = "gzip"
    connect_timeout_seconds: Seconds = 5.0
    timeout_seconds: Seconds = 30.0
    proxy: ProxyUrl | None = field(default=None, repr=False)  # may hold a password
    ca_file: AbsolutePath | None = None


@dataclass(frozen=True, slots=True)
class ProjectConfig:
    """A project's name here and its key there."""

    name: str
    api_key: Secret


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """A batch leaves when full, or when its oldest event has waited this long."""

    max_events: Count = 5000
    max_bytes: Size = 4 * MIB
    max_wait_seconds: Seconds = 1.0


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """The growing delay between attempts; ``max_attempts`` None means for ever."""

    first_delay_seconds: Seconds = 1.0
    max_delay_seconds: Seconds = 300.0
    max_attempts: Count | None = None


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """The SQLite file; ``max_bytes`` bounds database, WAL and dead letters."""

    path: AbsolutePath = Path("/var/lib/leanbase-relay/relay.db")
    max_bytes: Size = GIB
    when_full: Annotated[str, _one_of("reject", "drop_oldest")] = "reject"


@dataclass(frozen=True, slots=True)
class DeadLettersConfig:
    """The dead letters' share of the store; beyond it the oldest go."""

    max_bytes: Size = 64 * MIB


@dataclass(frozen=True, slots=True)
class SocketConfig:
    """JSON Lines intake; ``allow_uids`` None means all whom the mode lets in."""

    path: SocketPath = Path("/run/leanbase-relay/relay.sock")
    mode: Mode = 0o660
    group: Text | None = None
    allow_uids: Uids | None = None


@dataclass(frozen=True, slots=True)
class SpoolConfig:
    """The directory of JSON Lines files; ``path`` None switches it off."""

    path: AbsolutePath | None = Path("/var/spool/leanbase-relay")
    patterns: Patterns = ("*.jsonl", "*.ndjson", "*.jsonl.gz")
    settle_seconds: Seconds = 10.0
    late_grace_seconds: Seconds = 600.0
    scan_interval_seconds: Seconds = 5.0


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """Addresses of the capture API: ``host:port`` or ``unix:/path``."""

    listen: Addresses = ()


@dataclass(frozen=True, slots=True)
class ControlConfig:
    """The socket for status and commands; its mode is the intake socket's."""

    path: SocketPath = Path("/run/leanbase-relay/control.sock")


@dataclass(frozen=True, slots=True)
class EventsConfig:
    """What an event may weigh, and what the relay adds to it."""

    max_bytes: Size = 900 * KIB
    person_profiles: Annotated[
        str, _one_of("as_sent", "always", "identified_only", "never")
    ] = "as_sent"
    disable_geoip: Flag = False


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What the log says and how a line looks."""

    level: Annotated[str, _one_of("debug", "info", "warning", "error")] = "info"
    format: Annotated[str, _one_of("text", "json")] = "text"


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration that was checked as a whole. Sizes are bytes."""

    upstream: UpstreamConfig
    projects: dict[str, ProjectConfig]
    batch: BatchConfig
    retry: RetryConfig
    store: StoreConfig
    dead_letters: DeadLettersConfig
    socket: SocketConfig
    spool: SpoolConfig
    http: HttpConfig
    control: ControlConfig
    events: EventsConfig
    log: LogConfig


_GROUPS = get_type_hints(Config)
del _GROUPS["projects"]

# What cannot be: a setting, how it compares to another or to a limit, and why not.
_IMPOSSIBLE: tuple[tuple[str, str, str | int, str], ...] = (
    ("upstream.connect_timeout", ">", "upstream.timeout", "it is a part of that time"),
    ("retry.max_delay", "<", "retry.first_delay", "delays only grow"),
    ("store.max_bytes", "<", 32 * MIB, "SQLite's write-ahead log needs the room"),
    ("dead_letters.max_bytes", ">=", "store.max_bytes", "they are a part of it"),
    ("events.max_bytes", ">", "batch.max_bytes", "an event must fit into a batch"),
    ("events.max_bytes", ">", 20 * MIB, "the upstream takes no larger request"),
    ("control.path", "==", "socket.path", "each needs a path of its own"),
    ("store.path", "==", "socket.path", "each needs a path of its own"),
    ("store.path", "==", "control.path", "each needs a path of its own"),
)
_COMPARISONS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    ">": (operator.gt, "more than"),
    "<": (operator.lt, "less than"),
    ">=": (operator.ge, "not less than"),
    "==": (operator.eq, "the same as"),
}

# Promised, not built: the only value that works today. To ignore the others silently
# would be a lie. Whoever builds one deletes its line.
_NOT_BUILT_YET = {
    "upstream.protocol": "batch",
    "events.person_profiles": "as_sent",
    "http.listen": (),
}


def load(
    path: Path | None = None, *, environ: Mapping[str, str] = os.environ
) -> Config:
    """Find, read and check the configuration file; write nothing.

    Without ``path`` it is ``$LEANBASE_RELAY_CONFIG``, and without that
    ``/etc/leanbase-relay/config.yaml``.

    Raises:
        ConfigError: with all that is wrong; each complaint begins with file or key.
    """
    path = path or Path(environ.get("LEANBASE_RELAY_CONFIG") or DEFAULT_PATH)
    try:
        text = path.read_text(encoding="utf-8")
        problems = list(_written_twice(yaml.compose(text, Loader=yaml.SafeLoader)))
        document = yaml.safe_load(text)
    except FileNotFoundError:
        remedy = "write it, or name another: --config, $LEANBASE_RELAY_CONFIG"
        raise ConfigError([f"{path}: there is no such file; {remedy}"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # Not chained: PyYAML's own text quotes the line, which may hold a key.
        raise ConfigError([f"{path}: {_why_not_yaml(error)}"]) from None
    return _check(document, environ, str(path), problems)


def parse(document: object, *, environ: Mapping[str, str], where: str) -> Config:
    """Check a document as YAML gives it; ``where`` names it in complaints.

    Reads no file but those of ``api_key_file`` and ``$CREDENTIALS_DIRECTORY``.

    Raises:
        ConfigError: with all that is wrong.
    """
    return _check(document, environ, where, [])


def describe(config: Config) -> str:
    """The effective configuration as YAML, secrets masked; it can be read again."""
    document: dict[str, Any] = {group.name: {} for group in fields(Config)}
    document["projects"] = {name: {"api_key": MASK} for name in config.projects}
    for key, setting in _SETTINGS.items():
        group, _, name = key.partition(".")
        value = getattr(getattr(config, group), setting.name)
        document[group][name] = setting.show(value)
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000)


@dataclass(frozen=True, slots=True)
class _Setting:
    """A field of one of the groups, as the file knows it."""

    name: str
    default: Any
    nullable: bool
    reader: Callable[[Any], Any]
    shower: Callable[[Any], Any] = lambda value: value

    def read(self, given: object) -> Any:
        return None if given is None and self.nullable else self.reader(given)

    def show(self, value: object) -> Any:
        return None if value is None else self.shower(value)


def _settings() -> Iterator[tuple[str, _Setting]]:
    for group, settings in _GROUPS.items():
        hints = get_type_hints(settings, include_extras=True)
        for each in fields(settings):
            parts = get_args(hints[each.name])  # of Annotated, or of Annotated | None
            nullable = type(None) in parts
            kind = get_args(parts[0]) if nullable else parts
            key = f"{group}.{each.name.removesuffix('_seconds')}"
            yield key, _Setting(each.name, each.default, nullable, *kind[1:])


_SETTINGS = dict(_settings())


def _written_twice(
    node: yaml.Node | None, at: str = "", depth: int = 3
) -> Iterator[str]:
    """Complaints about repeated keys, of which YAML would quietly take the last."""
    if not isinstance(node, yaml.MappingNode) or depth == 0:
        return
    seen = set()
    for key, value in node.value:
        path = f"{at}{key.value}"
        if path in seen:
            line = key.start_mark.line + 1
            yield f"{path}: line {line} gives it a second time; write it once"
        seen.add(path)
        yield from _written_twice(value, f"{path}.", depth - 1)


def _why_not_yaml(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "is not UTF-8 text"
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return "is not YAML; look for a value that needs quotes"
    # A quoted word may be part of a key; a quoted character helps to find the spot.
    problem = re.sub(r"'[^']{3,}'", "something", error.problem or "it ends too soon")
    return f"is not YAML: line {error.problem_mark.line + 1}: {problem}"


def _check(
    document: object, environ: Mapping[str, str], where: str, problems: list[str]
) -> Config:
    try:
        groups = _members(document)
    except ValueError as wrong:
        raise ConfigError([f"{where}: {wrong}"]) from None
    projects = _read_projects(groups.pop("projects", None), environ, problems)
    values = _read_settings(_flat(groups, problems), problems)
    problems += _impossible(values)
    problems += _not_built_yet(values)
    if problems:
        # Somebody may have written a key where a name belongs.
        raise ConfigError([re.sub(r"\bph[cx]_\w+", MASK, line) for line in problems])
    fitted: dict[str, dict[str, Any]] = {name: {} for name in _GROUPS}
    for key, value in values.items():
        fitted[key.partition(".")[0]][_SETTINGS[key].name] = value
    made = {name: group(**fitted[name]) for name, group in _GROUPS.items()}
    return Config(projects=projects, **made)


def _members(given: object) -> dict[Any, Any]:
    """What is below a key; nothing, when all its lines are comments."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ValueError("holds no settings; write 'name: value' lines")  # noqa: TRY004
    return dict(given)


def _flat(groups: dict[Any, Any], problems: list[str]) -> dict[str, object]:
    """One level instead of two: ``{"batch.max_events": 500}``."""
    flat: dict[str, object] = {}
    for group, given in groups.items():
        try:
            members = _members(given)
        except ValueError as wrong:
            members = {}
            if group in _GROUPS:
                problems.append(f"{group}: {wrong} below it, indented")
        if group not in _GROUPS and not members:
            problems.append(_no_such_setting(str(group)))
        flat |= {f"{group}.{name}": value for name, value in members.items()}
    return flat


def _read_settings(given: dict[str, object], problems: list[str]) -> dict[str, Any]:
    """Each setting that is right, given or by default; complaints about the others."""
    values = {key: setting.default for key, setting in _SETTINGS.items()}
    for key, value in given.items():
        if key not in _SETTINGS:
            problems.append(_no_such_setting(key))
            continue
        try:
            values[key] = _SETTINGS[key].read(value)
        except ValueError as wrong:
            problems.append(f"{key}: {_shown(value)} {wrong}")
            del values[key]
    return values


def _no_such_setting(key: str, known: tuple[str, ...] = ()) -> str:
    known = known or (*_SETTINGS, *_GROUPS, "projects")
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.7)
    return f"{key}: no such setting" + (f"; did you mean {near[0]}?" if near else "")


def _shown(given: object) -> str:
    """What was given: short, and without the password of a URL."""
    if given is None or isinstance(given, bool):
        return {None: "null", True: "true", False: "false"}[given]
    brief = reprlib.Repr()
    brief.maxstring = 80
    return brief.repr(_hide_credentials(given) if isinstance(given, str) else given)


def _impossible(values: dict[str, Any]) -> Iterator[str]:
    for key, sign, other, why in _IMPOSSIBLE:
        limit = values.get(other) if isinstance(other, str) else other
        clashes, words = _COMPARISONS[sign]
        if key not in values or limit is None or not clashes(values[key], limit):
            continue
        given, shown = (_SETTINGS[key].show(value) for value in (values[key], limit))
        against = f"{other} ({shown})" if isinstance(other, str) else shown
        yield f"{key}: {given} is {words} {against}; {why}"


def _not_built_yet(values: dict[str, Any]) -> Iterator[str]:
    for key, only in _NOT_BUILT_YET.items():
        if values.get(key, only) != only:
            given, works = (_SETTINGS[key].show(value) for value in (values[key], only))
            yield f"{key}: {given} is not built in this version; write {works}"


def _read_projects(
    given: object, environ: Mapping[str, str], problems: list[str]
) -> dict[str, ProjectConfig]:
    """Each project whose key is found; complaints never show a value given."""
    projects: dict[str, ProjectConfig] = {}
    try:
        named = {"default": None} | _members(given)
    except ValueError:
        problems.append("projects: holds no projects; write a name and below it a key")
        return projects
    for name, members in named.items():
        at = f"projects.{name}"
        try:
            key, file = f"{at}.api_key", f"{at}.api_key_file"
            unknown = {f"{at}.{member}" for member in _members(members)} - {key, file}
            problems += [
                _no_such_setting(each, (key, file)) for each in sorted(unknown)
            ]
            if not unknown:
                secret = _read_key(name, _members(members), environ)
                projects[name] = ProjectConfig(name, secret)
        except ValueError as wrong:
            problems.append(f"{at}: {wrong}")
    return projects


def _read_key(
    name: object, members: dict[Any, Any], environ: Mapping[str, str]
) -> Secret:
    wanted = "write 64 letters, digits, - or _ at most, not beginning with - or _"
    is_name = isinstance(name, str) and _PROJECT_NAME.fullmatch(name)
    _need(is_name, f"is not a project's name; {wanted}")
    source, found = _find_key(str(name), members, environ)
    _need(isinstance(found, str), f"{source} is not text; write it in quotes")
    key = str(found).strip()
    _need(key, f"{source} is empty; write the project's API key")
    personal = key.startswith("phx_")
    _need(not personal, f"{source} is a personal API key; write the project's API key")
    _need(re.fullmatch(r"[!-~]+", key), f"{source} holds more than printable ASCII")
    fits = len(key) <= _LONGEST_KEY
    _need(fits, f"{source} is longer than any API key, which has {_LONGEST_KEY} bytes")
    return Secret(key)


def _find_key(
    name: str, members: dict[Any, Any], environ: Mapping[str, str]
) -> tuple[str, object]:
    """Where the key was found, and what is there."""
    key, file = members.get("api_key"), members.get("api_key_file")
    _need(key is None or file is None, "has api_key and api_key_file; write only one")
    if key is not None:
        return "api_key", key
    if file is not None:
        return "api_key_file", _read_key_file(_read_path(file))
    directory = environ.get("CREDENTIALS_DIRECTORY")
    credentials = [f"api_key.{name}"] + ["api_key"] * (name == "default")
    for credential in credentials if directory else ():
        path = Path(directory or "", credential)
        if os.access(path, os.F_OK):
            return f"the credential {credential}", _read_key_file(path)
    variable = environ.get("LEANBASE_API_KEY") if name == "default" else None
    wanted = f"write api_key or api_key_file, or pass the credential {credentials[-1]}"
    wanted += ", or set $LEANBASE_API_KEY" * (name == "default")
    _need(variable, f"has no key; {wanted}")
    return "$LEANBASE_API_KEY", variable


def _read_key_file(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(4096)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
