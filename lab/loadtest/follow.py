"""What becomes of orders after they were placed, seen from outside and without being a load of its own.

While the load runs, the timelines of a few orders are read, a handful a second. How all of them have ended is read
afterwards from the list of orders, and when they were paid from the timelines of up to a thousand: the shop writes down
when each thing happened, so nothing is lost by asking later.
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
        self._fresh: Order | None = None  # the last one placed: the next to be taken up
        self.taken_up: deque[Order] = deque(maxlen=WATCHED)  # the last ones

    # --- While the load runs ------------------------------------------------------------------------------------------
    def placed(self, order: Order) -> None:
        self._fresh = order

    async def sample(self) -> None:
        """Take up a fresh order now and then, and read the timelines of those taken up, in turn, until they end."""
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
        """When it was paid and has ended, as far as it has come."""
        order.followed = True
        if found := await self._staff.order(order.order_id or 0):
            paid = (entry["at"] for entry in found["timeline"] if entry["event"] in PAID)
            order.paid = next(map(self.clock.since_began, paid), None)
            self._note(order, found)

    # --- Afterwards ---------------------------------------------------------------------------------------------------
    async def look(self, orders: Sequence[Order], products: Collection[int]) -> tuple[int, int]:
        """How many orders are still open, and how many were placed without the client having been told.

        An order that is not there is not waited for: it was written before it was accepted.
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
        """Of all accepted orders, or of as many of them, evenly chosen."""
        accepted = [one for one in orders if one.accepted]
        every = max(1, -(-len(accepted) // TIMELINES))
        chosen = iter(accepted[::every])

        async def read() -> None:
            for order in chosen:
                await self._read(order)

        await asyncio.gather(*(read() for _ in range(AT_ONCE)))
