"""The machine: an emulated one, with a power switch.

By software alone (``tcg``), so that it runs wherever the tests do.
"""

import subprocess
from pathlib import Path

from tests.powercut.image import Debian

_KERNEL_LINE = (
    "root=/dev/vda ro init=/sbin/powercut console=ttyS0 net.ifnames=0 panic=-1 quiet"
)


class Machine:
    """Starts from the same disks each time; what it writes to is `data`."""

    def __init__(self, debian: Debian, *, relay: Path, data: Path, console: Path):
        self._debian = debian
        self._relay = relay
        self._data = data
        self._console = console
        self._emulator: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def switch_on(self) -> None:
        debian = self._debian
        with self._console.open("ab") as console:
            self._emulator = subprocess.Popen(
                [
                    # The emulator dies with us; setpriv becomes it.
                    *("setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"),
                    *("-accel", "tcg", "-m", "1G", "-no-reboot"),
                    *("-nodefaults", "-no-user-config", "-display", "none"),
                    *("-kernel", debian.kernel, "-initrd", debian.initrd),
                    *("-append", _KERNEL_LINE),
                    *_drive(debian.root, "readonly=on"),
                    *_drive(self._data, "cache=none"),
                    *_drive(self._relay, "readonly=on"),
                    *("-netdev", "user,id=net"),
                    *("-device", "virtio-net-pci,netdev=net,romfile="),
                    *("-device", "virtio-rng-pci"),
                    *("-serial", "stdio"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )

    @property
    def is_on(self) -> bool:
        return self._emulator is not None and self._emulator.poll() is None

    def cut(self) -> None:
        """The power goes."""
        if self._emulator is not None:
            self._emulator.kill()
            self._emulator.wait()


def _drive(file: Path, how: str) -> tuple[str, str]:
    return "-drive", f"file={file},if=virtio,format=raw,{how}"
