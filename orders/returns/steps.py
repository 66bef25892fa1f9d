"""What the saga of a return does in orders, and the timer that looks after open returns."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F

from fastdb.bulk import update_rows
from fastdb.clock import database_time
from orders.open_orders import PORTION, leeway, pause_after
from orders.returns.models import Return, Status
from orders.returns.transitions import move
from sagas import emit
from sagas.crash_points import crash_point
from sagas.outbox import rearm
from sagas.reconciliation import missing
from shop.contracts.return_events import (
    DeliveryReturnBooked,
    DeliveryReturnCancelled,
    DeliveryReturnLost,
    DeliveryReturnReceived,
    ReturnClosed,
    ReturnExpired,
    ReturnReceived,
    ReturnRequested,
)
from shop.observability.tracing import current_trace

BACK = {Status.WITHDRAWING: Status.WITHDRAWN, Status.EXPIRING: Status.EXPIRED}
MOVING = (Status.SETTLING, *BACK)  # in which a return waits for nobody but us


def mark_booked(booked: Sequence[DeliveryReturnBooked]) -> None:
    """The parcels have numbers."""
    move(
        booked,
        since=[Status.APPROVED],
        to=Status.APPROVED,
        numbers=[event.tracking_number for event in booked],
    )


def mark_received(received: Sequence[DeliveryReturnReceived]) -> list[ReturnReceived]:
    """Carriers have brought the parcels. A withdrawal that came too late for that is over."""
    moved = move(received, since=[Status.APPROVED, Status.LOST, *BACK], to=Status.RECEIVED)
    return [
        ReturnReceived(order_id=event.order_id, return_id=event.return_id, user_id=moved[event.return_id])
        for event in received
        if event.return_id in moved
    ]


def mark_lost(lost: Sequence[DeliveryReturnLost]) -> None:
    """Carriers will not bring the parcels: staff decide."""
    move(lost, since=[Status.APPROVED], to=Status.LOST)


def end(cancelled: Sequence[DeliveryReturnCancelled]) -> list[ReturnClosed]:
    """No parcel is expected any more."""
    ended: list[ReturnClosed] = []
    for since, to in BACK.items():
        moved = move(cancelled, since=[since], to=to)
        ended += [
            ReturnClosed(
                order_id=event.order_id,
                return_id=event.return_id,
                user_id=moved[event.return_id],
                expired=to == Status.EXPIRED,
            )
            for event in cancelled
            if event.return_id in moved
        ]
    return ended


# --- The timer --------------------------------------------------------------------------------------------------------
def look_after() -> int:
    """Check one portion of the returns that are due (`look_at`), with growing pauses; return how many were due.

    A return whose parcel did not come in time expires. If a message of a return is missing, or it stands still in
    MOVING, its events are published again. A return that waits for its exchange is checked until that has ended, one
    that waits for its parcel when that is overdue; any other one waits for staff, and is not checked until it moves.
    During a backlog only returns that have been due for long are checked.
    """
    expired, due = _claim_due(since=leeway())
    waiting = {return_.pk: return_ for return_ in due}
    stalled = {pk for pk, return_ in waiting.items() if return_.status in MOVING}
    rearm("orders", stalled)  # before the others, for which every service is asked
    others = [pk for pk in waiting if pk not in stalled]
    lost = {message.key for message in missing(others, of=ReturnRequested)} if others else set()
    rearm("orders", lost)
    stalled |= lost
    crash_point("return_look.rearmed")
    parcels = [return_.pk for pk, return_ in waiting.items() if pk not in stalled and return_.status == Status.APPROVED]
    quiet = Return.objects.filter(pk__in=waiting.keys() - stalled, looks__gt=0)
    with transaction.atomic(using="orders"):
        list(quiet.select_for_update().order_by("pk"))
        quiet.filter(pk__in=parcels, status=Status.APPROVED).update(look_at=F("approved_at") + _patience())
        quiet.exclude(pk__in=parcels).exclude(status__in=(*MOVING, Status.EXCHANGING)).update(look_at=None)
    return expired + len(due)


def _patience() -> timedelta:
    within: timedelta = settings.RETURN_ARRIVES_WITHIN
    return within


def _claim_due(since: float) -> tuple[int, list[Return]]:
    """Of the returns that have been due for so many seconds, let those expire whose parcels have not come in time, and
    give the others their next due time; return how many expired, and the others."""
    now = database_time("orders")
    with transaction.atomic(using="orders", durable=True):
        rows = Return.objects.filter(look_at__lte=now - timedelta(seconds=since)).order_by("look_at")
        expired = _expire(rows.filter(status=Status.APPROVED, approved_at__lte=now - _patience())[:PORTION])
        due = list(rows.select_for_update(skip_locked=True)[:PORTION])
        for return_ in due:
            return_.look_at, return_.looks = now + pause_after(return_.looks), return_.looks + 1
        update_rows(due, "look_at", "looks")
        crash_point("return_look.written")
    crash_point("return_look.committed")
    return expired, due


def _expire(late: Iterable[Return]) -> int:
    events = [ReturnExpired(order_id=return_.order_id, return_id=return_.pk, trace=current_trace()) for return_ in late]
    if not events:
        return 0
    moved = move(events, since=[Status.APPROVED], to=Status.EXPIRING)
    emit(*(event for event in events if event.return_id in moved), service="orders")
    return len(moved)
