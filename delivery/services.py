"""The rules of delivery: what the saga has done with a parcel, forward and backward.

A parcel can be cancelled until the carrier has it. Whoever holds the row's lock decides: the timer skips rows that a
cancellation holds, a cancellation waits for the timer and finds the parcel handed over.

A carrier is asked outside of transactions, by `asking`, after what it is to be asked has been written down here. Only
one that answers by itself (`local`) is asked at once. What follows from its answer is in `answers`, and what it reports
by itself in `reports`. `holding` keeps parcels here while their orders are changed.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from delivery.bookings import booked_at_once, can_be_stopped_at_once, is_local, new_key, stop_with_carrier
from delivery.carriers import Booked, Booking, accounts_for
from delivery.holding import start_late
from delivery.models import Delivery
from delivery.shipments import GONE, Ended, end, insert, lock, shipment_in
from delivery.transitions import next_look, refused_hold
from fastdb.bulk import update_rows
from fastdb.clock import database_time
from sagas import emit
from shop.contracts.events import (
    DeliveryCancellationRefused,
    DeliveryCancelled,
    DeliveryFailed,
    DeliveryHoldRefused,
    DeliveryStarted,
    OrderCancellationRequested,
    PaymentAuthorized,
    PaymentCaptureFailed,
    PaymentCompleted,
    Shipment,
)
from shop.contracts.reasons import NO_ADDRESS, NOT_TO_LEAVE
from shop.observability.tracing import trace_after
from shop.seal import What, unseal

Paid = PaymentCompleted | PaymentAuthorized
Answer = DeliveryCancelled | DeliveryCancellationRefused | DeliveryHoldRefused
Status = Delivery.Status


# --- Forward ----------------------------------------------------------------------------------------------------------
def start(paid: Sequence[Paid]) -> list[DeliveryStarted]:
    """Have the parcels of orders fetched that are paid, or whose money is held; returns an event for each that is
    booked at once.

    Orders cancelled before they came here are passed over. An exchange whose first order's address has been forgotten
    fails. Raises ValueError for an address that cannot be unsealed.
    """
    now = database_time("delivery")
    addresses = _addresses(paid)
    nowhere = [event for event in paid if event.order_id not in addresses]
    paid = [event for event in paid if event.order_id in addresses]
    wanted = [
        (event, shipment, Booking(new_key(event.order_id), event.order_id, address, shipment=number))
        for event in paid
        for address in [addresses[event.order_id]]
        for number, shipment in enumerate(event.checkout.shipments or (None,), 1)
    ]
    booked = booked_at_once(booking for _, _, booking in wanted)
    accounts = accounts_for(event.order_id for event in paid)
    looks = {account: next_look(account, Status.PREPARING, now) for account in {*accounts.values()}}
    rows = [
        _parcel(event, shipment, booking, account, answer, looks[account] if answer else now)
        for event, shipment, booking in wanted
        for account, answer in [(accounts[event.order_id], booked.get(booking.key))]
    ]
    started = insert(row for row in rows if row.get("number", 1) == 1)
    if len(started) < len(paid):
        late = [row for row in rows if row["order_id"] not in started]
        rows = [*(row for row in rows if row["order_id"] in started), *start_late(late, now)]
    insert(row for row in rows if row.get("number", 1) > 1)
    if nowhere:
        _fail(nowhere)
    return [
        DeliveryStarted(
            order_id=row["order_id"],
            user_id=row["user_id"],
            tracking_number=row["tracking_number"],
            shipment=shipment_in(row),
        )
        for row in rows
        if row["status"] == Status.PREPARING
    ]


def _fail(nowhere: Sequence[Paid]) -> None:
    """These orders cannot be sent, unless they were cancelled before. Their events go by the outbox, because those who
    hear them must not wait for a deferrable step."""
    rows = [
        {
            "order_id": event.order_id,
            "user_id": event.checkout.user_id,
            "status": Status.FAILED,
            "reason": NO_ADDRESS,
            "caused_by": event.event_id,
            "trace": event.trace,
        }
        for event in nowhere
    ]
    failed = insert(rows)
    emit(
        *(
            DeliveryFailed(
                order_id=event.order_id,
                user_id=event.checkout.user_id,
                reason=NO_ADDRESS,
                caused_by=event.event_id,
                trace=trace_after(event),
            )
            for event in nowhere
            if event.order_id in failed
        ),
        service="delivery",
    )


def _parcel(
    event: Paid,
    shipment: Shipment | None,
    booking: Booking,
    account: str,
    booked: Booked | None,
    due_at: datetime | None,
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "order_id": event.order_id,
        "user_id": event.checkout.user_id,
        "unpaid": isinstance(event, PaymentAuthorized),
        "account": account,
        "key": booking.key,
        "tracking_number": booked.number if booked else None,
        "carrier": booked.carrier if booked else "",
        "address": booking.address,
        "status": Status.PREPARING if booked else Status.BOOKING,
        "due_at": due_at,
        "caused_by": event.event_id,
        "trace": event.trace,
    }
    if shipment:
        row["number"], row["parts"] = shipment.number, len(event.checkout.shipments)
        row["location"], row["lines"] = shipment.location, msgspec.to_builtins(shipment.lines)
    return row


def _addresses(paid: Sequence[Paid]) -> dict[int, str]:
    """Where each order goes. What is given in exchange goes where the order of that went, if that is still known."""
    exchanges = {event.order_id: event.checkout.exchange_of for event in paid if event.checkout.exchange_of}
    known: dict[int, str] = {}
    if exchanges:
        sent = Delivery.objects.filter(order_id__in=exchanges.values()).exclude(address="")
        known = dict(sent.values_list("order_id", "address"))
    return {
        event.order_id: unseal(sealed, What.ADDRESS, order_id=event.order_id) if sealed else ""
        for event in paid
        for sealed in [event.checkout.address]
        if event.order_id not in exchanges
    } | {order_id: known[of] for order_id, of in exchanges.items() if of in known}


# --- Backward ---------------------------------------------------------------------------------------------------------
def cancel(
    requests: Sequence[OrderCancellationRequested | PaymentCaptureFailed],
) -> list[Answer | Ended]:
    """Keep parcels from leaving, and say which are too late for that; of those whose carrier has to be asked, the
    answer comes later. What has left without being paid is called back where the carrier still can, and goes on
    without a word otherwise. A change that waits for such an answer is refused.

    An order without a delivery gets a tombstone. A delivery that has failed or was cancelled before is passed over:
    its end has been announced.
    """
    tombstones = insert(
        {"order_id": one.order_id, "status": Status.CANCELLED, "reason": one.reason[:200]} for one in requests
    )
    orders = lock(one.order_id for one in requests)
    now = database_time("delivery")
    answers: list[Answer | Ended] = []
    for request in requests:
        if request.order_id in tombstones:
            answers.append(DeliveryCancelled(order_id=request.order_id, reason=request.reason))
            continue
        # Of several shipments each may be too late, or held: one answer is enough.
        told = {type(one): one for delivery in orders[request.order_id] for one in _cancel(delivery, request, now)}
        answers += told.values()
    stopped = [one for shipments in orders.values() for one in shipments if one.updated_at == now]
    update_rows(stopped, "status", "reason", "due_at", "attempts", "held_for", "caused_by", "trace", "updated_at")
    return [*answers, *end(orders.values(), now)]


def _cancel(
    delivery: Delivery, request: OrderCancellationRequested | PaymentCaptureFailed, now: datetime
) -> Iterator[Answer]:
    """Keep a locked parcel from leaving; yields the answers, but for those that `shipments.end` gives."""
    if delivery.status in (Status.BOOKING, Status.PREPARING, Status.HELD):
        delivery.reason, delivery.held_for, delivery.updated_at = request.reason[:200], None, now
        if can_be_stopped_at_once(delivery):
            delivery.status, delivery.due_at = Status.CANCELLED, None
            delivery.caused_by, delivery.trace = request.event_id, request.trace
            if delivery.lines is None:
                yield DeliveryCancelled(order_id=request.order_id, reason=request.reason)
        else:
            stop_with_carrier(delivery, request.event_id, request.trace, now)
    elif delivery.held_for:  # its carrier is being asked already
        yield refused_hold(delivery, NOT_TO_LEAVE)
        delivery.reason, delivery.held_for, delivery.updated_at = request.reason[:200], None, now
        delivery.caused_by, delivery.trace = request.event_id, request.trace
    elif delivery.status in GONE:
        if isinstance(request, OrderCancellationRequested):
            yield DeliveryCancellationRefused(order_id=request.order_id)
        elif delivery.status == Status.IN_TRANSIT and not is_local(delivery):  # one that is knows no way back
            delivery.status, delivery.reason, delivery.updated_at = Status.RECALLING, request.reason[:200], now
            delivery.caused_by, delivery.trace = request.event_id, request.trace
            delivery.due_at, delivery.attempts = now, 0
