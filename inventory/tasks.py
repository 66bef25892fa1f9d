"""Inventory's part in the sagas of orders and returns."""

from collections.abc import Sequence

import msgspec

from inventory import privacy, reservations, returns, services
from sagas import purge_messages, step, timer
from shop.contracts.events import (
    CustomerErased,
    DeliveryHandedOver,
    DeliveryShipmentFailed,
    InventoryChanged,
    InventoryReleased,
    InventoryReservationFailed,
    InventoryReserved,
    OrderChanged,
    OrderChangeRefused,
    OrderCreated,
    PaymentFailed,
    PaymentRefunded,
)
from shop.contracts.return_events import InventoryRestocked, ReturnInspected


def product_locks(orders: Sequence[OrderCreated]) -> list[str]:
    """Return the locks of all products in the batch: workers that want the same products take turns."""
    return sorted({services.lock_key(line.product_id) for order in orders for line in order.checkout.lines})


@step(locks=product_locks)
def reserve_stock(orders: list[OrderCreated]) -> list[InventoryReserved | InventoryReservationFailed]:
    """Reserve stock for each order, all its lines or none, first come first served."""
    decisions = reservations.reserve({order.order_id: order.checkout.lines for order in orders})
    return [_told(order, decisions[order.order_id]) for order in orders if order.order_id in decisions]


def _told(order: OrderCreated, decision: reservations.Decision) -> InventoryReserved | InventoryReservationFailed:
    if decision.reason:
        return InventoryReservationFailed(order_id=order.order_id, reason=decision.reason)
    checkout = order.checkout
    if decision.shipments:
        checkout = msgspec.structs.replace(checkout, shipments=decision.shipments)
    return InventoryReserved(order_id=order.order_id, checkout=checkout)


@step
def release_stock(undone: list[PaymentFailed | PaymentRefunded]) -> list[InventoryReleased]:
    """Release what an order holds, whether reserved or shipped; leave a tombstone if it has no reservation."""
    released = reservations.release({event.order_id: event.reason for event in undone})
    return [
        InventoryReleased(order_id=event.order_id, reason=event.reason)
        for event in undone
        if event.order_id in released
    ]


@step
def change_stock(ended: list[OrderChanged | OrderChangeRefused]) -> list[InventoryChanged]:
    """Have what is reserved follow the order. A change only removes pieces, so it cannot fail."""
    left = reservations.change({event.order_id: event.lines for event in ended if isinstance(event, OrderChanged)})
    return [
        InventoryChanged(
            order_id=event.order_id,
            change_id=event.change_id,
            shipments=left.get(event.order_id, ()),
            made=isinstance(event, OrderChanged),
        )
        for event in ended
    ]


@step
def ship_stock(deliveries: list[DeliveryHandedOver]) -> None:
    """Take reserved units off the shelf."""
    reservations.ship({(one.order_id, one.shipment.number if one.shipment else 0) for one in deliveries})


@step
def take_back_shipment(failed: list[DeliveryShipmentFailed]) -> None:
    """Release what a shipment holds, whether reserved or shipped; the others of its order go on."""
    reservations.take_back({(one.order_id, one.shipment.number): one.reason for one in failed})


@step
def restock_return(inspected: list[ReturnInspected]) -> list[InventoryRestocked]:
    """Put on the shelf what staff accepted of what came back; written-off pieces are booked in and out."""
    return returns.restock(inspected)


@step
def erase_customer(erased: list[CustomerErased]) -> None:
    """Erase what identifies customers who have left."""
    privacy.erase(erased)


@timer
def purge() -> int:
    """Delete inbox and outbox rows past their retention."""
    return purge_messages("inventory")
