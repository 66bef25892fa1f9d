"""Every event of a return that crosses a service boundary, in the order of its saga (`shop/return_saga.py`).

They carry no words of customers, staff or carriers: those stay with the service that was told them.
"""

import msgspec

from shop.contracts.events import Line, OrderEvent


class ReturnEvent(OrderEvent, frozen=True, kw_only=True):
    """What every event of a return carries. Returns and orders are numbered in one sequence."""

    return_id: int


class Inspected(msgspec.Struct, frozen=True, gc=False):
    """What staff found of a product: pieces that can be sold again, and pieces that are paid for but cannot."""

    product_id: int
    accepted: int
    written_off: int


# --- Forward --------------------------------------------------------------------------------------------------------
class ReturnRequested(ReturnEvent, frozen=True):
    user_id: int
    lines: tuple[Line, ...]


class ReturnApproved(ReturnEvent, frozen=True):
    """By the shop's rule, or by staff."""

    user_id: int


class DeliveryReturnBooked(ReturnEvent, frozen=True):
    """A carrier brings the parcel under this number; without one, the customer sends it in their own way."""

    user_id: int
    tracking_number: str


class DeliveryReturnReceived(ReturnEvent, frozen=True):
    """The carrier has brought the parcel."""


class ReturnReceived(ReturnEvent, frozen=True):
    """The parcel is here: the carrier says so, or staff do."""

    user_id: int


class ReturnInspected(ReturnEvent, frozen=True):
    lines: tuple[Inspected, ...]


class InventoryRestocked(ReturnEvent, frozen=True):
    """What was accepted is on the shelf, and what was not is written off."""


class ReturnExchanged(ReturnEvent, frozen=True):
    """Another order, which costs nothing, brings what the pieces are exchanged for."""

    user_id: int
    exchange_order_id: int


class ReturnExchangeEnded(ReturnEvent, frozen=True):
    """That order has ended: it was cancelled, or has arrived, but for what is `missing`."""

    exchange_order_id: int
    cancelled: bool = False
    missing: tuple[Line, ...] = ()


class ReturnCompleted(ReturnEvent, frozen=True):
    """The customer has got `amount` back, or all that the pieces were exchanged for; the saga ends."""

    user_id: int
    amount: int
    currency: str
    exchanged: bool = False


# --- Where it turns, and back ---------------------------------------------------------------------------------------
class ReturnRefused(ReturnEvent, frozen=True):
    """By staff, before a parcel was booked; the saga ends."""

    user_id: int


class DeliveryReturnLost(ReturnEvent, frozen=True):
    """The carrier will not bring the parcel: staff decide."""


class ReturnWithdrawn(ReturnEvent, frozen=True):
    """By the customer, before the parcel was here."""


class ReturnExpired(ReturnEvent, frozen=True):
    """The parcel did not arrive in time."""


class DeliveryReturnCancelled(ReturnEvent, frozen=True):
    """No parcel is expected any more."""


class ReturnClosed(ReturnEvent, frozen=True):
    """Nothing is sent back after all; the saga ends."""

    user_id: int
    expired: bool


# Events that turn the saga round, or belong to the way back.
BACKWARD: tuple[type[ReturnEvent], ...] = (
    ReturnRefused, DeliveryReturnLost, ReturnWithdrawn, ReturnExpired, DeliveryReturnCancelled, ReturnClosed,
)  # fmt: skip
# Events with which the saga ends.
ENDS: tuple[type[ReturnEvent], ...] = (ReturnCompleted, ReturnRefused, ReturnClosed)
