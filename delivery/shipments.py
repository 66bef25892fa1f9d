"""Orders that are sent in several shipments: what they have in common, and the events about all of them.

All shipments of an order are locked together, in the order of their numbers. So whoever holds them knows whether one
was the last to end. All of this is about locked rows, inside the caller's transaction. An order with one shipment comes
here only to be passed on.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.db.models import QuerySet

from delivery.models import Delivery
from fastdb.bulk import Row, insert_rows, update_rows
from shop.contracts.events import (
    DeliveryCancelled,
    DeliveryCompleted,
    DeliveryFailed,
    DeliveryShipmentCompleted,
    DeliveryShipmentFailed,
    Line,
    Shipment,
)

Status = Delivery.Status

GONE = (Status.IN_TRANSIT, Status.RECALLING, Status.DELIVERED)
ENDED = (Status.DELIVERED, Status.FAILED, Status.CANCELLED, Status.EMPTY)


def shipment_of(delivery: Delivery) -> Shipment | None:
    """Which of several it is, and what is in it; None of an order that has only one."""
    if delivery.lines is None:
        return None
    return Shipment(delivery.number, delivery.location, msgspec.convert(delivery.lines, tuple[Line, ...]))


def shipment_in(row: Row) -> Shipment | None:
    """Likewise of a row that is not written yet."""
    if "lines" not in row:
        return None
    return Shipment(row["number"], row["location"], msgspec.convert(row["lines"], tuple[Line, ...]))


def lock(order_ids: Iterable[int] | QuerySet[Any]) -> dict[int, list[Delivery]]:
    """Lock all shipments of these orders, in the common order; those of each order."""
    rows = Delivery.objects.filter(order_id__in=order_ids if isinstance(order_ids, QuerySet) else list(order_ids))
    return by_order(rows.select_for_update().order_by("order_id", "number"))


def by_order(deliveries: Iterable[Delivery]) -> dict[int, list[Delivery]]:
    orders: dict[int, list[Delivery]] = defaultdict(list)
    for delivery in deliveries:
        orders[delivery.order_id].append(delivery)
    return orders


def insert(rows: Iterable[Row]) -> set[int]:
    """Insert shipments that are not there yet; returns the orders of those inserted. Rows may name different fields:
    there is a statement for each set of them."""
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row["order_id"], row.get("number", 1))):
        groups[tuple(row)].append(row)
    then = "ON CONFLICT (order_id, number) DO NOTHING RETURNING order_id"
    return {order_id for group in groups.values() for (order_id,) in insert_rows(Delivery, group, then=then)}


Ended = DeliveryCompleted | DeliveryShipmentFailed | DeliveryFailed | DeliveryCancelled


def end(orders: Iterable[Sequence[Delivery]], now: datetime) -> list[Ended]:
    """Returns the events that follow for orders with several shipments from what has become of these.

    If any shipment left, cancelled siblings count as failed. A failure is announced once another shipment of the order
    is still active or delivered. When the last has ended, so has the order's delivery.
    """
    events: list[Ended] = []
    changed: list[Delivery] = []
    for shipments in orders:
        if len(shipments) == 1:
            continue
        before = [(one.status, one.end_announced) for one in shipments]
        events += _end(shipments)
        changed += [one for one, old in zip(shipments, before, strict=True) if (one.status, one.end_announced) != old]
    for delivery in changed:
        delivery.updated_at = now
    update_rows(changed, "status", "end_announced", "updated_at")
    return events


def _end(shipments: Sequence[Delivery]) -> Iterator[Ended]:
    if any(one.status == Status.CANCELLING and not one.held_for for one in shipments):
        return  # a carrier is being asked whether it is to be cancelled
    if any(one.status in GONE for one in shipments):
        for one in shipments:
            if one.status == Status.CANCELLED:
                one.status = Status.FAILED
    fresh = [one for one in shipments if one.status in ENDED and one.status != Status.EMPTY and not one.end_announced]
    arrived = [one for one in shipments if one.status == Status.DELIVERED]
    has_ended = all(one.status in ENDED for one in shipments)
    if has_ended and not arrived:
        stopped = [one for one in shipments if one.status == Status.CANCELLED]
        if fresh and stopped:
            yield DeliveryCancelled(**origin(stopped[0]), reason=stopped[0].reason)
        elif fresh:
            yield DeliveryFailed(**about(fresh[-1]), reason=fresh[-1].reason, shipment=shipment_of(fresh[-1]))
    else:
        for one in fresh:
            if one.status == Status.FAILED and (shipment := shipment_of(one)):
                yield DeliveryShipmentFailed(**about(one), shipment=shipment, reason=one.reason)
        if has_ended and fresh:
            number = arrived[0].tracking_number or ""
            failed = [shipment for one in shipments if one.status == Status.FAILED and (shipment := shipment_of(one))]
            yield DeliveryCompleted(
                **about(fresh[-1]),
                tracking_number=number,
                unpaid=arrived[0].unpaid,
                missing=tuple(line for shipment in failed for line in shipment.lines),
            )
    for one in fresh:
        one.end_announced = one.status != Status.DELIVERED or has_ended


def arrived(delivery: Delivery) -> DeliveryShipmentCompleted:
    """One of several has arrived."""
    shipment = shipment_of(delivery)
    if shipment is None:
        raise ValueError(f"{delivery} is all there is")
    return DeliveryShipmentCompleted(
        **about(delivery), tracking_number=delivery.tracking_number or "", shipment=shipment
    )


def origin(delivery: Delivery) -> dict[str, Any]:
    """What every event of a parcel begins with."""
    return {"order_id": delivery.order_id, "caused_by": delivery.caused_by, "trace": delivery.trace}


def about(delivery: Delivery) -> dict[str, Any]:
    """Likewise of an event that also says whose parcel it is: of one that was started."""
    return {**origin(delivery), "user_id": delivery.user_id}
