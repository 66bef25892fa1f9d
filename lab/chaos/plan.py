"""What is ordered, and what fails when: all of it follows from the seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random

from lab.orders import (
    KINDS,
    KINDS_AT_PROVIDERS,
    PlannedOrder,
    at_providers,
    enough_for,
    planned_orders,
    with_second_thoughts,
)

KEPT_BACK = 0.05  # the share of orders placed after the last fault, to show recovery from it


@dataclass(frozen=True)
class PlannedFault:
    """A fault, `gap` seconds after the end of the previous one. `choice` seeds its random choices."""

    kind: str
    gap: float
    choice: int


@dataclass(frozen=True)
class Plan:
    seed: int
    orders: Sequence[PlannedOrder]
    faults: Sequence[PlannedFault]  # more than needed: faults go on for as long as orders are placed
    stock: dict[int, int]


def make_plan(
    seed: int,
    *,
    orders: int,
    faults: int,
    kinds: Sequence[str],
    gaps: tuple[float, float],
    gateways: Sequence[str] = (),
) -> Plan:
    """`gaps` are the shortest and longest seconds between faults; `gateways`, where customers pay on a page."""
    kinds_of_orders = with_second_thoughts(KINDS_AT_PROVIDERS if gateways else KINDS)
    planned = planned_orders(seed, kinds=kinds_of_orders)
    load = list(islice(at_providers(planned, seed, gateways) if gateways else planned, orders))
    return Plan(seed, load, list(islice(_faults(Random(f"faults {seed}"), kinds, gaps), faults)), enough_for(load))


def _faults(dice: Random, kinds: Sequence[str], gaps: tuple[float, float]) -> Iterator[PlannedFault]:
    """Yield faults without end. No kind is repeated before all have occurred."""
    while True:
        for kind in dice.sample(kinds, k=len(kinds)):
            yield PlannedFault(kind, round(dice.uniform(*gaps), 1), dice.randrange(2**32))
