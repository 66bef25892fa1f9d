"""Parcels that stay here while their order is changed.

A parcel is HELD from when delivery says so until the change has ended. What was booked for it is cancelled, with the
carrier where one has to be asked, and booked anew under another key. So a carrier has a parcel before its order is
changed, and the change is refused, or gets the parcel of the changed order.

A parcel that is not started yet gets a row all the same, which `start` fills in. That row outlasts the change, and
says which one it was: a change that comes after its end is refused.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from delivery.bookings import book_anew, can_be_stopped_at_once, stop_with_carrier
from delivery.models import Delivery
from fastdb.bulk import Row, insert_if_absent, update_rows
from fastdb.clock import database_time
from shop.contracts.events import (
    Change,
    DeliveryHeld,
    DeliveryHoldRefused,
    DeliveryStarted,
    InventoryChanged,
    OrderChangeRequested,
)
from shop.contracts.reasons import NOT_TO_LEAVE, WITH_CARRIER

Status = Delivery.Status

ENDED, GONE = (
    (Status.FAILED, Status.CANCELLING, Status.CANCELLED),
    (Status.IN_TRANSIT, Status.RECALLING, Status.DELIVERED),
)


def hold(requests: Sequence[OrderChangeRequested]) -> list[DeliveryHeld | DeliveryHoldRefused]:
    """Keep these orders' parcels here, and say which are too late for that; of those whose carrier has to be asked, the
    answer comes later."""
    not_started = insert_if_absent(
        Delivery,
        [
            {"order_id": one.order_id, "status": Status.HELD, "held_for": msgspec.to_builtins(one.change)}
            for one in requests
        ],
        key="order_id",
    )
    deliveries = _lock(request.order_id for request in requests)
    now = database_time("delivery")
    answers = [
        DeliveryHeld(order_id=request.order_id, change=request.change)
        if request.order_id in not_started
        else _hold(deliveries[request.order_id], request, now)
        for request in requests
    ]
    update_rows(
        [delivery for delivery in deliveries.values() if delivery.updated_at == now],
        "status", "due_at", "attempts", "held_for", "caused_by", "trace", "updated_at",
    )  # fmt: skip
    return [answer for answer in answers if answer is not None]


def _hold(
    delivery: Delivery, request: OrderChangeRequested, now: datetime
) -> DeliveryHeld | DeliveryHoldRefused | None:
    """Hold a locked parcel; None where its carrier is to be asked first."""
    change = request.change
    if delivery.status in (*ENDED, *GONE) or delivery.let_go == change.change_id:
        reason = WITH_CARRIER if delivery.status in GONE else NOT_TO_LEAVE
        return DeliveryHoldRefused(order_id=request.order_id, change_id=change.change_id, reason=reason)
    delivery.held_for, delivery.updated_at = msgspec.to_builtins(change), now
    if not can_be_stopped_at_once(delivery):
        stop_with_carrier(delivery, request.event_id, request.trace, now)
        return None
    delivery.status, delivery.due_at = Status.HELD, None
    return DeliveryHeld(order_id=request.order_id, change=change)


def start_late(rows: Iterable[Row], now: datetime) -> set[int]:
    """Fill in the parcels that changes of their orders came before; the orders of those that are not held any more."""
    parcels = {row["order_id"]: row for row in rows}
    came_before = Delivery.objects.filter(order_id__in=list(parcels), status=Status.HELD, user_id=None)
    found = list(came_before.select_for_update().order_by("order_id"))
    for delivery in found:
        for name, value in parcels[delivery.order_id].items():
            setattr(delivery, name, value)
        if delivery.held_for:
            delivery.status, delivery.due_at, delivery.tracking_number = Status.HELD, None, None
        delivery.updated_at = now
    update_rows(
        found,
        "user_id", "account", "unpaid", "key", "tracking_number", "carrier", "address", "status", "due_at", "caused_by",
        "trace", "updated_at",
    )  # fmt: skip
    return {delivery.order_id for delivery in found if not delivery.held_for}


def let_go(ended: Sequence[InventoryChanged]) -> list[DeliveryStarted]:
    """Have the parcels of these orders fetched, whose change has ended; returns an event for each that is booked by
    that already."""
    insert_if_absent(
        Delivery,
        [{"order_id": one.order_id, "status": Status.HELD, "let_go": one.change_id} for one in ended],
        key="order_id",
    )
    deliveries = _lock(event.order_id for event in ended)
    now = database_time("delivery")
    free = []
    for event in ended:
        delivery = deliveries[event.order_id]
        delivery.let_go, delivery.updated_at = event.change_id, now
        if delivery.status == Status.HELD and _is_held_for(delivery, event):
            delivery.held_for = None
            if delivery.user_id is not None:
                delivery.caused_by, delivery.trace = event.event_id, event.trace
                free.append(delivery)
    booked = book_anew(free, now)
    update_rows(
        deliveries.values(),
        "status", "due_at", "attempts", "held_for", "let_go", "account", "key", "reference", "label_url", "carrier",
        "tracking_number", "caused_by", "trace", "updated_at",
    )  # fmt: skip
    return [
        DeliveryStarted(
            order_id=delivery.order_id, user_id=delivery.user_id, tracking_number=booked[delivery.order_id].number
        )
        for delivery in free
        if delivery.order_id in booked and delivery.user_id is not None
    ]


def _is_held_for(delivery: Delivery, ended: InventoryChanged) -> bool:
    return bool(delivery.held_for) and msgspec.convert(delivery.held_for, Change).change_id == ended.change_id


def _lock(order_ids: Iterable[int]) -> dict[int, Delivery]:
    rows = Delivery.objects.filter(order_id__in=list(order_ids))
    return {one.order_id: one for one in rows.select_for_update().order_by("order_id")}
