"""The rules of delivery, and the only code that writes it.

A parcel can be cancelled until the carrier has it. Whoever holds the row's lock decides: the timer skips rows that a
cancellation holds, a cancellation waits for the timer and finds the parcel handed over.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Value
from django.db.models.functions import Coalesce

from delivery.carriers import (
    CARRIER_REFUSAL,
    NAMES,
    RECIPIENT_REFUSAL,
    REFUSED_BY_CARRIER,
    REFUSED_BY_RECIPIENT,
    carrier_of,
)
from delivery.models import CarrierEvent, Delivery
from fastdb.bulk import insert_if_absent, insert_rows, update_rows
from fastdb.clock import database_time
from sagas import emit
from sagas.crash_points import crash_point
from sagas.retention import delete_portion
from shop import faults
from shop.api.problems import Problem
from shop.contracts.events import (
    DeliveryCancellationRefused,
    DeliveryCancelled,
    DeliveryCompleted,
    DeliveryFailed,
    DeliveryHandedOver,
    DeliveryStarted,
    OrderCancellationRequested,
    PaymentCompleted,
)
from shop.contracts.reasons import FAILED_WITH_CARRIER, said_by_carrier
from shop.seal import What, unseal

Status = Delivery.Status

News = DeliveryHandedOver | DeliveryCompleted | DeliveryFailed

PORTION = 500  # deliveries that the timer takes at once

# Where a parcel may go from where it is. A carrier may skip a message, and its messages may come out of order.
MOVES = {
    Status.IN_TRANSIT: (Status.PREPARING,),
    Status.DELIVERED: (Status.PREPARING, Status.IN_TRANSIT),
    Status.FAILED: (Status.PREPARING, Status.IN_TRANSIT),
}


# What contradicts the end of a parcel: goods and money are both gone, or both here. Not what merely comes late.
DISPUTES = {
    Status.CANCELLED: (Status.IN_TRANSIT, Status.DELIVERED),
    Status.FAILED: (Status.DELIVERED,),
    Status.DELIVERED: (Status.FAILED,),
}


class UnknownDelivery(Problem):
    """There is no such delivery, or it is somebody else's."""

    code = "D001"


class EventIdReused(Problem):
    """This eventId has already come with another message. Give each message an id of its own."""

    code = "C009"
    status_code = HTTPStatus.UNPROCESSABLE_ENTITY


def start(paid: Sequence[PaymentCompleted]) -> list[DeliveryStarted]:
    """Prepare the parcels of paid orders; returns an event for each that this call has started.

    Orders cancelled before they came here are passed over. Raises ValueError for an address that cannot be unsealed.
    """
    due_at = database_time("delivery") + timedelta(seconds=settings.HANDOVER_AFTER)
    fresh = insert_if_absent(Delivery, [_parcel(event, due_at) for event in paid], key="order_id")
    return [
        DeliveryStarted(
            order_id=event.order_id, user_id=event.checkout.user_id, tracking_number=_tracking_number(event)
        )
        for event in paid
        if event.order_id in fresh
    ]


def _parcel(event: PaymentCompleted, due_at: datetime) -> dict[str, Any]:
    carrier, _ = carrier_of(event.order_id)
    return {
        "order_id": event.order_id,
        "user_id": event.checkout.user_id,
        "tracking_number": _tracking_number(event),
        "carrier": carrier,
        "address": _address(event),
        "status": Status.PREPARING,
        "due_at": due_at,
        "caused_by": event.event_id,
        "trace": event.trace,
    }


def _address(event: PaymentCompleted) -> str:
    sealed = event.checkout.address
    return unseal(sealed, What.ADDRESS, order_id=event.order_id) if sealed else ""


def _tracking_number(event: PaymentCompleted) -> str:
    """Unique because orders are, and the same whenever it is asked for."""
    return f"{carrier_of(event.order_id)[1]}{event.order_id:010d}"


def cancel(requests: Sequence[OrderCancellationRequested]) -> list[DeliveryCancelled | DeliveryCancellationRefused]:
    """Keep parcels from leaving, and say which are too late for that.

    An order without a delivery gets a tombstone. A delivery that has failed or was cancelled before is passed over:
    its end was told already.
    """
    tombstones = insert_if_absent(
        Delivery,
        [{"order_id": one.order_id, "status": Status.CANCELLED, "reason": one.reason[:200]} for one in requests],
        key="order_id",
    )
    rows = Delivery.objects.filter(order_id__in=[one.order_id for one in requests])
    deliveries = {one.order_id: one for one in rows.select_for_update().order_by("order_id")}
    now = database_time("delivery")
    stopped: list[Delivery] = []
    answers: list[DeliveryCancelled | DeliveryCancellationRefused] = []
    for request in requests:
        delivery = deliveries[request.order_id]
        if request.order_id in tombstones:
            answers.append(DeliveryCancelled(order_id=request.order_id, reason=request.reason))
        elif delivery.status == Status.PREPARING:
            delivery.status, delivery.reason = Status.CANCELLED, request.reason[:200]
            delivery.due_at, delivery.updated_at = None, now
            stopped.append(delivery)
            answers.append(DeliveryCancelled(order_id=request.order_id, reason=request.reason))
        elif delivery.status in (Status.IN_TRANSIT, Status.DELIVERED):
            answers.append(DeliveryCancellationRefused(order_id=request.order_id))
    update_rows(stopped, "status", "reason", "due_at", "updated_at")
    return answers


def advance_due() -> int:
    """Move on the parcels whose time has come, as a carrier would; how many there were."""
    if not settings.SANDBOX:
        return 0  # a real carrier says where its parcels are
    now = database_time("delivery")
    moves: dict[tuple[str, str], list[Delivery]] = {}
    with transaction.atomic(using="delivery", durable=True):
        due = Delivery.objects.filter(due_at__lte=now).order_by("due_at").select_for_update(skip_locked=True)[:PORTION]
        for delivery in due:
            moves.setdefault(_next(delivery), []).append(delivery)
        events = [
            event for (to, reason), group in moves.items() for event in _move(group, to=to, reason=reason, now=now)
        ]
        if events:
            emit(*events, service="delivery")
        crash_point("advance.written")
    crash_point("advance.committed")
    return sum(map(len, moves.values()))


def _next(delivery: Delivery) -> tuple[str, str]:
    """Where a parcel goes from here by itself, and why when that is its end."""
    if delivery.status == Status.PREPARING:
        refused = REFUSED_BY_CARRIER in delivery.address or faults.happens("carrier-refuses")
        return (Status.FAILED, CARRIER_REFUSAL) if refused else (Status.IN_TRANSIT, "")
    refused = REFUSED_BY_RECIPIENT in delivery.address
    return (Status.FAILED, RECIPIENT_REFUSAL) if refused else (Status.DELIVERED, "")


def take_carrier_event(*, carrier: str, event_id: str, tracking_number: str, status: str, reason: str = "") -> None:
    """Move a parcel to where its carrier says it is; others' parcels do not exist for a carrier, which is told by the
    code with which its tracking numbers begin. A message that came before, or comes too late, changes nothing;
    one that contradicts the parcel's end is kept with it, for staff.

    Raises `UnknownDelivery`, `EventIdReused`.
    """
    with transaction.atomic(using="delivery", durable=True):
        own = Delivery.objects.filter(tracking_number=tracking_number, carrier=NAMES.get(carrier, ""))
        delivery = own.select_for_update().first()
        if delivery is None:
            raise UnknownDelivery(f"There is no delivery {tracking_number}.")
        fresh = _take_in(
            carrier=delivery.carrier,
            event_id=event_id,
            tracking_number=tracking_number,
            status=status,
            reason=reason,
        )
        if fresh and delivery.status in MOVES[Status(status)]:
            if reason:
                reason = said_by_carrier(reason)
            elif status == Status.FAILED:
                reason = FAILED_WITH_CARRIER
            if events := _move([delivery], to=status, reason=reason, now=database_time("delivery")):
                emit(*events, service="delivery")
        elif fresh and status in DISPUTES.get(Status(delivery.status), ()):
            Delivery.objects.filter(pk=delivery.pk).update(disputed_by=status)
        crash_point("carrier_event.written")
    crash_point("carrier_event.committed")


def _take_in(**message: str) -> bool:
    """Write a carrier's message down; whether it is new. Raises `EventIdReused` for another with the same id."""
    if insert_rows(CarrierEvent, [message], then="ON CONFLICT (carrier, event_id) DO NOTHING RETURNING id"):
        return True
    known = CarrierEvent.objects.filter(carrier=message["carrier"], event_id=message["event_id"])
    if known.values(*message).get() != message:
        raise EventIdReused
    return False


def settle(delivery_ids: Iterable[int]) -> int:
    """Staff have seen to what carriers said against the end of these parcels; how many there were."""
    return Delivery.objects.filter(pk__in=list(delivery_ids)).exclude(disputed_by="").update(disputed_by="")


def _move(deliveries: Sequence[Delivery], *, to: str, reason: str, now: datetime) -> list[News]:
    """Move locked deliveries, all to the same place, in one statement; returns the events that follow.

    Of a parcel that has arrived without having been handed over, both are told.
    """
    changes: dict[str, Any] = {"status": to, "reason": reason, "due_at": None, "updated_at": now}
    if to == Status.IN_TRANSIT:
        changes |= {"due_at": now + timedelta(seconds=settings.DELIVERED_AFTER), "handed_over_at": now}
    elif to == Status.DELIVERED:
        changes |= {"delivered_at": now, "handed_over_at": Coalesce("handed_over_at", Value(now))}
    Delivery.objects.filter(pk__in=[delivery.pk for delivery in deliveries]).update(**changes)
    return [event for delivery in deliveries for event in _news(delivery, to, reason)]


def _news(delivery: Delivery, to: str, reason: str) -> Iterator[News]:
    """The events that tell the others where a parcel goes from its status."""
    if delivery.user_id is None or delivery.tracking_number is None:
        raise ValueError(f"{delivery} is a tombstone: it does not move")
    about: dict[str, Any] = {
        "order_id": delivery.order_id,
        "user_id": delivery.user_id,
        "caused_by": delivery.caused_by,
        "trace": delivery.trace,
    }
    if to == Status.FAILED:
        yield DeliveryFailed(**about, reason=reason)
        return
    if delivery.status == Status.PREPARING:
        yield DeliveryHandedOver(**about, tracking_number=delivery.tracking_number)
    if to == Status.DELIVERED:
        yield DeliveryCompleted(**about, tracking_number=delivery.tracking_number)


def purge() -> int:
    """Delete a portion of the carriers' messages past their retention; how many that was."""
    before = database_time("delivery") - settings.SAGAS.retention
    return delete_portion("delivery", CarrierEvent._meta.db_table, "received_at < %s", [before])
