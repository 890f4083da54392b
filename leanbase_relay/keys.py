"""The projects and their API keys: where a key is found, and how it stays unseen.

No complaint made here shows a value that was given: it may be a key in the wrong place.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leanbase_relay.settings import MASK, members_of, need, no_such_setting, read_path

_LONGEST_KEY = 64  # what the upstream takes
_PROJECT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


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


@dataclass(frozen=True, slots=True)
class ProjectConfig:
    """A project's name here and its key there."""

    name: str
    api_key: Secret


class KeyRing:
    """Finds the project that a key opens; serves all threads.

    Of two projects with the same key the first one counts.
    """

    def __init__(self, projects: Iterable[ProjectConfig] = ()) -> None:
        self._names: dict[str, str] = {}
        self.renew(projects)

    def renew(self, projects: Iterable[ProjectConfig]) -> None:
        """Know these keys and no others from now on."""
        names: dict[str, str] = {}
        for project in projects:
            names.setdefault(project.api_key.reveal(), project.name)
        names.pop("", None)  # of a configuration that was read without its keys
        self._names = names

    def project_of(self, key: str) -> str | None:
        """The name of the project; None for a key that none has."""
        return self._names.get(key)

    def masked(self, text: bytes) -> bytes:
        """A text without any of the keys, for where it is kept or shown."""
        for key in self._names:
            text = text.replace(key.encode(), MASK.encode())
        return text

    def __repr__(self) -> str:
        return f"KeyRing of {len(self._names)}"


def read_projects(
    given: object, environ: Mapping[str, str] | None, problems: list[str]
) -> dict[str, ProjectConfig]:
    """Each project whose key is found, or all of them where no key is wanted.

    Args:
        given: what is below ``projects``.
        environ: leads to keys that are not in the file; None leaves all keys empty.
        problems: takes the complaints.
    """
    projects: dict[str, ProjectConfig] = {}
    try:
        named = {"default": None} | members_of(given)
    except ValueError:
        problems.append("projects: holds no projects; write a name and below it a key")
        return projects
    for name, members in named.items():
        at = f"projects.{name}"
        try:
            key, file = f"{at}.api_key", f"{at}.api_key_file"
            unknown = {f"{at}.{member}" for member in members_of(members)} - {key, file}
            problems += [no_such_setting(one, (key, file)) for one in sorted(unknown)]
            if not unknown:
                secret = _read_key(name, members_of(members), environ)
                projects[name] = ProjectConfig(name, secret)
        except ValueError as wrong:
            problems.append(f"{at}: {wrong}")
    return projects


def _read_key(
    name: object, members: dict[Any, Any], environ: Mapping[str, str] | None
) -> Secret:
    wanted = "write 64 letters, digits, - or _ at most, not beginning with - or _"
    is_name = isinstance(name, str) and _PROJECT_NAME.fullmatch(name)
    need(is_name, f"is not a project's name; {wanted}")
    if environ is None:
        return Secret("")
    source, found = _find_key(str(name), members, environ)
    need(isinstance(found, str), f"{source} is not text; write it in quotes")
    key = str(found).strip()
    need(key, f"{source} is empty; write the project's API key")
    personal = key.startswith("phx_")
    need(not personal, f"{source} is a personal API key; write the project's API key")
    need(re.fullmatch(r"[!-~]+", key), f"{source} holds more than printable ASCII")
    fits = len(key) <= _LONGEST_KEY
    need(fits, f"{source} is longer than any API key, which has {_LONGEST_KEY} bytes")
    return Secret(key)


def _find_key(
    name: str, members: dict[Any, Any], environ: Mapping[str, str]
) -> tuple[str, object]:
    """Where the key was found, and what is there."""
    key, file = members.get("api_key"), members.get("api_key_file")
    need(key is None or file is None, "has api_key and api_key_file; write only one")
    if key is not None:
        return "api_key", key
    if file is not None:
        return "api_key_file", _read_key_file(read_path(file))
    directory = environ.get("CREDENTIALS_DIRECTORY")
    credentials = [f"api_key.{name}"] + ["api_key"] * (name == "default")
    for credential in credentials if directory else ():
        path = Path(directory or "", credential)
        if os.access(path, os.F_OK):
            return f"the credential {credential}", _read_key_file(path)
    variable = environ.get("LEANBASE_API_KEY") if name == "default" else None
    wanted = f"write api_key or api_key_file, or pass the credential {credentials[-1]}"
    wanted += ", or set $LEANBASE_API_KEY" * (name == "default")
    need(variable, f"has no key; {wanted}")
    return "$LEANBASE_API_KEY", variable


def _read_key_file(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(4096)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
