"""The disks: Debian's, made once and kept; the relay's own, made for each run.

Debian's comes from its mirror by debootstrap, which wants root. The relay's is this
source tree with the libraries of this very Python, which is to be 3.11 like Debian's.
"""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
MIRROR = "http://deb.debian.org/debian"
TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "debootstrap": "debootstrap",
    "mke2fs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "setpriv": "util-linux",
}
BUILD_SECONDS = 1200
LIBRARIES_MOST_BYTES = "256M"

_PACKAGES = "linux-image-cloud-amd64,python3,iproute2,kmod"
_NAME = "debian-12.1"  # a new one when what follows changes: the old one is not used
_FIRST_PROCESS = """\
#!/bin/sh
mount -t tmpfs tmp /tmp
mount -o ro /dev/vdc /app
exec /app/init
"""
_INIT = """\
#!/bin/sh
# Nobody is to find this machine running tomorrow.
(sleep 900; echo o > /proc/sysrq-trigger) &
modprobe virtio_net
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
mount -t ext4 /dev/vdb /data || exit 1
mkdir -p /data/store /data/spool
sync
export PYTHONPATH=/app/lib PYTHONDONTWRITEBYTECODE=1 PATH=$PATH:/usr/sbin:/sbin
exec python3 /app/lib/tests/powercut/guest.py
"""


class CannotBuild(Exception):
    """Says what is missing, and how to have it."""


@dataclass(frozen=True, slots=True)
class Debian:
    """What a machine starts from; never written to."""

    kernel: Path
    initrd: Path
    root: Path

    @classmethod
    def kept_in(cls, cache: Path) -> "Debian":
        """The image in this directory, made there if it is not."""
        _demand_tools()
        kept = cache / _NAME
        if not kept.is_dir():
            _build(kept)
        return cls(kept / "vmlinuz", kept / "initrd.img", kept / "root.img")


def _demand_tools() -> None:
    missing = sorted({TOOLS[tool] for tool in TOOLS if shutil.which(tool) is None})
    if missing:
        raise CannotBuild(f"apt-get install {' '.join(missing)}")
    if platform.machine() != "x86_64" or sys.version_info[:2] != (3, 11):
        raise CannotBuild(
            "the machine is x86-64 with Python 3.11, Debian 12's, and runs the "
            "libraries of this Python: make the venv with python3.11"
        )


def _build(kept: Path) -> None:
    if os.geteuid() != 0:
        raise CannotBuild(f"{kept} is not there, and debootstrap makes it as root only")
    work = kept.with_name(f"{kept.name}.{os.getpid()}")
    tree = work / "root"
    tree.mkdir(parents=True)
    try:
        run(
            "debootstrap", "--variant=minbase", f"--include={_PACKAGES}",
            "bookworm", tree, MIRROR,
        )  # fmt: skip
        for name in ("vmlinuz", "initrd.img"):
            (found,) = (tree / "boot").glob(f"{name}-*")
            shutil.copy(found, work / name)
        for name in ("app", "data"):
            (tree / name).mkdir()
        _script(tree / "sbin/powercut", _FIRST_PROCESS)
        file_system(work / "root.img", "1G", tree)
        _remove(tree)
        work.rename(kept)
    except BaseException:
        _remove(work)
        raise


def _remove(tree: Path) -> None:
    """Remove a tree, but nothing that debootstrap left mounted in it."""
    run("rm", "-rf", "--one-file-system", tree)


def relay_disk(
    disk: Path, *, settings: Mapping[str, Any], port: int, synchronous: str
) -> None:
    """A disk with this source tree, its libraries and its configuration.

    Args:
        port: where `load.Switchboard` listens, out here.
        synchronous: other than ``full``: what the copy is patched to.
    """
    tree = disk.with_suffix(".tree")
    library = tree / "lib"
    for one in _needed("leanbase-relay"):
        _copy_distribution(one, library)
    for name in ("leanbase_relay", "tests/powercut"):
        shutil.copytree(
            ROOT / name,
            library / name,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    if synchronous != "full":
        _patch_synchronous(library / "leanbase_relay/store/schema.py", synchronous)
    (tree / "config.yaml").write_text(yaml.safe_dump(dict(settings)))
    (tree / "port").write_text(str(port))
    _script(tree / "init", _INIT)
    file_system(disk, LIBRARIES_MOST_BYTES, tree)
    shutil.rmtree(tree)


def _patch_synchronous(schema: Path, value: str) -> None:
    text = schema.read_text()
    full = "pragma synchronous = full"
    assert text.count(full) == 1, f"{schema} has {full!r} no more, or more than once"
    schema.write_text(text.replace(full, f"pragma synchronous = {value}"))


def _needed(name: str, seen: set[str] | None = None) -> Iterator[Distribution]:
    """What a distribution needs at run time, without itself."""
    seen = set() if seen is None else seen
    for text in distribution(name).requires or ():
        wanted = Requirement(text)
        if wanted.name.lower() in seen:
            continue
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            seen.add(wanted.name.lower())
            yield distribution(wanted.name)
            yield from _needed(wanted.name, seen)


def _copy_distribution(one: Distribution, library: Path) -> None:
    for file in one.files or ():
        if ".." not in file.parts and file.suffix != ".pyc":
            target = library / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(str(file.locate())), target)


def file_system(disk: Path, size: str, tree: Path | None = None) -> None:
    """An ext4 in a file, as Debian makes it; with the content of a directory."""
    source = () if tree is None else ("-d", tree)
    run("mke2fs", "-q", "-F", "-t", "ext4", *source, disk, size)


def _script(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o755)


def run(*command: str | Path, allow: int = 0) -> str:
    """What a tool says; its exit code may be up to `allow`."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )
    if done.returncode > allow:
        end = "\n".join(done.stdout.splitlines()[-10:])
        raise CannotBuild(f"{command[0]}: exit code {done.returncode}\n{end}")
    return done.stdout
