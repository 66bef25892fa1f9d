"""Parcels that stay here while their order is changed.

A parcel is HELD from when delivery says so until the change has ended. What was booked for it is cancelled, with the
carrier where one has to be asked, and booked anew under another key. So a carrier has a parcel before its order is
changed, and the change is refused, or gets the parcel of the changed order.

A parcel that is not started yet gets a row all the same, which `start` fills in. That row outlasts the change, and
says which one it was: a change that comes after its end is refused.

A new address waits in `held_for`, sealed as it came, and becomes the parcel's when the change has been made and lets it
go. The next change can arrive before that, so each change also carries the address in force when it was requested.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from delivery.bookings import book_anew, can_be_stopped_at_once, stop_with_carrier
from delivery.models import Delivery
from delivery.shipments import GONE, insert, lock, shipment_of
from fastdb.bulk import update_rows
from fastdb.clock import database_time
from shop.contracts.events import (
    Change,
    DeliveryHeld,
    DeliveryHoldRefused,
    DeliveryStarted,
    InventoryChanged,
    OrderChangeRequested,
    Shipment,
)
from shop.contracts.reasons import NOT_TO_LEAVE, WITH_CARRIER
from shop.seal import What, unseal

Status = Delivery.Status

NOT_TO_BE_SENT = (Status.FAILED, Status.CANCELLING, Status.CANCELLED)


def hold(requests: Sequence[OrderChangeRequested]) -> list[DeliveryHeld | DeliveryHoldRefused]:
    """Keep these orders' parcels here, and say which are too late for that; of those whose carrier has to be asked, the
    answer comes later. Raises ValueError for an address that cannot be unsealed."""
    not_started = insert(
        {"order_id": one.order_id, "status": Status.HELD, "held_for": msgspec.to_builtins(one.change)}
        for one in requests
    )
    orders = lock(request.order_id for request in requests)
    now = database_time("delivery")
    answers = [
        DeliveryHeld(order_id=request.order_id, change=told(request.change))
        if request.order_id in not_started
        else _hold(orders[request.order_id], request, now)
        for request in requests
    ]
    update_rows(
        [delivery for shipments in orders.values() for delivery in shipments if delivery.updated_at == now],
        "status", "due_at", "attempts", "held_for", "address", "caused_by", "trace", "updated_at",
    )  # fmt: skip
    return [answer for answer in answers if answer is not None]


def _hold(
    shipments: Sequence[Delivery], request: OrderChangeRequested, now: datetime
) -> DeliveryHeld | DeliveryHoldRefused | None:
    """Hold an order's locked parcels, all or none; None where a carrier is to be asked first."""
    change = request.change
    statuses = {delivery.status for delivery in shipments}
    if statuses & {*NOT_TO_BE_SENT, *GONE} or any(delivery.let_go == change.change_id for delivery in shipments):
        reason = WITH_CARRIER if statuses & {*GONE} else NOT_TO_LEAVE
        return DeliveryHoldRefused(order_id=request.order_id, change_id=change.change_id, reason=reason)
    for delivery in shipments:
        if delivery.status == Status.EMPTY:
            continue
        delivery.held_for, delivery.updated_at = msgspec.to_builtins(change), now
        _send_to(delivery, change.present_address)
        if can_be_stopped_at_once(delivery):
            delivery.status, delivery.due_at = Status.HELD, None
            delivery.caused_by, delivery.trace = request.event_id, request.trace
        else:
            stop_with_carrier(delivery, request.event_id, request.trace, now)
    return DeliveryHeld(order_id=request.order_id, change=told(change)) if are_held(shipments) else None


def _send_to(delivery: Delivery, sealed: str) -> None:
    """Raises ValueError for an address that cannot be unsealed."""
    if sealed:
        delivery.address = unseal(sealed, What.ADDRESS, order_id=delivery.order_id)


def told(change: Change) -> Change:
    """What the others have to know of it: no addresses."""
    return msgspec.structs.replace(change, address="", present_address="")


def are_held(shipments: Sequence[Delivery]) -> bool:
    """Whether every parcel of an order that is to be held is held by now."""
    return all(delivery.status in (Status.HELD, Status.EMPTY) for delivery in shipments)


def start_late(rows: Iterable[dict[str, Any]], now: datetime) -> list[dict[str, Any]]:
    """Fill in the placeholders that changes have left before their orders' deliveries started; returns the rows of
    these orders' parcels as they are now.

    An order's first parcel is the placeholder, and is written here; the caller inserts the others. What goes to an
    address that a change has brought is booked by the timer, because the booking in hand names the old one.
    """
    parcels: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        parcels[row["order_id"]].append(row)
    came_before = Delivery.objects.filter(order_id__in=list(parcels), status=Status.HELD, user_id=None)
    found = list(came_before.select_for_update().order_by("order_id", "number"))
    for delivery in found:
        left = {one.number: one.lines for one in msgspec.convert(delivery.changed or (), tuple[Shipment, ...])}
        for row in parcels[delivery.order_id]:
            if delivery.address:
                row |= {"address": delivery.address, "status": Status.BOOKING, "due_at": now}
                row |= {"tracking_number": None, "carrier": ""}
            if left and "lines" in row:
                row["lines"] = msgspec.to_builtins(left.get(row["number"], ()))
            if "lines" in row and not row["lines"]:
                row |= {"status": Status.EMPTY, "due_at": None, "tracking_number": None}
            elif delivery.held_for:
                row |= {"status": Status.HELD, "due_at": None, "tracking_number": None, "held_for": delivery.held_for}
        first = parcels[delivery.order_id][0]
        if first["status"] == Status.EMPTY:
            delivery.held_for = None
        for name, value in first.items():
            setattr(delivery, name, value)
        delivery.updated_at = now
    update_rows(
        found,
        "user_id", "account", "unpaid", "key", "tracking_number", "carrier", "address", "status", "due_at", "caused_by",
        "trace", "number", "parts", "location", "lines", "held_for", "updated_at",
    )  # fmt: skip
    return [row for delivery in found for row in parcels[delivery.order_id]]


def let_go(ended: Sequence[InventoryChanged]) -> list[DeliveryStarted]:
    """Have the parcels of these orders fetched, whose change has ended; returns an event for each that is booked at
    once. Raises ValueError for an address that cannot be unsealed."""
    insert({"order_id": one.order_id, "status": Status.HELD, "let_go": one.change_id} for one in ended)
    orders = lock(event.order_id for event in ended)
    now = database_time("delivery")
    free = []
    for event in ended:
        left = {one.number: one.lines for one in event.shipments}
        for delivery in orders[event.order_id]:
            delivery.let_go, delivery.updated_at = event.change_id, now
            change = change_of(delivery)
            if delivery.status == Status.HELD and change and change.change_id == event.change_id:
                delivery.held_for = None
                if event.made:
                    _send_to(delivery, change.address)
                if delivery.user_id is None and left:
                    delivery.changed = msgspec.to_builtins(event.shipments)
                elif delivery.lines is not None and left:
                    delivery.lines = msgspec.to_builtins(left.get(delivery.number, ()))
                if delivery.lines is not None and not delivery.lines:
                    delivery.status = Status.EMPTY
                elif delivery.user_id is not None:
                    delivery.caused_by, delivery.trace = event.event_id, event.trace
                    free.append(delivery)
    booked = book_anew(free, now)
    update_rows(
        [delivery for shipments in orders.values() for delivery in shipments],
        "status", "due_at", "attempts", "held_for", "let_go", "changed", "lines", "address", "account", "key",
        "reference", "label_url", "carrier", "tracking_number", "caused_by", "trace", "updated_at",
    )  # fmt: skip
    return [
        DeliveryStarted(
            order_id=delivery.order_id,
            user_id=delivery.user_id,
            tracking_number=booked[delivery.key].number,
            shipment=shipment_of(delivery),
        )
        for delivery in free
        if delivery.key in booked and delivery.user_id is not None
    ]


def change_of(delivery: Delivery) -> Change | None:
    """The change that a parcel is held for."""
    return msgspec.convert(delivery.held_for, Change) if delivery.held_for else None
