"""docs/configuration.md: what it tells to write is right, and so is when it counts."""

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml

from leanbase_relay import config, daemon
from leanbase_relay.config import Config

PAGE = (Path(__file__).parents[2] / "docs/configuration.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_each_recipe_is_a_configuration_that_differs_from_the_default(
    block: str, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text("phc_test")
    text = re.sub(r"/etc/leanbase-relay/api_key[.\w]*", str(key), block)
    environ = {"LEANBASE_API_KEY": "phc_test"}

    recipe = config.parse(yaml.safe_load(text), environ=environ, where="page")
    default = config.parse({}, environ=environ, where="nothing")

    assert recipe != default or "projects" in text


def changed(group: str) -> tuple[Config, Config]:
    """A configuration, and one that differs in this group."""
    old = config.parse({}, environ={"LEANBASE_API_KEY": "phc_test"}, where="nothing")
    first = fields(getattr(old, group))[0].name
    return old, replace(
        old, **{group: replace(getattr(old, group), **{first: "other"})}
    )


GROUPS = [each.name for each in fields(Config) if each.name != "projects"]


@pytest.mark.parametrize("group", GROUPS)
def test_the_page_says_what_a_reload_takes_up_and_what_wants_a_restart(
    group: str,
) -> None:
    by_reload, by_restart = (
        line
        for line in PAGE.splitlines()
        if line.startswith("| ") and "systemctl re" in line
    )

    wants_restart = daemon._needs_restart(*changed(group)) is not None

    assert (f"`{group}`" in by_restart.split("|")[1]) is wants_restart
    assert (f"`{group}`" in by_reload.split("|")[1]) is not wants_restart
