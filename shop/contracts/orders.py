"""What orders offers other services, and the statuses of an order that they, operations and the console rely on."""

from typing import Protocol

import msgspec

# In saga order: a late event never moves an order back.
FORWARD: tuple[str, ...] = (
    "PENDING", "INVENTORY_RESERVED", "PAYMENT_AUTHORIZED", "PAYMENT_COMPLETED", "DELIVERY_STARTED", "SHIPPED",
)  # fmt: skip
UNPAID = "UNPAID"  # delivered, but what was held of its money is not taken: staff see to it
# Of these, those in which an order may wait for its customer to pay.
BEFORE_PAYMENT: tuple[str, ...] = ("PENDING", "INVENTORY_RESERVED")
# Those in which a delivery has been booked, and an order may be for days: the saga's deadline does not apply to them.
DELIVERY_ARRANGED: tuple[str, ...] = ("DELIVERY_STARTED", "SHIPPED")
# An order leaves neither of these.
FINAL: tuple[str, ...] = ("COMPLETED", "CANCELLED")
# No saga moves an order on from these, so one that stands still in them is not stalled.
AT_REST: tuple[str, ...] = (*FINAL, UNPAID)
RETURN_FINAL: tuple[str, ...] = ("COMPLETED", "REFUSED", "WITHDRAWN", "EXPIRED")
# The statuses in which a return waits for staff.
FOR_STAFF: tuple[str, ...] = ("REQUESTED", "LOST", "RECEIVED", "REFUND_REFUSED")


class OrdersOf(msgspec.Struct, frozen=True, kw_only=True):
    """The ids of a user's orders, oldest first."""

    running: list[int]
    ended: list[int]


class OrdersService(Protocol):
    """Reads orders. Raises `sagas.Unavailable` while orders is down."""

    def get_orders_of(self, user_id: int) -> OrdersOf:
        """All orders of a user."""
        ...
