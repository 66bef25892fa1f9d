"""Orders that are sent in several shipments: how far each is, as delivery tells, and what is given back for one that
does not arrive."""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from fastdb.bulk import insert_rows
from orders.models import OrderLine, OrderShipment, Refund
from orders.services import lock
from orders.transitions import note
from sagas.db.prepared import query
from shop.contracts.events import (
    DeliveryFailed,
    DeliveryHandedOver,
    DeliveryShipmentCompleted,
    DeliveryShipmentFailed,
    DeliveryStarted,
    InventoryChanged,
    Line,
    OrderRefundRequested,
)
from shop.contracts.reasons import SHIPMENT_FAILED

Told = DeliveryStarted | DeliveryHandedOver | DeliveryShipmentCompleted | DeliveryShipmentFailed | DeliveryFailed
Status = OrderShipment.Status

STATUSES: Mapping[type[Told], str] = {
    DeliveryStarted: Status.STARTED,
    DeliveryHandedOver: Status.SHIPPED,
    DeliveryShipmentCompleted: Status.DELIVERED,
    DeliveryShipmentFailed: Status.FAILED,
    DeliveryFailed: Status.FAILED,
}
# What comes late does not take a shipment back.
KEEP = """
    ON CONFLICT (order_id, number) DO UPDATE SET status = EXCLUDED.status, lines = EXCLUDED.lines,
        tracking_number = coalesce(nullif(EXCLUDED.tracking_number, ''), orders_ordershipment.tracking_number)
    WHERE array_position(ARRAY['STARTED', 'SHIPPED', 'DELIVERED', 'FAILED'], orders_ordershipment.status::text)
        <= array_position(ARRAY['STARTED', 'SHIPPED', 'DELIVERED', 'FAILED'], EXCLUDED.status::text)
"""
NUMBERS = """
    INSERT INTO orders_parcelnumber (number, order_id)
    SELECT * FROM unnest(%(numbers)s::text[], %(orders)s::bigint[]) ON CONFLICT DO NOTHING
"""
RESIZE = """
    WITH news AS (
        SELECT * FROM unnest(%(orders)s::bigint[], %(numbers)s::int[], %(lines)s::text[])
            AS news (order_id, number, lines)
    ), gone AS (
        DELETE FROM orders_ordershipment AS old WHERE order_id = ANY(%(orders)s) AND status = 'STARTED'
            AND NOT EXISTS (SELECT FROM news WHERE news.order_id = old.order_id AND news.number = old.number)
    )
    UPDATE orders_ordershipment AS old SET lines = news.lines::json FROM news
    WHERE old.order_id = news.order_id AND old.number = news.number
"""


def keep(events: Sequence[Told]) -> None:
    """Write down how far these shipments are; nothing for orders that have only one."""
    rows = {
        (event.order_id, event.shipment.number): {
            "order_id": event.order_id,
            "number": event.shipment.number,
            "location": event.shipment.location,
            "lines": msgspec.to_builtins(event.shipment.lines),
            "status": str(STATUSES[type(event)]),
            "tracking_number": getattr(event, "tracking_number", ""),
        }
        for event in events
        if event.shipment
    }
    insert_rows(OrderShipment, [rows[key] for key in sorted(rows)], then=KEEP)
    numbered = sorted({(row["tracking_number"], row["order_id"]) for row in rows.values() if row["tracking_number"]})
    if numbered:
        query("orders", NUMBERS, {"numbers": [one for one, _ in numbered], "orders": [pk for _, pk in numbered]})


def resize(changed: Sequence[InventoryChanged]) -> None:
    """Pieces of orders were cancelled: write down what is left in their shipments, of those that have several."""
    orders = [event for event in changed if event.shipments]
    left = [(event.order_id, one) for event in orders for one in event.shipments]
    if left:
        lock(event.order_id for event in orders)  # before their shipments, as `keep`'s callers do
        news = {
            "orders": [order_id for order_id, _ in left],
            "numbers": [one.number for _, one in left],
            "lines": [msgspec.json.encode(one.lines).decode() for _, one in left],
        }
        query("orders", RESIZE, news)


def note_arrivals(arrived: Sequence[DeliveryShipmentCompleted]) -> None:
    """Shipments have arrived; others of their orders may be under way."""
    note(arrived, [f"shipment {event.shipment.number}" for event in arrived])
    keep(arrived)


def drop(failed: Sequence[DeliveryShipmentFailed]) -> list[OrderRefundRequested]:
    """Shipments do not arrive: have what is in them given back, at the prices of their orders. What was given in
    exchange has cost nothing, and is made up for when its order has ended."""
    note(failed, [event.reason for event in failed])
    keep(failed)
    lines = OrderLine.objects.filter(order_id__in=[event.order_id for event in failed])
    priced = lines.values_list("order_id", "product_id", "unit_price")
    prices = {(order_id, product_id): price for order_id, product_id, price in priced}
    due = [
        (event, amount)
        for event in failed
        if (amount := sum(prices[event.order_id, line.product_id] * line.quantity for line in event.shipment.lines))
    ]
    requests = [
        OrderRefundRequested(order_id=event.order_id, amount=amount, reason=SHIPMENT_FAILED) for event, amount in due
    ]
    insert_rows(
        Refund,
        [
            {
                "id": request.event_id,
                "order_id": request.order_id,
                "key": str(event.event_id),
                "for_shipment": event.shipment.number,
                "amount": request.amount,
                "reason": request.reason,
            }
            for request, (event, _) in zip(requests, due, strict=True)
        ],
    )
    return requests


def dropped(order_ids: Collection[int]) -> list[tuple[int, Line]]:
    """What did not arrive of these orders: (order, line)."""
    rows = OrderShipment.objects.filter(order_id__in=order_ids, status=Status.FAILED).values_list("order_id", "lines")
    return [(order_id, line) for order_id, lines in rows for line in msgspec.convert(lines, list[Line])]
