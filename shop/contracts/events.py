"""Every event that crosses a service boundary: those of an order in saga order, then those of a customer. Those of a
return are in `return_events.py`.

An event is a fact in the past tense, with ids and values only; an address travels sealed (`shop/seal.py`). A field may
be added at any time with a default; renaming or removing one needs a new event.

Amounts are integers in the currency's minor unit.
"""

from collections.abc import Iterable
from datetime import datetime
from functools import cache
from uuid import UUID

import msgspec

from sagas.events import Event


class OrderEvent(Event, frozen=True, kw_only=True):
    """What every event of an order carries."""

    order_id: int


class Line(msgspec.Struct, frozen=True, gc=False):
    """A quantity of a product."""

    product_id: int
    quantity: int


class Shipment(msgspec.Struct, frozen=True, gc=False):
    """What comes from one location, of an order that comes from several; counted from 1."""

    number: int
    location: str
    lines: tuple[Line, ...]


class Checkout(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the customer ordered. It travels along the forward chain, so that no service has to call another."""

    user_id: int
    amount: int
    currency: str
    payment_gateway: str
    payment_token: str
    lines: tuple[Line, ...]
    address: str = ""  # sealed
    exchange_of: int = 0  # the order to whose address it goes, because it is given in exchange for pieces of it
    shipments: tuple[Shipment, ...] = ()  # none of an order that comes from one location


class Change(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is to become of an order whose parcel is still here. It travels as far as somebody has to know it."""

    change_id: UUID
    amount: int = 0  # what there is to pay for it; less than nothing is given back
    # Where the parcel is to go by it, and where it goes until then, if an earlier change has brought that. Both sealed;
    # nobody but delivery has to know them.
    address: str = ""
    present_address: str = ""


# --- Forward --------------------------------------------------------------------------------------------------------
class OrderCreated(OrderEvent, frozen=True):
    checkout: Checkout


class InventoryReserved(OrderEvent, frozen=True):
    checkout: Checkout


class PaymentActionRequired(OrderEvent, frozen=True):
    """The order waits for its customer, who pays at `url` until then: on the provider's page, or by a transfer to
    `account`."""

    user_id: int
    url: str
    until: datetime
    amount: int = 0
    currency: str = ""
    bank: str = ""
    account: str = ""
    holder: str = ""


class PaymentAuthorized(OrderEvent, frozen=True):
    """The money is held, and is taken when the carrier has the parcel: in the place of PaymentCompleted."""

    checkout: Checkout


class PaymentCompleted(OrderEvent, frozen=True):
    checkout: Checkout


class DeliveryStarted(OrderEvent, frozen=True):
    """A carrier is to fetch the parcel."""

    user_id: int
    tracking_number: str
    shipment: Shipment | None = None  # here and below: which of several


class DeliveryHandedOver(OrderEvent, frozen=True):
    """The carrier has the parcel: it has left the shelf, and cannot be cancelled any more."""

    user_id: int
    tracking_number: str
    shipment: Shipment | None = None


class DeliveryPaymentDue(OrderEvent, frozen=True):
    """The carrier has the parcel of an order whose money is only held: now it is to be taken."""


class PaymentCaptured(OrderEvent, frozen=True):
    """`amount` of what was held has been taken."""

    user_id: int
    amount: int
    currency: str


class DeliveryShipmentCompleted(OrderEvent, frozen=True):
    """One of several shipments has arrived."""

    user_id: int
    tracking_number: str
    shipment: Shipment


class DeliveryCompleted(OrderEvent, frozen=True):
    """All that was to arrive has arrived. `unpaid`: of an order whose money was only held when its delivery began.
    `missing`: what was in shipments that failed."""

    user_id: int
    tracking_number: str
    unpaid: bool = False
    missing: tuple[Line, ...] = ()


class OrderCompleted(OrderEvent, frozen=True):
    user_id: int
    tracking_number: str = ""


# --- Refusals: the turning points -----------------------------------------------------------------------------------
class InventoryReservationFailed(OrderEvent, frozen=True):
    reason: str


class PaymentFailed(OrderEvent, frozen=True):
    reason: str


class PaymentCaptureFailed(OrderEvent, frozen=True):
    """What was held cannot be taken any more. The parcel is called back if that is still possible."""

    reason: str


class PaymentWrittenOff(OrderEvent, frozen=True):
    """Staff have given up the money of an order whose capture has failed."""


class DeliveryFailed(OrderEvent, frozen=True):
    """Nothing of the order arrives. `shipment`: the last of several to fail."""

    user_id: int
    reason: str
    shipment: Shipment | None = None


class DeliveryShipmentFailed(OrderEvent, frozen=True):
    """One of several shipments does not arrive; the others go on. Its pieces come back, and are refunded."""

    user_id: int
    shipment: Shipment
    reason: str


class OrderCancellationRequested(OrderEvent, frozen=True):
    """By the customer, or by the saga's deadline: both enter the backward chain at its head."""

    reason: str


class OrderRefundRequested(OrderEvent, frozen=True):
    """Staff have a part of the money given back, whatever becomes of the order; `event_id` names this refund."""

    amount: int
    reason: str
    for_return: bool = False  # whether the saga of a return asks


class PaymentRefundCompleted(OrderEvent, frozen=True):
    """`amount` was given back to the customer, as staff wanted it."""

    refund_id: UUID
    amount: int
    user_id: int = 0  # 0 in events of a release that did not say it
    currency: str = ""
    for_return: bool = False  # then its customer is told by the saga of the return


class PaymentRefundRefused(OrderEvent, frozen=True):
    """It was not: there is not so much left of what was taken, or the gateway refuses it."""

    refund_id: UUID
    amount: int
    reason: str


class DeliveryCancellationRefused(OrderEvent, frozen=True):
    """The carrier already has the parcel."""


# --- A change before the hand-over ----------------------------------------------------------------------------------
class OrderChangeRequested(OrderEvent, frozen=True):
    """Of a paid order; one at a time."""

    change: Change


class DeliveryHeld(OrderEvent, frozen=True):
    """No carrier gets the parcel before the change has ended."""

    change: Change


class DeliveryHoldRefused(OrderEvent, frozen=True):
    """It is too late: the parcel has gone, or will never go."""

    change_id: UUID
    reason: str


class PaymentChanged(OrderEvent, frozen=True):
    """The difference was given back."""

    change_id: UUID


class PaymentChangeRefused(OrderEvent, frozen=True):
    change_id: UUID
    reason: str


class OrderChanged(OrderEvent, frozen=True):
    """The order is another now: so many pieces of its products more, or fewer, and a difference to the amount; or it
    goes to another address."""

    user_id: int
    change_id: UUID
    lines: tuple[Line, ...]
    amount: int
    total: int
    currency: str
    address_changed: bool = False


class OrderChangeRefused(OrderEvent, frozen=True):
    """The order stays as it was."""

    user_id: int
    change_id: UUID
    reason: str


class InventoryChanged(OrderEvent, frozen=True):
    """What is reserved is what the order says: the parcel may go. `shipments`: what is left in each. `made`: whether
    the order was changed, or the change refused."""

    change_id: UUID
    shipments: tuple[Shipment, ...] = ()
    made: bool = True


# --- Backward: the mirror image -------------------------------------------------------------------------------------
class DeliveryCancelled(OrderEvent, frozen=True):
    reason: str


class PaymentRefunded(OrderEvent, frozen=True):
    """The shop keeps none of the customer's money: the charge was refunded, or there was none."""

    reason: str


class InventoryReleased(OrderEvent, frozen=True):
    reason: str


class OrderCancelled(OrderEvent, frozen=True):
    user_id: int
    reason: str


# --- Of a customer ---------------------------------------------------------------------------------------------------
class CustomerEvent(Event, frozen=True, kw_only=True):
    """What every event of a customer carries."""

    user_id: int


class CustomerErased(CustomerEvent, frozen=True):
    """Accounts has erased a customer; every service deletes what identifies them. All their orders have ended.

    A customer with many gets several of these events, each with some of the orders.
    """

    order_ids: tuple[int, ...]


def orders_of(erased: Iterable[CustomerErased]) -> list[int]:
    """The orders of these customers."""
    return [order_id for event in erased for order_id in event.order_ids]


# Fields of an order's messages that may identify a customer: sealed values, carriers' own words, payment pages' URLs,
# accounts for transfers.
PERSONAL = ("address", "present_address", "payment_token", "reason", "url", "account", "holder")

# Events that turn a saga round, or belong to the way back.
BACKWARD: tuple[type[OrderEvent], ...] = (
    InventoryReservationFailed, PaymentFailed, PaymentCaptureFailed, DeliveryFailed, OrderCancellationRequested,
    DeliveryCancelled, PaymentRefunded, InventoryReleased, OrderCancelled,
)  # fmt: skip
# Events with which a saga ends.
ENDS: tuple[type[OrderEvent], ...] = (OrderCompleted, OrderCancelled)


ORIGINS = {
    "Order": "orders", "Return": "orders", "Inventory": "inventory", "Payment": "payments", "Delivery": "delivery",
    "Customer": "accounts",
}  # fmt: skip


@cache
def origin(event_type: type[Event]) -> str:
    """Return the service that emits an event: the event's name begins with the thing that this service owns."""
    name = event_type.__name__
    for prefix, service in ORIGINS.items():
        if name.startswith(prefix):
            return service
    raise ValueError(f"{name} is named after no service")
