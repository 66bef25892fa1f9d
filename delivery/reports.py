"""What carriers report by webhook. `services` does what the saga asks for; this is what carriers tell by themselves."""

import logging
from collections.abc import Iterable
from http import HTTPStatus

from django.conf import settings
from django.db import transaction

from delivery import returns
from delivery.carriers import Report
from delivery.models import CarrierEvent, Delivery, ReturnParcel
from delivery.shipments import end, lock
from delivery.transitions import DISPUTES, MOVES, News, move, next_look, words_of
from fastdb.bulk import insert_rows
from fastdb.clock import database_time
from sagas import emit
from sagas.crash_points import crash_point
from sagas.retention import delete_portion
from shop.api.problems import Problem

logger = logging.getLogger(__name__)

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


def take_carrier_event(*, carrier: str, event_id: str, tracking_number: str, status: str, reason: str = "") -> None:
    """Move a parcel to where its carrier says it is. A carrier is named by its account, and for it other carriers'
    parcels do not exist. A message that came before, or comes too late, changes nothing; one that contradicts the
    parcel's end is kept with it, for staff.

    Raises `UnknownDelivery`, `EventIdReused`.
    """
    with transaction.atomic(using="delivery", durable=True):
        named = {"tracking_number": tracking_number, "account": carrier}
        shipments = next(iter(lock(Delivery.objects.filter(**named).values("order_id")).values()), [])
        mine = (one for one in shipments if (one.tracking_number, one.account) == (tracking_number, carrier))
        delivery = next(mine, None)
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
        if fresh and delivery:
            events = [*_take_report(delivery, status, reason), *end([shipments], database_time("delivery"))]
            if events:
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
    disputed = Delivery.objects.filter(pk__in=list(delivery_ids)).exclude(disputed_by="")
    with transaction.atomic(using="delivery"):
        lock(disputed.values("order_id"))
        return disputed.update(disputed_by="")


def purge() -> int:
    """Delete a portion of the carriers' messages past their retention; how many that was."""
    before = database_time("delivery") - settings.SAGAS.retention
    return delete_portion("delivery", CarrierEvent._meta.db_table, "received_at < %s", [before])
