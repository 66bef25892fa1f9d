"""Where a parcel may go, and the events that say so. All of this is about locked rows, inside the caller's transaction.

A parcel can be cancelled until the carrier has it, and whatever a carrier says later of one that has ended is kept for
staff: see DISPUTES.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db.models import Value
from django.db.models.functions import Coalesce

from delivery.carriers import UnknownCarrier, carrier
from delivery.models import Delivery
from delivery.shipments import about, arrived, origin, shipment_of
from shop.contracts.events import (
    Change,
    DeliveryCancellationRefused,
    DeliveryCompleted,
    DeliveryFailed,
    DeliveryHandedOver,
    DeliveryHoldRefused,
    DeliveryPaymentDue,
    DeliveryShipmentCompleted,
)
from shop.contracts.reasons import FAILED_WITH_CARRIER, NOT_TO_LEAVE, WITH_CARRIER, said_by_carrier

Status = Delivery.Status

FOLLOWED = (Status.PREPARING, Status.IN_TRANSIT)  # which are tracked with their carriers
LEASE = timedelta(seconds=30)  # how long one timer asks a carrier before another one takes over

News = (
    DeliveryHandedOver
    | DeliveryPaymentDue
    | DeliveryCompleted
    | DeliveryShipmentCompleted
    | DeliveryFailed
    | DeliveryCancellationRefused
    | DeliveryHoldRefused
)

# Where a parcel may go from where it is. A carrier may skip a message, and its messages may come out of order. One that
# was asked to be cancelled may have left all the same.
WITH_US = (Status.PREPARING, Status.CANCELLING)
MOVES = {
    Status.IN_TRANSIT: WITH_US,
    Status.DELIVERED: (*WITH_US, Status.IN_TRANSIT, Status.RECALLING),
    Status.FAILED: (*WITH_US, Status.IN_TRANSIT, Status.RECALLING),
}

# What contradicts the end of a parcel: goods and money are both gone, or both here. Not what merely comes late.
DISPUTES = {
    Status.CANCELLED: (Status.IN_TRANSIT, Status.DELIVERED),
    Status.HELD: (Status.IN_TRANSIT, Status.DELIVERED),
    Status.FAILED: (Status.DELIVERED,),
    Status.DELIVERED: (Status.FAILED,),
}


def next_look(account: str, status: str, now: datetime) -> datetime | None:
    """When the carrier is to be asked about a parcel that has come to a status now."""
    if status not in FOLLOWED:
        return None
    try:
        pause = carrier(account).look_after(status)
    except UnknownCarrier:  # taken out of the settings: its reports still come by webhook, or never
        return None
    return None if pause is None else now + pause


def words_of(status: str, reason: str) -> str:
    """Why a parcel has failed, as we keep it, of what its carrier says."""
    if reason:
        return said_by_carrier(reason)
    return FAILED_WITH_CARRIER if status == Status.FAILED else ""


def move(
    deliveries: Sequence[Delivery], *, to: str, reason: str, now: datetime, due_at: datetime | None = None
) -> list[News]:
    """Move deliveries, all to the same place, in one statement; returns the events that follow. What follows for an
    order that has several is left to `shipments.end`.

    `due_at` is when their carrier is asked again, if it is. DELIVERED without an earlier hand-over emits both events.
    """
    changes: dict[str, Any] = {
        "status": to,
        "reason": reason,
        "due_at": due_at,
        "attempts": 0,
        "held_for": None,
        "updated_at": now,
    }
    if to == Status.IN_TRANSIT:
        changes["handed_over_at"] = now
    elif to == Status.DELIVERED:
        changes |= {"delivered_at": now, "handed_over_at": Coalesce("handed_over_at", Value(now))}
    Delivery.objects.filter(pk__in=[delivery.pk for delivery in deliveries]).update(**changes)
    news = [event for delivery in deliveries for event in _news(delivery, to, reason)]
    for delivery in deliveries:
        delivery.status, delivery.reason, delivery.due_at, delivery.held_for = to, reason, due_at, None
    return news


def _news(delivery: Delivery, to: str, reason: str) -> Iterator[News]:
    """The events that tell the others where a parcel goes from its status."""
    if delivery.user_id is None:
        raise ValueError(f"{delivery} is a tombstone: it does not move")
    shipment = shipment_of(delivery)
    if to == Status.FAILED:
        if shipment is None:
            yield DeliveryFailed(**about(delivery), reason=reason)
        if delivery.held_for:
            yield refused_hold(delivery, NOT_TO_LEAVE)
        return
    number = delivery.tracking_number or ""
    if delivery.status in WITH_US:
        yield DeliveryHandedOver(**about(delivery), tracking_number=number, shipment=shipment)
        if delivery.unpaid:
            yield DeliveryPaymentDue(**origin(delivery))
    if delivery.held_for:
        yield refused_hold(delivery, WITH_CARRIER)
    elif delivery.status == Status.CANCELLING:
        yield DeliveryCancellationRefused(**origin(delivery))
    if to == Status.DELIVERED and shipment:
        yield arrived(delivery)
    elif to == Status.DELIVERED:
        yield DeliveryCompleted(**about(delivery), tracking_number=number, unpaid=delivery.unpaid)


def refused_hold(delivery: Delivery, reason: str) -> DeliveryHoldRefused:
    """The answer to a change for which a parcel cannot be held after all."""
    change = msgspec.convert(delivery.held_for, Change)
    return DeliveryHoldRefused(**origin(delivery), change_id=change.change_id, reason=reason)
