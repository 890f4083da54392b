"""Whether strace may look on here."""

import shutil
import subprocess


def can_trace() -> bool:
    if shutil.which("strace") is None:
        return False
    tried = subprocess.run(["strace", "-o", "/dev/null", "true"], check=False)
    return tried.returncode == 0
