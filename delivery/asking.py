"""Asking carriers about the parcels whose time has come.

What is asked follows from a parcel's status: BOOKING is booked, CANCELLING and RECALLING are cancelled, the others are
followed. A claim keeps a parcel from other processes until its lease ends; then the carriers are asked, several at
once, outside of any transaction; each one's answers are applied by `answers`.

Of carriers that answer by themselves (`local`) all of that is one transaction.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import groupby

from django.conf import settings
from django.db import transaction
from django.db.models import F

from delivery import returns
from delivery.answers import Answers, Move, apply, move_all, move_to, put_off
from delivery.bookings import parcel_of
from delivery.carriers import Answer, Booking, Carrier, Report, Unknown, UnknownCarrier, carrier
from delivery.models import Delivery
from delivery.shipments import by_order, end
from delivery.transitions import FOLLOWED, LEASE, next_look
from fastdb.bulk import update_rows
from fastdb.clock import database_time
from sagas import emit
from sagas.crash_points import crash_point
from sagas.db.prepared import query
from sagas.outages import OUTAGES

logger = logging.getLogger(__name__)

Status = Delivery.Status

PORTION = 800  # parcels that a timer takes at once
DUE = """
    SELECT EXISTS (SELECT FROM delivery_delivery WHERE due_at <= %(now)s)
        OR EXISTS (SELECT FROM delivery_returnparcel WHERE due_at <= %(now)s)
"""
TRACK = "TRACK"  # what is asked about a parcel that is followed


def advance_due() -> int:
    """Book, cancel or track one batch of due parcels with their carriers; return how many were processed."""
    ((due,),) = query("delivery", DUE, {"now": database_time("delivery")})
    return _advance_local() + _ask_others() + returns.advance_due() if due else 0


# --- Carriers that answer by themselves -------------------------------------------------------------------------------
def _advance_local() -> int:
    accounts = [name for name in settings.CARRIERS if carrier(name).local]
    if not accounts:
        return 0
    now = database_time("delivery")
    moves: dict[Move, list[Delivery]] = defaultdict(list)
    quiet: list[Delivery] = []
    with transaction.atomic(using="delivery", durable=True):
        due = Delivery.objects.filter(due_at__lte=now, account__in=accounts, status__in=FOLLOWED)
        locked = list(due.order_by("due_at").select_for_update(skip_locked=True)[:PORTION])
        orders = _with_their_others(locked)
        for delivery in locked:
            if delivery.parts > len(orders[delivery.order_id]):
                continue  # another process holds others of its order: the next tick takes it
            (answer,) = carrier(delivery.account).track([parcel_of(delivery)])
            if isinstance(answer, Report):
                moves[move_to(delivery, answer.status, answer.reason, now)].append(delivery)
            else:
                delivery.due_at = next_look(delivery.account, delivery.status, now)
                quiet.append(delivery)
        events = move_all(moves, now)
        update_rows(quiet, "due_at")
        events += end([one for one in orders.values() if len(one) == one[0].parts], now)
        if events:
            emit(*events, service="delivery")
        crash_point("advance.written")
    crash_point("advance.committed")
    return sum(map(len, moves.values())) + len(quiet)


def _with_their_others(locked: Sequence[Delivery]) -> dict[int, list[Delivery]]:
    """Locked parcels by order, with the others of orders that have several. Those that another process holds are left
    out: it may be waiting for these."""
    orders = by_order(locked)
    if several := [one.order_id for one in locked if one.parts > 1]:
        others = Delivery.objects.filter(order_id__in=several).exclude(pk__in=[one.pk for one in locked])
        for delivery in others.select_for_update(skip_locked=True).order_by("order_id", "number"):
            orders[delivery.order_id].append(delivery)
    for shipments in orders.values():
        shipments.sort(key=lambda one: one.number)
    return orders


# --- The others -------------------------------------------------------------------------------------------------------
def _ask_others() -> int:
    claimed = _claim()
    if not claimed:
        return 0
    groups = {key: list(group) for key, group in groupby(sorted(claimed, key=_questioned), key=_questioned)}
    for (account, question), deliveries, answers in _answers(groups):
        crash_point("asking.answered")
        _write_down(question, deliveries, answers)
        if unknown := sum(isinstance(answer, Unknown) for answer in answers.values()):
            logger.warning("%s has left %d of %d questions open", account or "no carrier", unknown, len(deliveries))
    return len(claimed)


def _write_down(question: str, deliveries: Sequence[Delivery], answers: Answers) -> None:
    """Apply answers; if that fails, each half of them by itself, until a bad one fails alone and is put off."""
    try:
        with transaction.atomic(using="delivery", durable=True):
            if events := apply(question, deliveries, answers):
                emit(*events, service="delivery")
            crash_point("asking.written")
        crash_point("asking.committed")
    except OUTAGES:
        raise
    except Exception:
        if len(deliveries) > 1:
            middle = len(deliveries) // 2
            _write_down(question, deliveries[:middle], answers)
            _write_down(question, deliveries[middle:], answers)
            return
        logger.exception("What %s says of the %s cannot be written down", deliveries[0].account, deliveries[0])
        put_off(deliveries[0])


def _claim() -> list[Delivery]:
    """Parcels to ask about, kept from other processes until the lease ends."""
    now = database_time("delivery")
    local = [name for name in settings.CARRIERS if carrier(name).local]
    with transaction.atomic(using="delivery", durable=True):
        due = Delivery.objects.filter(due_at__lte=now).exclude(account__in=local, status__in=FOLLOWED)
        claimed = list(due.order_by("due_at").select_for_update(skip_locked=True)[:PORTION])
        if claimed:
            claims = Delivery.objects.filter(pk__in=[delivery.pk for delivery in claimed])
            claims.update(due_at=now + LEASE, attempts=F("attempts") + 1)
        crash_point("asking.claim_written")
    crash_point("asking.claim_committed")
    return claimed


def _questioned(delivery: Delivery) -> tuple[str, str]:
    """Whom to ask about a parcel, and what."""
    return delivery.account, TRACK if delivery.status in FOLLOWED else delivery.status


def _answers(
    groups: Mapping[tuple[str, str], list[Delivery]],
) -> Iterator[tuple[tuple[str, str], list[Delivery], Answers]]:
    """The answers to each group, as soon as its carrier has given them."""
    if len(groups) == 1:  # nobody else waits for it
        ((key, deliveries),) = groups.items()
        yield key, deliveries, _ask(key, deliveries)
        return
    with ThreadPoolExecutor(len(groups)) as pool:
        asked = {pool.submit(_ask, key, deliveries): (key, deliveries) for key, deliveries in groups.items()}
        for future in as_completed(asked):
            yield *asked[future], future.result()


def _ask(key: tuple[str, str], deliveries: Sequence[Delivery]) -> Answers:
    """Ask one carrier one thing about parcels. Uses no database."""
    account, question = key
    try:
        asked = carrier(account)
    except UnknownCarrier as error:
        return {delivery.pk: Unknown(str(error)) for delivery in deliveries}
    ask = {str(Status.BOOKING): _book, str(Status.CANCELLING): _cancel, str(Status.RECALLING): _cancel}
    try:
        answers = ask.get(question, _track)(asked, deliveries)
        return {delivery.pk: answer for delivery, answer in zip(deliveries, answers, strict=True)}
    except Exception as bug:  # an adapter's: it concerns its own parcels alone
        logger.exception("%s cannot be asked", account)
        return {delivery.pk: Unknown(repr(bug)) for delivery in deliveries}


def _book(asked: Carrier, deliveries: Sequence[Delivery]) -> Sequence[Answer]:
    return asked.book(
        [
            Booking(
                key=one.key,
                order_id=one.order_id,
                address=one.address,
                reference=one.reference,
                again=one.attempts > 0,
                shipment=one.number,
            )
            for one in deliveries
        ]
    )


def _cancel(asked: Carrier, deliveries: Sequence[Delivery]) -> Sequence[Answer]:
    return asked.cancel([parcel_of(one) for one in deliveries])


def _track(asked: Carrier, deliveries: Sequence[Delivery]) -> Sequence[Answer]:
    return asked.track([parcel_of(one) for one in deliveries])
