"""docs/operations.md names files that the package has."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operations.md").read_text()


def test_the_paths_of_the_page_are_those_of_the_package() -> None:
    files = re.findall(r"systemd/[\w./-]+\.(?:service|socket|conf)", PAGE)

    assert files
    assert all((ROOT / file).is_file() for file in files)
