"""Five profiles of what is ordered, and how fast. All are open loops: orders are sent when they are due, whether or not
earlier ones have been answered, like independent customers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import inf, isfinite
from typing import Any

from lab.orders import HOT_PRODUCT, PlannedOrder, enough_for, planned_orders

PRODUCTS = range(1, 11)
PLENTY = 1_000_000  # units
STEP_GROWS = 1.4  # from one rate of a ramp to the next
NORMAL = {"normal": 100}

# Ordered before the load, so that connections are open and caches are warm.
PAID_AND_SENT = {"address": "서울특별시 중구 세종대로 110", "paymentToken": "tok_ok"}
WARM_UP = PlannedOrder(0, "warm-up", 0, "", {"items": [{"productId": PRODUCTS[1], "quantity": 1}], **PAID_AND_SENT})


class NotPossible(ValueError):
    """A profile that cannot be played; the message says why."""


@dataclass(frozen=True)
class Step:
    """A number of orders at an even rate per second; all at once if the rate is infinite."""

    rate: float
    count: int

    @property
    def seconds(self) -> float:
        return self.count / self.rate


@dataclass(frozen=True)
class Limits:
    """How long orders may take at p95, in seconds from when they were due, for a rate to count as held."""

    answered: float
    paid: float


@dataclass(frozen=True)
class Profile:
    """A load: consecutive steps, the orders in them, and the stock that these need, by planned product."""

    name: str
    title: str
    steps: Sequence[Step]
    orders: Iterator[PlannedOrder]
    stock: Mapping[int, int]
    options: Mapping[str, Any]
    limits: Limits | None = None  # the profile ends with the first step that is not held

    @property
    def count(self) -> int:
        """Orders, at most."""
        return sum(step.count for step in self.steps)


def steady(*, rate: float, seconds: float, seed: int) -> Profile:
    """Orders of single products at one rate."""
    return _even("steady", rate, seconds, seed)


def soak(*, rate: float, seconds: float, seed: int) -> Profile:
    """Like `steady`, but for long: does anything grow that should not?"""
    return _even("soak", rate, seconds, seed)


def _even(name: str, rate: float, seconds: float, seed: int) -> Profile:
    step = _step(rate, seconds)
    return Profile(
        name,
        f"{name}: {rate:g} orders/s for {seconds:g} s",
        [step],
        planned_orders(seed, kinds=NORMAL, products=PRODUCTS),
        dict.fromkeys(PRODUCTS, PLENTY),
        {"rate": rate, "seconds": seconds, "seed": seed},
    )


def ramp(*, rate: float, to: float, seconds: float, seed: int, answer_limit: float, paid_limit: float) -> Profile:
    """Increase the rate until the shop falls behind: where is the knee?"""
    if to < rate:
        raise NotPossible(f"A ramp goes up: --to must be at least --rate ({rate:g}).")
    rates, next_rate = [], rate
    while next_rate < to:
        rates.append(next_rate)
        next_rate = round(next_rate * STEP_GROWS, 1 if next_rate < 10 else 0)
    return Profile(
        "ramp",
        f"ramp: from {rate:g} to at most {to:g} orders/s, {seconds:g} s each",
        [_step(one, seconds) for one in [*rates, to]],
        planned_orders(seed, kinds=NORMAL, products=PRODUCTS),
        dict.fromkeys(PRODUCTS, PLENTY),
        {
            "rate": rate,
            "to": to,
            "seconds": seconds,
            "seed": seed,
            "answer_limit": answer_limit,
            "paid_limit": paid_limit,
        },
        limits=Limits(answer_limit, paid_limit),
    )


def mixed(*, rate: float, seconds: float, seed: int) -> Profile:
    """Orders of all kinds: several lines, a product that sells out, declined, refused at the door, cancelled, …"""
    step = _step(rate, seconds)
    orders = list(islice(planned_orders(seed, products=PRODUCTS), step.count))
    return Profile(
        "mixed",
        f"mixed: {rate:g} orders/s of all kinds for {seconds:g} s",
        [step],
        iter(orders),
        dict.fromkeys(PRODUCTS, PLENTY) | enough_for(orders),
        {"rate": rate, "seconds": seconds, "seed": seed},
    )


def flash_sale(*, buyers: int, items: int) -> Profile:
    """Many buyers order the same product at the same moment, of which there are only a few items."""
    if buyers < 1 or items < 1:
        raise NotPossible("A flash sale has at least one buyer and one item.")
    body = {"items": [{"productId": HOT_PRODUCT, "quantity": 1}], **PAID_AND_SENT}
    return Profile(
        "flash-sale",
        f"flash-sale: {buyers} buyers at once, {items} item{'' if items == 1 else 's'}",
        [Step(inf, buyers)],
        (PlannedOrder(number, "flash sale", number, "", body) for number in range(buyers)),
        {HOT_PRODUCT: items, PRODUCTS[1]: PLENTY},
        {"buyers": buyers, "items": items},
    )


def _step(rate: float, seconds: float) -> Step:
    if not (0 < rate <= 100_000 and isfinite(rate)) or not (0 < seconds <= 7 * 86_400):
        raise NotPossible("A rate is above 0, and a time between 0 and a week.")
    return Step(rate, max(1, round(rate * seconds)))
