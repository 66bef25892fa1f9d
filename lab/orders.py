"""The orders of the load test and of chaos: of all kinds, and the same for the same seed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from random import Random
from typing import Any

HOT_PRODUCT = 1
PRODUCTS = range(1, 41)
CUSTOMERS = 8
PRICE = 1000  # of product 1, in the currency's minor unit; product n costs n times as much

# How many in a hundred orders are of each kind.
KINDS: dict[str, int] = {
    "normal": 36,
    "several lines": 14,
    "hot product": 16,
    "declined": 6,
    "refused by the carrier": 3,
    "refused by the recipient": 3,
    "gateway times out, charged": 4,
    "gateway times out, not charged": 4,
    "gateway fails three times": 3,
    "cancelled by the customer": 11,
}
KINDS_AT_PROVIDERS: dict[str, int] = {
    "normal": 33,
    "several lines": 14,
    "hot product": 14,
    "declined": 8,
    "refused by the carrier": 3,
    "refused by the recipient": 4,
    "comes back twice": 5,
    "closes the window": 5,
    "goes away": 3,
    "cancelled by the customer": 11,
}
CHANGED, MOVED, RETURNED = "a piece is cancelled", "the address is changed", "a piece is returned"
SECOND_THOUGHTS = {CHANGED: 7, MOVED: 3, RETURNED: 10}  # of which chaos has that many more, and fewer normal ones
ON_A_PAGE = {"comes back twice", "closes the window", "goes away"}
CARDS = {"declined": "pm_card_visa_chargeDeclined"}  # at Stripe, half of the orders are paid by card
TOKENS = {
    "declined": "tok_declined",
    "gateway times out, charged": "tok_timeout_charged",
    "gateway times out, not charged": "tok_timeout_not_charged",
    "gateway fails three times": "tok_flaky_3",
}
ADDRESS_WORDS = {
    "refused by the carrier": "addr_refused_by_carrier",
    "refused by the recipient": "addr_refused_by_recipient",
}


@dataclass(frozen=True)
class PlannedOrder:
    """One order of the load. `marker` is in its address, and identifies the resulting order at the end."""

    number: int
    kind: str
    customer: int
    marker: str
    body: dict[str, Any]
    cancel_after: float | None = None  # seconds
    change_after: float | None = None

    @property
    def change(self) -> dict[str, Any]:
        """A change of the order: another address, or one piece of its first product less."""
        if self.kind == MOVED:
            return {"address": f"{self.marker} elsewhere"}
        first = self.body["items"][0]
        return {"items": [first | {"quantity": first["quantity"] - 1}]}

    @property
    def one_back(self) -> dict[str, Any]:
        """A return of one piece of its first product; every other one is to be exchanged."""
        kind = "EXCHANGE" if self.number % 2 else "REFUND"
        return {"items": [self.body["items"][0] | {"quantity": 1}], "kind": kind}


def with_second_thoughts(kinds: Mapping[str, int]) -> dict[str, int]:
    """Return how many in a hundred orders are of each kind where customers cancel a piece, move, or send one back."""
    return {**kinds, "normal": kinds["normal"] - sum(SECOND_THOUGHTS.values()), **SECOND_THOUGHTS}


def planned_orders(
    seed: int, *, kinds: Mapping[str, int] = KINDS, products: Sequence[int] = PRODUCTS
) -> Iterator[PlannedOrder]:
    """Yield orders without end. `kinds` says how many in a hundred are of each; the first product is the hot one."""
    dice = Random(seed)
    return (_order(seed, number, dice, kinds, products) for number in count())


def at_providers(orders: Iterator[PlannedOrder], seed: int, gateways: Sequence[str]) -> Iterator[PlannedOrder]:
    """Yield the orders as customers place them who pay on a provider's page, or by card."""
    dice = Random(f"gateways {seed}")
    for one in orders:
        gateway = dice.choice(gateways)
        by_card = gateway == "STRIPE" and one.kind not in ON_A_PAGE and dice.random() < 0.5
        body = one.body | {"paymentGateway": gateway}
        del body["paymentToken"]
        if by_card:
            body["paymentToken"] = CARDS.get(one.kind, "pm_card_visa")
        yield replace(one, body=body)


def enough_for(orders: Sequence[PlannedOrder]) -> dict[int, int]:
    """Return a stock that these orders do not exhaust, except for the hot product, which sells out."""
    products = {line["productId"] for one in orders for line in one.body["items"]}
    wanted = sum(line["quantity"] for one in orders for line in one.body["items"] if line["productId"] == HOT_PRODUCT)
    return dict.fromkeys(sorted(products), 10 * len(orders)) | {HOT_PRODUCT: wanted * 2 // 3}


def _order(seed: int, number: int, dice: Random, kinds: Mapping[str, int], products: Sequence[int]) -> PlannedOrder:
    (kind,) = dice.choices(list(kinds), weights=list(kinds.values()))
    chosen = [products[0]] if kind == "hot product" else dice.sample(products[1:], k=1)
    if kind == "several lines":
        chosen = dice.sample(products, k=dice.randint(2, 5))
    marker = f"chaos-{seed}-{number}"
    least = 2 if kind == CHANGED else 1
    body = {
        "items": [{"productId": product, "quantity": dice.randint(least, 3)} for product in chosen],
        "address": f"{marker} {ADDRESS_WORDS.get(kind, '')}".strip(),
        "paymentToken": TOKENS.get(kind, "tok_ok"),
        "paymentGateway": dice.choice(["TOSS_PAYMENTS", "KAKAO_PAY", "NAVER_PAY"]),
    }
    cancel_after = dice.uniform(0, 5) if kind.startswith("cancelled") else None
    change_after = dice.uniform(0, 5) if kind in (CHANGED, MOVED) else None
    return PlannedOrder(number, kind, dice.randrange(CUSTOMERS), marker, body, cancel_after, change_after)
