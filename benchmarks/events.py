"""The events that all questions use: a shop's, deterministic, about 465 bytes each.

Names, members, nesting and lengths vary; ids, prices and times do not repeat the way
a template would, so that they compress about as a real shop's do.
"""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

SEED = 20250101
_BLOCK = 10_000
_FIRST_MOMENT = datetime(2025, 1, 1, 6, 30, tzinfo=UTC)

_SHOP = "https://shop.example.com"
_WORDS = [
    "oak",
    "walnut",
    "linen",
    "copper",
    "slate",
    "ivory",
    "amber",
    "cedar",
    "felt",
    "wool",
    "glass",
    "stone",
    "paper",
    "table",
    "lamp",
    "chair",
    "shelf",
    "rug",
    "vase",
    "desk",
    "bench",
    "mirror",
    "clock",
    "basket",
    "frame",
    "cushion",
]
_CATEGORIES = ("furniture/tables", "lighting", "home/textiles", "sale", "new-in")
_CAMPAIGNS = ("spring_sale", "newsletter-12", "brand", "retarget_cart", "")
_AGENTS = (
    '"$browser":"Firefox","$browser_version":128,"$os":"Linux"',
    '"$browser":"Mobile Safari","$browser_version":17.5,"$os":"iOS"',
    '"$browser":"Chrome","$browser_version":126,"$os":"Windows"',
    '"$browser":"Safari","$browser_version":17.4,"$os":"Mac OS X"',
)
_CITIES = ("Berlin", "Lyon", "Malmö", "Kraków", "Porto", "Leeds")
_PAYMENTS = ("card", "paypal", "invoice", "klarna")


class _Visitor:
    """Who an event is about, and where that one looks around."""

    def __init__(self, chance: random.Random) -> None:
        self.id = (
            f"user_{chance.randrange(10**7)}"
            if chance.random() < 0.4
            else _v7(chance, int(_FIRST_MOMENT.timestamp() * 1000))
        )
        self.session = _v7(chance, int(_FIRST_MOMENT.timestamp() * 1000))
        self.agent = chance.choice(_AGENTS)
        self.city = chance.choice(_CITIES)
        self.address = f"203.0.113.{chance.randrange(1, 255)}"


def write(path: Path, count: int, *, seed: int = SEED) -> None:
    """Write so many events to a file, one a line."""
    with path.open("wb") as file:
        for block in blocks(count, seed=seed):
            file.write(block)


def blocks(count: int, *, seed: int = SEED) -> Iterator[bytes]:
    """So many events, one a line, in blocks of some thousands."""
    # Not for secrets: the same events for everyone, every time.
    chance = random.Random(seed)
    visitors = [_Visitor(chance) for _ in range(2_000)]
    kinds = [kind for kind, share in _SHARES.items() for _ in range(share)]
    moment = _FIRST_MOMENT
    for start in range(0, count, _BLOCK):
        size = min(_BLOCK, count - start)
        lines = []
        for _ in range(size):
            moment += timedelta(milliseconds=chance.randrange(40))
            visitor = chance.choice(visitors)
            lines.append(_line(chance, visitor, moment, chance.choice(kinds)))
        yield ("\n".join(lines) + "\n").encode()


_Kind = Callable[[random.Random, _Visitor], tuple[str, str]]


def _line(
    chance: random.Random, visitor: _Visitor, moment: datetime, kind: _Kind
) -> str:
    name, properties = kind(chance, visitor)
    at = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    uuid = (
        _v7(chance, int(moment.timestamp() * 1000))
        if chance.random() < 0.7
        else _v4(chance)
    )
    return (
        f'{{"event":"{name}","distinct_id":"{visitor.id}","properties":{{'
        f'{properties},"$session_id":"{visitor.session}","$ip":"{visitor.address}",'
        f'"$lib":"shop","$lib_version":"3.4"}},'
        f'"timestamp":"{at}","uuid":"{uuid}"}}'
    )


def _page(chance: random.Random, visitor: _Visitor) -> tuple[str, str]:
    path = f"/{chance.choice(_CATEGORIES)}/{_slug(chance)}"
    campaign = chance.choice(_CAMPAIGNS)
    query = f"?utm_campaign={campaign}" if campaign else ""
    return "$pageview", (
        f'"$current_url":"{_SHOP}{path}{query}","$pathname":"{path}",'
        f'{visitor.agent},"$viewport_width":{chance.randrange(320, 2560)}'
    )


def _viewed(chance: random.Random, visitor: _Visitor) -> tuple[str, str]:
    return "product_viewed", (
        f'"product":{_item(chance)},"in_stock":{chance.choice(("true", "false"))},'
        f'"$current_url":"{_SHOP}/p/{_slug(chance)}",'
        f'"list":"{chance.choice(_CATEGORIES)}","rank":{chance.randrange(48)},'
        f'"city":"{visitor.city}"'
    )


def _added(chance: random.Random, visitor: _Visitor) -> tuple[str, str]:
    return "product_added", (
        f'"cart_id":"{_v4(chance)}","product":{_item(chance)},'
        f'"cart_value":{_price(chance)},"coupon":null,"city":"{visitor.city}"'
    )


def _ordered(chance: random.Random, visitor: _Visitor) -> tuple[str, str]:
    items = ",".join(_item(chance) for _ in range(chance.randrange(1, 6)))
    return "order_completed", (
        f'"order_id":"2025-{chance.randrange(10**6):06d}","items":[{items}],'
        f'"revenue":{_price(chance)},"shipping":4.90,"currency":"EUR",'
        f'"payment":"{chance.choice(_PAYMENTS)}","city":"{visitor.city}",'
        f'"$set":{{"last_order":{_price(chance)}}}'
    )


def _searched(chance: random.Random, visitor: _Visitor) -> tuple[str, str]:
    return "search_performed", (
        f'"query":"{" ".join(chance.choices(_WORDS, k=2))}",'
        f'"results":{chance.randrange(400)},"took_ms":{chance.uniform(3, 90):.2f},'
        f'"filters":{{"colour":["{chance.choice(_WORDS)}"],'
        f'"price":[{chance.randrange(50)},{chance.randrange(50, 900)}]}},'
        f"{visitor.agent}"
    )


def _identified(chance: random.Random, visitor: _Visitor) -> tuple[str, str]:
    return "$identify", (
        f'"$anon_distinct_id":"{_v7(chance, 1735713000000)}","$set":{{'
        f'"plan":"{chance.choice(("free", "plus"))}","city":"{visitor.city}",'
        f'"newsletter":{chance.choice(("true", "false"))},'
        f'"name":"{chance.choice(_WORDS).title()} {chance.choice(_WORDS).title()}"}}'
    )


_SHARES: dict[_Kind, int] = {
    _page: 9,
    _viewed: 5,
    _added: 2,
    _ordered: 2,
    _searched: 2,
    _identified: 1,
}
"""The kinds of events, and how many of 21 are of each."""


def _item(chance: random.Random) -> str:
    return (
        f'{{"sku":"{chance.choice(_WORDS)[:3].upper()}-{chance.randrange(10**5):05d}",'
        f'"price":{_price(chance)},"quantity":{chance.randrange(1, 4)}}}'
    )


def _price(chance: random.Random) -> str:
    return f"{chance.randrange(200, 40_000) / 100:.2f}"


def _slug(chance: random.Random) -> str:
    first, second = chance.choices(_WORDS, k=2)
    return f"{first}-{second}-{chance.randrange(10**4)}"


def _v4(chance: random.Random) -> str:
    return _hyphenated(chance.getrandbits(128), version=4)


def _v7(chance: random.Random, at_ms: int) -> str:
    return _hyphenated(at_ms << 80 | chance.getrandbits(80), version=7)


def _hyphenated(number: int, *, version: int) -> str:
    number &= ~(0xF << 76 | 0x3 << 62)
    text = f"{number | version << 76 | 0x2 << 62:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
