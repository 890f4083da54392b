"""The configuration: every setting, its default, and what is said when it is wrong.

The dataclasses below are the one table of settings. A field's name is its key in the
file (durations lose their ``_seconds``), its default is the default, and its type
says how a value is read and shown: reading, `describe` and the test that holds
``config.example.yaml`` to the code all follow from there.

Owns the rule that a configuration is taken whole or refused whole, all complaints at
once, and that no complaint, repr or dump ever shows a key.
"""

import operator
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import yaml

from leanbase_relay.errors import ConfigError
from leanbase_relay.keys import ProjectConfig, Secret, read_projects
from leanbase_relay.settings import (
    GIB,
    KIB,
    MASK,
    MIB,
    AbsolutePath,
    Addresses,
    BaseUrl,
    Count,
    Flag,
    Mode,
    Patterns,
    ProxyUrl,
    Seconds,
    Size,
    SocketPath,
    Text,
    Uids,
    members_of,
    no_such_setting,
    one_of,
    place_of,
    shown,
)

__all__ = ["Config", "ProjectConfig", "Secret", "describe", "load", "parse"]

DEFAULT_PATH = Path("/etc/leanbase-relay/config.yaml")


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    """Where events go; ``timeout_seconds`` bounds a whole attempt."""

    url: BaseUrl = "https://us.i.leanbase.com"  # without a slash at its end
    protocol: Annotated[str, one_of("batch", "v1")] = "batch"
    compression: Annotated[str, one_of("gzip", "none")] = "gzip"
    connect_timeout_seconds: Seconds = 5.0
    timeout_seconds: Seconds = 30.0
    proxy: ProxyUrl | None = field(default=None, repr=False)  # may hold a password
    ca_file: AbsolutePath | None = None


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
    when_full: Annotated[str, one_of("reject", "drop_oldest")] = "reject"


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
class MetricsConfig:
    """Addresses where metrics and a page are shown: ``host:port``, ``unix:/path``."""

    listen: Addresses = ()


@dataclass(frozen=True, slots=True)
class EventsConfig:
    """What an event may weigh, and what the relay adds to it."""

    max_bytes: Size = 900 * KIB
    person_profiles: Annotated[
        str, one_of("as_sent", "always", "identified_only", "never")
    ] = "as_sent"
    disable_geoip: Flag = False


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What the log says and how a line looks."""

    level: Annotated[str, one_of("debug", "info", "warning", "error")] = "info"
    format: Annotated[str, one_of("text", "json")] = "text"


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
    metrics: MetricsConfig
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


def path_of(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the configuration is looked for; see `load`."""
    return path or Path(environ.get("LEANBASE_RELAY_CONFIG") or DEFAULT_PATH)


def load(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    with_keys: bool = True,
) -> Config:
    """Find, read and check the configuration file; write nothing.

    Without ``path`` it is ``$LEANBASE_RELAY_CONFIG``, and without that
    ``/etc/leanbase-relay/config.yaml``. Without ``with_keys`` the keys are not looked
    for: who asks for the status may see neither the daemon's credentials nor its files.

    Raises:
        ConfigError: with all that is wrong; each complaint begins with file or key.
    """
    path = path_of(path, environ)
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
    keys = environ if with_keys else None
    return _check(document, keys, str(path), problems)


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
_KNOWN = (*_SETTINGS, *_GROUPS, "projects")


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
    document: object,
    environ: Mapping[str, str] | None,
    where: str,
    problems: list[str],
) -> Config:
    try:
        groups = members_of(document)
    except ValueError as wrong:
        raise ConfigError([f"{where}: {wrong}"]) from None
    projects = read_projects(groups.pop("projects", None), environ, problems)
    values = _read_settings(_flat(groups, problems), problems)
    problems += _impossible(values)
    if problems:
        # Somebody may have written a key where a name belongs.
        raise ConfigError([re.sub(r"\bph[cx]_\w+", MASK, line) for line in problems])
    fitted: dict[str, dict[str, Any]] = {name: {} for name in _GROUPS}
    for key, value in values.items():
        fitted[key.partition(".")[0]][_SETTINGS[key].name] = value
    made = {name: group(**fitted[name]) for name, group in _GROUPS.items()}
    return Config(projects=projects, **made)


def _flat(groups: dict[Any, Any], problems: list[str]) -> dict[str, object]:
    """One level instead of two: ``{"batch.max_events": 500}``."""
    flat: dict[str, object] = {}
    for group, given in groups.items():
        try:
            members = members_of(given)
        except ValueError as wrong:
            members = {}
            if group in _GROUPS:
                problems.append(f"{group}: {wrong} below it, indented")
        if group not in _GROUPS and not members:
            problems.append(no_such_setting(str(group), _KNOWN))
        flat |= {f"{group}.{name}": value for name, value in members.items()}
    return flat


def _read_settings(given: dict[str, object], problems: list[str]) -> dict[str, Any]:
    """Each setting that is right, given or by default; complaints about the others."""
    values = {key: setting.default for key, setting in _SETTINGS.items()}
    for key, value in given.items():
        if key not in _SETTINGS:
            problems.append(no_such_setting(key, _KNOWN))
            continue
        try:
            values[key] = _SETTINGS[key].read(value)
        except ValueError as wrong:
            problems.append(f"{key}: {shown(value)} {wrong}")
            del values[key]
    return values


def _impossible(values: dict[str, Any]) -> Iterator[str]:
    for key, sign, other, why in _IMPOSSIBLE:
        limit = values.get(other) if isinstance(other, str) else other
        clashes, words = _COMPARISONS[sign]
        if key not in values or limit is None or not clashes(values[key], limit):
            continue
        given, bound = (_SETTINGS[key].show(value) for value in (values[key], limit))
        against = f"{other} ({bound})" if isinstance(other, str) else bound
        yield f"{key}: {given} is {words} {against}; {why}"
    for name in ("http.listen", "metrics.listen"):
        for address in values.get(name, ()):
            for key in ("socket.path", "control.path", "store.path"):
                if place_of(address) == values.get(key):
                    yield f"{name}: {address} is {key}; each needs a path of its own"
