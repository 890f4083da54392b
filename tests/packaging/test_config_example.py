"""The reference configuration says what the code does."""

import itertools
from pathlib import Path

import yaml

from leanbase_relay import config

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
ENVIRON = {"LEANBASE_API_KEY": "phc_example"}


def settings(text: str) -> dict[str, object]:
    return {
        f"{group}.{name}": value
        for group, members in yaml.safe_load(text).items()
        for name, value in members.items()
        if group != "projects"
    }


def test_the_example_as_shipped_is_the_default_configuration() -> None:
    shipped = config.load(EXAMPLE, environ=ENVIRON)

    assert shipped == config.parse(None, environ=ENVIRON, where="nothing")


def test_the_example_holds_every_setting_in_the_words_of_check_config() -> None:
    """Key by key, in the same order, `4MiB` as `4MiB`: no setting goes unexplained."""
    described = config.describe(config.parse(None, environ=ENVIRON, where="nothing"))

    written = settings(EXAMPLE.read_text())

    assert list(written.items()) == list(settings(described).items())


def test_every_setting_of_the_example_has_its_consequence_above_it() -> None:
    lines = EXAMPLE.read_text().splitlines()

    bare = [
        line
        for before, line in itertools.pairwise(lines)
        if line.startswith("  ") and ": " in line and "#" not in line + before
    ]

    assert bare == []


def test_the_example_shows_both_ways_to_give_a_key() -> None:
    text = EXAMPLE.read_text()
    uncommented = text.replace("# api_key: ", "api_key: ")

    given = yaml.safe_load(uncommented)["projects"]["default"]["api_key"]
    parsed = config.parse(yaml.safe_load(uncommented), environ={}, where="example")

    assert parsed.projects["default"].api_key == config.Secret(given)
    assert "# api_key_file: /" in text


def test_the_example_fits_a_terminal() -> None:
    wide = [line for line in EXAMPLE.read_text().splitlines() if len(line) > 88]

    assert wide == []
