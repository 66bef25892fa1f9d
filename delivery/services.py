"""The rules of delivery, and the only code that writes it, with `asking` and `transitions`.

A parcel can be cancelled until the carrier has it. Whoever holds the row's lock decides: the timer skips rows that a
cancellation holds, a cancellation waits for the timer and finds the parcel handed over.

A carrier is asked outside of transactions, by `asking`, after what it is to be asked has been written down here. Only
one that answers by itself (`local`) is asked at once. `holding` keeps parcels here while their orders are changed.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.db import transaction

from delivery import returns
from delivery.bookings import booked_at_once, can_be_stopped_at_once, is_local, new_key, stop_with_carrier
from delivery.carriers import Booked, Report, account_for
from delivery.holding import start_late
from delivery.models import CarrierEvent, Delivery, ReturnParcel
from delivery.transitions import DISPUTES, MOVES, News, move, next_look, refused_hold, words_of
from fastdb.bulk import insert_if_absent, insert_rows, update_rows
from fastdb.clock import database_time
from sagas import emit
from sagas.crash_points import crash_point
from sagas.retention import delete_portion
from shop.api.problems import Problem
from shop.contracts.events import (
    DeliveryCancellationRefused,
    DeliveryCancelled,
    DeliveryHoldRefused,
    DeliveryStarted,
    OrderCancellationRequested,
    PaymentAuthorized,
    PaymentCaptureFailed,
    PaymentCompleted,
)
from shop.contracts.reasons import NOT_TO_LEAVE
from shop.seal import What, unseal

logger = logging.getLogger(__name__)

Paid = PaymentCompleted | PaymentAuthorized
Status = Delivery.Status


class UnknownDelivery(Problem):
    """There is no such delivery, or it is somebody else's."""

    code = "D001"


class NoSuchCarrier(Problem):
    """There is no carrier of this name."""

    code = "D001"


class EventIdReused(Problem):
    """This eventId has already come with another message. Give each message an id of its own."""

    code = "C009"
    status_code = HTTPStatus.UNPROCESSABLE_ENTITY


# --- Forward ----------------------------------------------------------------------------------------------------------
def start(paid: Sequence[Paid]) -> list[DeliveryStarted]:
    """Have the parcels of orders fetched that are paid, or whose money is held; returns an event for each that is
    booked by that already.

    Orders cancelled before they came here are passed over. Raises ValueError for an address that cannot be unsealed.
    """
    now = database_time("delivery")
    addresses = {event.order_id: _address(event) for event in paid}
    keys = {order_id: new_key(order_id) for order_id in addresses}
    booked = booked_at_once((order_id, keys[order_id], address) for order_id, address in addresses.items())
    rows = [
        _parcel(event, keys[event.order_id], addresses[event.order_id], booked.get(event.order_id), now)
        for event in paid
    ]
    started = {*insert_if_absent(Delivery, rows, key="order_id")}
    if len(started) < len(rows):
        started |= start_late((row for row in rows if row["order_id"] not in started), now)
    return [
        DeliveryStarted(
            order_id=event.order_id,
            user_id=event.checkout.user_id,
            tracking_number=booked[event.order_id].number,
        )
        for event in paid
        if event.order_id in started and event.order_id in booked
    ]


def _parcel(event: Paid, key: str, address: str, booked: Booked | None, now: datetime) -> dict[str, Any]:
    account = account_for(event.order_id)
    return {
        "order_id": event.order_id,
        "user_id": event.checkout.user_id,
        "unpaid": isinstance(event, PaymentAuthorized),
        "account": account,
        "key": key,
        "tracking_number": booked.number if booked else None,
        "carrier": booked.carrier if booked else "",
        "address": address,
        "status": Status.PREPARING if booked else Status.BOOKING,
        "due_at": next_look(account, Status.PREPARING, now) if booked else now,
        "caused_by": event.event_id,
        "trace": event.trace,
    }


def _address(event: Paid) -> str:
    sealed = event.checkout.address
    return unseal(sealed, What.ADDRESS, order_id=event.order_id) if sealed else ""


# --- Backward ---------------------------------------------------------------------------------------------------------
def cancel(
    requests: Sequence[OrderCancellationRequested | PaymentCaptureFailed],
) -> list[DeliveryCancelled | DeliveryCancellationRefused | DeliveryHoldRefused]:
    """Keep parcels from leaving, and say which are too late for that; of those whose carrier has to be asked, the
    answer comes later. What has left without being paid is called back where the carrier still can, and goes on
    without a word otherwise. A change that waits for such an answer is refused.

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
    answers: list[DeliveryCancelled | DeliveryCancellationRefused | DeliveryHoldRefused] = []
    for request in requests:
        delivery = deliveries[request.order_id]
        if request.order_id in tombstones:
            answers.append(DeliveryCancelled(order_id=request.order_id, reason=request.reason))
        elif delivery.status in (Status.BOOKING, Status.PREPARING, Status.HELD):
            delivery.reason, delivery.held_for, delivery.updated_at = request.reason[:200], None, now
            if can_be_stopped_at_once(delivery):
                delivery.status, delivery.due_at = Status.CANCELLED, None
                answers.append(DeliveryCancelled(order_id=request.order_id, reason=request.reason))
            else:
                stop_with_carrier(delivery, request.event_id, request.trace, now)
            stopped.append(delivery)
        elif delivery.held_for:  # its carrier is being asked already
            answers.append(refused_hold(delivery, NOT_TO_LEAVE))
            delivery.reason, delivery.held_for, delivery.updated_at = request.reason[:200], None, now
            delivery.caused_by, delivery.trace = request.event_id, request.trace
            stopped.append(delivery)
        elif delivery.status in (Status.IN_TRANSIT, Status.RECALLING, Status.DELIVERED):
            if isinstance(request, OrderCancellationRequested):
                answers.append(DeliveryCancellationRefused(order_id=request.order_id))
            elif delivery.status == Status.IN_TRANSIT and not is_local(delivery):  # one that is knows no way back
                delivery.status, delivery.reason, delivery.updated_at = Status.RECALLING, request.reason[:200], now
                delivery.caused_by, delivery.trace = request.event_id, request.trace
                delivery.due_at, delivery.attempts = now, 0
                stopped.append(delivery)
    update_rows(stopped, "status", "reason", "due_at", "attempts", "held_for", "caused_by", "trace", "updated_at")
    return answers


# --- What carriers tell -----------------------------------------------------------------------------------------------
def take_carrier_event(*, carrier: str, event_id: str, tracking_number: str, status: str, reason: str = "") -> None:
    """Move a parcel to where its carrier says it is; others' parcels do not exist for a carrier, which is told by its
    account. A message that came before, or comes too late, changes nothing; one that contradicts the parcel's end is
    kept with it, for staff.

    Raises `UnknownDelivery`, `EventIdReused`.
    """
    with transaction.atomic(using="delivery", durable=True):
        named = {"tracking_number": tracking_number, "account": carrier}
        delivery = Delivery.objects.filter(**named).select_for_update().first()
        parcel = None if delivery else ReturnParcel.objects.filter(**named).select_for_update().first()
        if delivery is None and parcel is None:
            raise UnknownDelivery(f"There is no delivery {tracking_number}.")
        fresh = _take_in(
            carrier=carrier,
            event_id=event_id,
            tracking_number=tracking_number,
            status=status,
            reason=reason,
        )
        if fresh and delivery and (events := _take_report(delivery, status, reason)):
            emit(*events, service="delivery")
        if fresh and parcel:
            returns.take_report([parcel], status, words_of(status, reason))
        crash_point("carrier_event.written")
    crash_point("carrier_event.committed")


def _take_report(delivery: Delivery, status: str, reason: str) -> list[News]:
    """Move a locked parcel to where its carrier says it is; returns the events that follow."""
    if delivery.status in MOVES[Status(status)]:
        now = database_time("delivery")
        due_at = next_look(delivery.account, status, now)
        return move([delivery], to=status, reason=words_of(status, reason), now=now, due_at=due_at)
    if status in DISPUTES.get(Status(delivery.status), ()):
        Delivery.objects.filter(pk=delivery.pk).update(disputed_by=status)
    return []


def take_reports(account: str, reports: Iterable[Report]) -> None:
    """Take in what a carrier tells by its own webhook. What is about no parcel of ours changes nothing: the carrier
    would only send it again."""
    for report in reports:
        try:
            take_carrier_event(
                carrier=account,
                event_id=report.event_id,
                tracking_number=report.number,
                status=report.status,
                reason=report.reason,
            )
        except (UnknownDelivery, EventIdReused) as problem:
            logger.warning("%s reports %s of %s: %s", account, report.status, report.number, problem)


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


def purge() -> int:
    """Delete a portion of the carriers' messages past their retention; how many that was."""
    before = database_time("delivery") - settings.SAGAS.retention
    return delete_portion("delivery", CarrierEvent._meta.db_table, "received_at < %s", [before])
