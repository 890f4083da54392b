"""The public `posthog-node` package, in a cache beside this repository's other ones."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent.parent / "node"
WITHIN_SECONDS = 120
OLDEST = 20  # that the SDK runs on


def installed() -> Path:
    """A directory with the SDK and the script that uses it; skips without npm."""
    if shutil.which("npm") is None or _node_version() < OLDEST:
        pytest.skip(f"NOT RUN: the Node SDK (install npm, and node {OLDEST} or newer)")
    wanted = hashlib.sha256((HERE / "package.json").read_bytes()).hexdigest()[:16]
    place = _cache() / f"node-{wanted}"
    place.mkdir(parents=True, exist_ok=True)
    for file in HERE.iterdir():
        shutil.copy(file, place)
    if not (place / "node_modules" / "posthog-node" / "package.json").exists():
        done = subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"],
            cwd=place,
            capture_output=True,
            text=True,
            timeout=WITHIN_SECONDS,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"NOT RUN: the Node SDK (npm install: {done.stderr[-300:]})")
    return place


def use(place: Path, url: str, key: str, *, options: str = "{}", mode: str = "") -> str:
    """Have the script use the SDK, to its end; what it printed."""
    app = start(place, url, key, options=options, mode=mode)
    return app.communicate(timeout=WITHIN_SECONDS)[0]


def start(
    place: Path, url: str, key: str, *, options: str = "{}", mode: str = ""
) -> "subprocess.Popen[str]":
    """The same, without waiting.

    Args:
        place: where the SDK is.
        url: its host.
        key: the project's.
        options: of the SDK, as JSON.
        mode: `v1` has it speak that protocol.
    """
    return subprocess.Popen(
        ["node", place / "use.mjs", url, key, options],
        cwd=place,
        env={**os.environ, "POSTHOG_CAPTURE_MODE": mode},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _node_version() -> int:
    if shutil.which("node") is None:
        return 0
    said = subprocess.run(["node", "--version"], capture_output=True, check=True)
    return int(said.stdout.decode().strip().removeprefix("v").partition(".")[0])


def _cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "leanbase-relay-tests"
