"""The key ring: which project a key opens, and what is never shown."""

from leanbase_relay.keys import KeyRing, ProjectConfig, Secret


def ring(**keys: str) -> KeyRing:
    return KeyRing(ProjectConfig(name, Secret(key)) for name, key in keys.items())


def test_a_key_opens_its_project_and_no_other_does() -> None:
    keys = ring(default="phc_a", shop="phc_b")

    assert keys.project_of("phc_a") == "default"
    assert keys.project_of("phc_b") == "shop"
    assert keys.project_of("phc_c") is None
    assert keys.project_of("") is None


def test_of_two_projects_with_one_key_the_first_counts() -> None:
    assert ring(default="phc_a", shop="phc_a").project_of("phc_a") == "default"


def test_it_can_be_renewed() -> None:
    keys = ring(default="phc_old")

    keys.renew([ProjectConfig("default", Secret("phc_new"))])

    assert keys.project_of("phc_new") == "default"
    assert keys.project_of("phc_old") is None


def test_a_text_is_masked_wherever_a_key_stands_in_it() -> None:
    keys = ring(default="phc_a", shop="phc_b")

    assert keys.masked(b"phc_a, phc_b, phc_a; phc_c") == (
        b"********, ********, ********; phc_c"
    )


def test_a_configuration_without_keys_masks_nothing() -> None:
    """As `status` reads it."""
    assert ring(default="").masked(b"text") == b"text"
    assert ring(default="").project_of("") is None


def test_its_repr_shows_no_key() -> None:
    assert repr(ring(default="phc_a")) == "KeyRing of 1"
