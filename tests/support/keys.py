"""The projects of the tests, and their keys."""

from collections.abc import Mapping

from leanbase_relay.keys import KeyRing, ProjectConfig, Secret

KEY, SHOP_KEY = "phc_test", "phc_shop"
KEYS = {"default": KEY, "shop": SHOP_KEY}


def key_ring(keys: Mapping[str, str] = KEYS) -> KeyRing:
    return KeyRing(ProjectConfig(name, Secret(key)) for name, key in keys.items())
