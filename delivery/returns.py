"""Parcels that customers send back: one is booked when its return is approved, unless nobody wants it any more.

Whoever is first at a return's row decides: a parcel that was cancelled, or that staff have received, before it was
booked has a row already, and is not booked.

A carrier that has to be asked over the network is not asked for parcels to us: its port only knows parcels from us. The
customer then sends the parcel in their own way, and staff say that it has come.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction

from delivery.bookings import booked_at_once
from delivery.carriers import Booked, Booking, Parcel, Report, accounts_for, carrier
from delivery.models import ReturnParcel
from delivery.transitions import words_of
from fastdb.bulk import insert_if_absent
from fastdb.clock import database_time
from sagas import emit
from sagas.crash_points import crash_point
from shop.contracts.return_events import (
    DeliveryReturnBooked,
    DeliveryReturnCancelled,
    DeliveryReturnLost,
    DeliveryReturnReceived,
    ReturnApproved,
    ReturnEvent,
    ReturnExpired,
    ReturnReceived,
    ReturnWithdrawn,
)

Status = ReturnParcel.Status

PORTION = 800  # parcels that a timer takes at once


def book(approved: Sequence[ReturnApproved]) -> list[DeliveryReturnBooked]:
    """Have the parcels of these returns brought; those of returns that were closed or received before are not."""
    now = database_time("delivery")
    # Numbers are unique among returns and orders together, so a carrier may be given either.
    parcels = [Booking(_key(one.return_id), one.return_id, settings.RETURN_ADDRESS) for one in approved]
    booked = booked_at_once(parcels)
    rows = [_row(event, now, booked.get(_key(event.return_id))) for event in approved]
    fresh = insert_if_absent(ReturnParcel, rows, key="return_id")
    return [
        DeliveryReturnBooked(
            order_id=event.order_id,
            return_id=event.return_id,
            user_id=event.user_id,
            tracking_number=row["tracking_number"] or "",
        )
        for event, row in zip(approved, rows, strict=True)
        if event.return_id in fresh
    ]


def _key(return_id: int) -> str:
    return f"return-{return_id}"


def _row(event: ReturnApproved, now: datetime, booked: Booked | None) -> dict[str, Any]:
    account = accounts_for([event.return_id])[event.return_id] if booked else ""
    return {
        "return_id": event.return_id,
        "order_id": event.order_id,
        "tracking_number": booked.number if booked else None,
        "account": account,
        "status": Status.EXPECTED,
        "due_at": _arrives(account, now) if booked else None,
        "caused_by": event.event_id,
        "trace": event.trace,
    }


def _arrives(account: str, now: datetime) -> datetime | None:
    """When a carrier that does not report by itself is asked whether it has brought a parcel that is booked now."""
    pauses = [carrier(account).look_after(status) for status in ("PREPARING", "IN_TRANSIT")]
    known = [pause for pause in pauses if pause is not None]
    return now + sum(known, timedelta()) if len(known) == len(pauses) else None


def cancel(closed: Sequence[ReturnWithdrawn | ReturnExpired]) -> list[DeliveryReturnCancelled]:
    """Expect no parcel for these returns any more. One that is here already stays received.

    Re-emits the event for one that is cancelled already: the return may not be closed yet.
    """
    moved = _decide(closed, since=(Status.EXPECTED, Status.LOST, Status.CANCELLED), to=Status.CANCELLED)
    return [
        DeliveryReturnCancelled(order_id=event.order_id, return_id=event.return_id)
        for event in closed
        if event.return_id in moved
    ]


def close(received: Sequence[ReturnReceived]) -> None:
    """The parcels are here, whoever said so: carriers are not asked for them any more."""
    _decide(received, since=(Status.EXPECTED, Status.LOST, Status.CANCELLED), to=Status.RECEIVED)


def _decide(events: Sequence[ReturnEvent], *, since: Sequence[str], to: str) -> set[int]:
    """Give the parcels of these returns a status, also those that were not booked yet; the returns it was given to."""
    rows = [{"return_id": one.return_id, "order_id": one.order_id, "status": to} for one in events]
    fresh = insert_if_absent(ReturnParcel, rows, key="return_id")
    known = ReturnParcel.objects.filter(return_id__in=[one.return_id for one in events], status__in=since)
    moved = set(known.select_for_update().order_by("return_id").values_list("return_id", flat=True))
    ReturnParcel.objects.filter(return_id__in=moved).update(
        status=to, due_at=None, updated_at=database_time("delivery")
    )
    return fresh.keys() | moved


# --- What carriers tell -----------------------------------------------------------------------------------------------
def advance_due() -> int:
    """Ask carriers that answer by themselves about the parcels whose time has come; how many those were."""
    now = database_time("delivery")
    with transaction.atomic(using="delivery", durable=True):
        rows = ReturnParcel.objects.filter(due_at__lte=now).order_by("due_at")
        due = list(rows.select_for_update(skip_locked=True)[:PORTION])
        reports: dict[tuple[str, str], list[ReturnParcel]] = defaultdict(list)
        for parcel in due:
            if report := _asked(parcel):
                reports[report.status, words_of(report.status, report.reason)].append(parcel)
        for (status, reason), parcels in reports.items():
            take_report(parcels, status, reason)
        ReturnParcel.objects.filter(pk__in=[parcel.pk for parcel in due]).update(due_at=None)
        crash_point("return_parcels.written")
    crash_point("return_parcels.committed")
    return len(due)


def _asked(parcel: ReturnParcel) -> Report | None:
    """Where a carrier says that a parcel is."""
    if parcel.account not in settings.CARRIERS:
        return None  # taken out of the settings: staff say when it has come
    asked = Parcel(_key(parcel.return_id), parcel.return_id, parcel.tracking_number or "", "", "IN_TRANSIT")
    (answer,) = carrier(parcel.account).track([asked])
    return answer if isinstance(answer, Report) else None


def take_report(parcels: Sequence[ReturnParcel], status: str, reason: str) -> None:
    """Carriers have brought locked parcels, or will not bring them. What is not expected any more stays as it is: it
    is for staff to receive it. Runs inside a transaction on delivery."""
    to = {"DELIVERED": Status.RECEIVED, "FAILED": Status.LOST}.get(status)
    since = (Status.EXPECTED, Status.LOST) if to == Status.RECEIVED else (Status.EXPECTED,)
    moved = [parcel for parcel in parcels if to and parcel.status in since]
    if not to or not moved:
        return
    ReturnParcel.objects.filter(pk__in=[parcel.pk for parcel in moved]).update(
        status=to, reason=reason, due_at=None, updated_at=database_time("delivery")
    )
    kind = DeliveryReturnReceived if to == Status.RECEIVED else DeliveryReturnLost
    emit(
        *(
            kind(
                order_id=parcel.order_id,
                return_id=parcel.return_id,
                caused_by=parcel.caused_by,
                trace=parcel.trace,
            )
            for parcel in moved
        ),
        service="delivery",
    )
