"""Delivery's part in the sagas of orders and returns."""

from delivery import asking, holding, privacy, reports, returns, services
from delivery.shipments import Ended
from sagas import purge_messages, step, timer
from shop.contracts.events import (
    CustomerErased,
    DeliveryHeld,
    DeliveryHoldRefused,
    DeliveryStarted,
    InventoryChanged,
    OrderCancellationRequested,
    OrderChangeRequested,
    PaymentAuthorized,
    PaymentCaptureFailed,
    PaymentCompleted,
)
from shop.contracts.return_events import (
    DeliveryReturnBooked,
    DeliveryReturnCancelled,
    ReturnApproved,
    ReturnExpired,
    ReturnReceived,
    ReturnWithdrawn,
)


@step
def start_delivery(paid: list[PaymentCompleted | PaymentAuthorized]) -> list[DeliveryStarted]:
    """Have the parcels of orders fetched that are paid, or whose money is held. Where the carrier is to be asked, the
    timer emits the event."""
    return services.start(paid)


@step
def cancel_delivery(
    requests: list[OrderCancellationRequested | PaymentCaptureFailed],
) -> list[services.Answer | Ended]:
    """Keep a parcel from leaving, unless the carrier has it; leave a tombstone if there is none yet.

    Where the carrier is to be asked, the timer emits the event.
    """
    return services.cancel(requests)


@step
def hold_parcel(requests: list[OrderChangeRequested]) -> list[DeliveryHeld | DeliveryHoldRefused]:
    """Keep a parcel here while its order is changed, unless the carrier has it.

    Where the carrier is to be asked, the timer emits the event.
    """
    return holding.hold(requests)


@step
def let_go(ended: list[InventoryChanged]) -> list[DeliveryStarted]:
    """Have the parcel of an order fetched whose change has ended."""
    return holding.let_go(ended)


@step
def book_return(approved: list[ReturnApproved]) -> list[DeliveryReturnBooked]:
    """Have a carrier bring back what a customer returns."""
    return returns.book(approved)


@step
def cancel_return(closed: list[ReturnWithdrawn | ReturnExpired]) -> list[DeliveryReturnCancelled]:
    """Expect no parcel any more, unless it is here; leave a tombstone if there is none yet."""
    return returns.cancel(closed)


@step
def close_return(received: list[ReturnReceived]) -> None:
    """The parcel is here: expect it no more."""
    returns.close(received)


@step
def erase_customer(erased: list[CustomerErased]) -> None:
    """Forget the addresses of customers who have left."""
    privacy.erase(erased)


@timer
def advance_deliveries() -> int:
    """Book, cancel and follow the parcels whose time has come."""
    return asking.advance_due()


@timer
def purge() -> int:
    """Delete inbox and outbox rows, and carriers' messages, past their retention; forget old addresses."""
    return purge_messages("delivery") + reports.purge() + privacy.blank_old()
