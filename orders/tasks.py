"""Orders' part in the sagas of orders and returns: writing down how far each order has come, and resuming those
that came to a halt."""

from collections.abc import Sequence

from django.conf import settings

from fastdb.clock import database_time
from orders import addresses, cancellation, idempotency, open_orders, privacy, refunds, services
from orders.changes import steps as changes
from orders.models import Order
from orders.returns import exchanges, settling
from orders.returns import steps as returns
from orders.shipments import steps as shipments
from sagas import purge_messages, step, timer
from shop.contracts.events import (
    CustomerErased,
    DeliveryCancellationRefused,
    DeliveryCompleted,
    DeliveryFailed,
    DeliveryHandedOver,
    DeliveryHoldRefused,
    DeliveryShipmentCompleted,
    DeliveryShipmentFailed,
    DeliveryStarted,
    InventoryChanged,
    InventoryReleased,
    InventoryReservationFailed,
    InventoryReserved,
    OrderCancelled,
    OrderChanged,
    OrderChangeRefused,
    OrderChangeRequested,
    OrderCompleted,
    OrderRefundRequested,
    PaymentActionRequired,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentCaptureFailed,
    PaymentChanged,
    PaymentChangeRefused,
    PaymentCompleted,
    PaymentFailed,
    PaymentRefundCompleted,
    PaymentRefundRefused,
    PaymentWrittenOff,
)
from shop.contracts.return_events import (
    DeliveryReturnBooked,
    DeliveryReturnCancelled,
    DeliveryReturnLost,
    DeliveryReturnReceived,
    InventoryRestocked,
    ReturnClosed,
    ReturnCompleted,
    ReturnExchanged,
    ReturnExchangeEnded,
    ReturnReceived,
)

Status = Order.Status


@step
def mark_reserved(reserved: list[InventoryReserved]) -> None:
    """The stock is set aside."""
    services.advance(reserved, to=Status.INVENTORY_RESERVED)


@step
def mark_waiting(waiting: list[PaymentActionRequired]) -> None:
    """The customer has to pay on a page, or by a transfer; the order waits that long."""
    services.wait_for_customer(waiting)


@step
def mark_authorized(authorized: list[PaymentAuthorized]) -> list[OrderChangeRequested]:
    """The money is held until the carrier has the parcel. A change that has waited for it is asked for."""
    return changes.request_waiting(authorized, services.authorize(authorized))


@step
def mark_paid(paid: list[PaymentCompleted]) -> list[OrderChangeRequested]:
    """The money is there. A change that has waited for it is asked for."""
    return changes.request_waiting(paid, services.advance(paid, to=Status.PAYMENT_COMPLETED))


@step
def mark_started(started: list[DeliveryStarted]) -> None:
    """The parcel waits for its carrier; the customer can follow it."""
    _advance_parcels(started, to=Status.DELIVERY_STARTED)


@step
def mark_shipped(handed_over: list[DeliveryHandedOver]) -> None:
    """The carrier has the parcel."""
    _advance_parcels(handed_over, to=Status.SHIPPED)


def _advance_parcels(events: Sequence[DeliveryStarted | DeliveryHandedOver], *, to: str) -> None:
    numbers = {event.order_id: event.tracking_number for event in events}
    moved = services.advance(events, to=to, numbers=numbers)
    shipments.keep(events)
    if late := {order_id: number for order_id, number in numbers.items() if order_id not in moved}:
        services.note_tracking_numbers(late, handed_over=to == Status.SHIPPED)


@step
def note_shipment(arrived: list[DeliveryShipmentCompleted]) -> None:
    """One of several shipments has arrived."""
    shipments.note_arrivals(arrived)


@step
def resize_shipments(changed: list[InventoryChanged]) -> None:
    """There is less in the shipments of an order of which pieces were cancelled."""
    shipments.resize(changed)


@step
def drop_shipment(failed: list[DeliveryShipmentFailed]) -> list[OrderRefundRequested]:
    """One of several shipments does not arrive: what is in it is given back, the others go on."""
    return shipments.drop(failed)


@step
def complete_order(delivered: list[DeliveryCompleted]) -> list[OrderCompleted]:
    """The parcel has arrived: the saga ends well."""
    numbers = {event.order_id: event.tracking_number for event in delivered}
    completed = services.complete(delivered, numbers)
    exchanges.tell_end(delivered, completed, {event.order_id: event.missing for event in delivered})
    return [
        OrderCompleted(order_id=order_id, user_id=order.user_id, tracking_number=numbers[order_id])
        for order_id, order in completed.items()
    ]


@step
def note_capture(news: list[PaymentCaptured | PaymentCaptureFailed | PaymentWrittenOff]) -> list[OrderCompleted]:
    """What was held is taken, or cannot be; an order that has been delivered already ends well with that."""
    completed = services.settle_captures(news)
    return [OrderCompleted(order_id=order_id, user_id=order.user_id) for order_id, order in completed.items()]


@step
def mark_cancelling(failures: list[PaymentFailed | DeliveryFailed]) -> None:
    """A service refused; what was done before it is being undone."""
    cancellation.begin_undoing(failures, {event.order_id: event.reason for event in failures})
    shipments.keep([event for event in failures if isinstance(event, DeliveryFailed)])


@step
def resume_order(refusals: list[DeliveryCancellationRefused]) -> None:
    """The carrier already has the parcel: the order goes on."""
    cancellation.resume(refusals)


@step
def apply_change(settled: list[PaymentChanged]) -> list[OrderChanged]:
    """The difference is settled: the order is another now."""
    return changes.apply(settled)


@step
def refuse_change(refusals: list[DeliveryHoldRefused | PaymentChangeRefused]) -> list[OrderChangeRefused]:
    """The order stays as it was."""
    return changes.refuse(refusals)


@step
def note_refund(answers: list[PaymentRefundCompleted | PaymentRefundRefused]) -> None:
    """What became of a refund that staff asked for."""
    refunds.settle(answers)


@step
def cancel_order(undone: list[InventoryReservationFailed | InventoryReleased]) -> list[OrderCancelled]:
    """Nothing is held for the order any more: the saga ends here."""
    cancelled = cancellation.cancel(undone, {event.order_id: event.reason for event in undone})
    changes.refuse_waiting(cancelled)
    exchanges.tell_end(undone, cancelled)
    return [
        OrderCancelled(order_id=event.order_id, user_id=cancelled[event.order_id].user_id, reason=event.reason)
        for event in undone
        if event.order_id in cancelled
    ]


# --- Of a return ------------------------------------------------------------------------------------------------------
@step
def mark_return_booked(booked: list[DeliveryReturnBooked]) -> None:
    """A carrier brings the parcel under this number."""
    returns.mark_booked(booked)


@step
def mark_return_received(received: list[DeliveryReturnReceived]) -> list[ReturnReceived]:
    """The carrier has brought the parcel."""
    return returns.mark_received(received)


@step
def mark_return_lost(lost: list[DeliveryReturnLost]) -> None:
    """The carrier will not bring the parcel: staff decide."""
    returns.mark_lost(lost)


@step
def settle_return(restocked: list[InventoryRestocked]) -> list[ReturnExchanged | ReturnCompleted]:
    """Have the money given back by the order's saga, or others sent; a return that gives nothing ends here."""
    return settling.settle(restocked)


@step
def settle_exchange(ended: list[ReturnExchangeEnded]) -> list[ReturnCompleted]:
    """Have the money of what an exchange has not brought given back by the order's saga; otherwise the return ends
    here."""
    return settling.settle_exchanges(ended)


@step
def end_return(cancelled: list[DeliveryReturnCancelled]) -> list[ReturnClosed]:
    """No parcel is expected any more: the saga ends here."""
    return returns.end(cancelled)


@timer
def look_after_returns() -> int:
    """Wake returns of which a message is missing; send those back whose parcel has not come in time."""
    return returns.look_after()


# --- Both -------------------------------------------------------------------------------------------------------------
@step
def erase_customer(erased: list[CustomerErased]) -> None:
    """Forget what names customers who have left."""
    privacy.erase(erased)


@timer
def look_after() -> int:
    """Wake orders that have not moved for a while; close those that have ended with nothing missing."""
    return open_orders.look_after()


@timer
def cancel_overdue() -> int:
    """Send orders back that are past their deadline."""
    return open_orders.cancel_overdue()


@timer
def purge() -> int:
    """Delete inbox rows, outbox rows and idempotency keys past their retention; forget the addresses of changes."""
    keys = idempotency.purge(database_time("orders") - settings.SAGAS.retention)
    return purge_messages("orders") + keys + addresses.forget_old()
