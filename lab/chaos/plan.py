"""What is ordered, and what fails when: all of it follows from the seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random

from lab.orders import PlannedOrder, enough_for, planned_orders

KEPT_BACK = 0.05  # of the orders, until the last fault has ended: they show that it has been recovered from


@dataclass(frozen=True)
class PlannedFault:
    """A fault, `gap` seconds after the one before has ended. `choice` seeds what it still has to choose."""

    kind: str
    gap: float
    choice: int


@dataclass(frozen=True)
class Plan:
    seed: int
    orders: Sequence[PlannedOrder]
    faults: Sequence[PlannedFault]  # more than will be made: they go on for as long as orders are placed
    stock: dict[int, int]


def make_plan(seed: int, *, orders: int, faults: int, kinds: Sequence[str], gaps: tuple[float, float]) -> Plan:
    """`gaps` are the shortest and longest seconds between faults."""
    load = list(islice(planned_orders(seed), orders))
    return Plan(seed, load, list(islice(_faults(Random(f"faults {seed}"), kinds, gaps), faults)), enough_for(load))


def _faults(dice: Random, kinds: Sequence[str], gaps: tuple[float, float]) -> Iterator[PlannedFault]:
    """Without end. No kind comes again before all have come."""
    while True:
        for kind in dice.sample(kinds, k=len(kinds)):
            yield PlannedFault(kind, round(dice.uniform(*gaps), 1), dice.randrange(2**32))
