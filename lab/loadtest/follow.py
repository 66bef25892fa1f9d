"""Follows orders after they were placed, from outside, and without adding much load.

While the load runs, only the timelines of a few orders are read, a handful a second. How all orders ended is read
afterwards from the list of orders, and when they were paid from up to a thousand timelines: the shop records the time
of each step, so nothing is lost by reading later.
"""

import asyncio
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lab.loadtest.measure import PAID, Clock, Order
from lab.loadtest.people import Staff
from shop.contracts.orders import FINAL

READS_PER_SECOND = 6  # while the load runs
WATCHED = 40  # orders at once
TIMELINES = 1000  # read afterwards
AT_ONCE = 4


class Follower:
    """Follows some orders while the load runs, and all of them afterwards."""

    def __init__(self, staff: Staff, clock: Clock, *, after: int) -> None:
        self._staff, self.clock, self._after = staff, clock, after
        self._watched: deque[Order] = deque()
        self._fresh: Order | None = None  # the last order placed, the next to be followed
        self.taken_up: deque[Order] = deque(maxlen=WATCHED)  # the latest followed orders

    # --- While the load runs ------------------------------------------------------------------------------------------
    def placed(self, order: Order) -> None:
        self._fresh = order

    async def sample(self) -> None:
        """Pick up a new order now and then, and read the timelines of followed orders, round-robin, until they end."""
        while True:
            if self._fresh and len(self._watched) < WATCHED:
                self._watched.append(self._fresh)
                self.taken_up.append(self._fresh)
                self._fresh.followed, self._fresh = True, None
            if self._watched:
                order = self._watched.popleft()
                await self._read(order)
                if order.ended is None:
                    self._watched.append(order)
            await asyncio.sleep(1 / READS_PER_SECOND)

    async def _read(self, order: Order) -> None:
        """Read when an order was paid and when it ended, if it has."""
        order.followed = True
        if found := await self._staff.order(order.order_id or 0):
            paid = (entry["at"] for entry in found["timeline"] if entry["event"] in PAID)
            order.paid = next(map(self.clock.since_began, paid), None)
            self._note(order, found)

    # --- Afterwards ---------------------------------------------------------------------------------------------------
    async def look(self, orders: Sequence[Order], products: Collection[int]) -> tuple[int, int]:
        """Return how many orders are still open, and how many were placed although the client got no response.

        A missing order is not waited for: an order is written before it is accepted.
        """
        by_id = {one.order_id: one for one in orders if one.accepted}
        strangers = 0
        async for found in self._staff.orders_since(self._after):
            if order := by_id.get(found["id"]):
                self._note(order, found)
            elif any(line["productId"] in products for line in found["items"]):
                strangers += 1
        return sum(bool(one.status) and one.status not in FINAL for one in by_id.values()), strangers

    def _note(self, order: Order, found: Mapping[str, Any]) -> None:
        order.status, order.reason = found["status"], found["cancellationReason"]
        if order.status in FINAL:  # and an order that has ended does not change any more
            order.ended = self.clock.since_began(found["updatedAt"])

    async def read_timelines(self, orders: Sequence[Order]) -> None:
        """Read the timelines of all accepted orders, or of TIMELINES of them, evenly chosen."""
        accepted = [one for one in orders if one.accepted]
        every = max(1, -(-len(accepted) // TIMELINES))
        chosen = iter(accepted[::every])

        async def read() -> None:
            for order in chosen:
                await self._read(order)

        await asyncio.gather(*(read() for _ in range(AT_ONCE)))
