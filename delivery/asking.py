"""Asking carriers about the parcels whose time has come, and applying what they say.

What is to be asked is a parcel's status: BOOKING is booked, CANCELLING and RECALLING are cancelled, the others are
followed. A claim
keeps a parcel from other processes until its lease ends; then the carriers are asked, several at once, outside of any
transaction; each one's answers are applied to its parcels as they are by then, under their locks. An answer that did
not come leaves the parcel due again, after growing pauses.

Of carriers that answer by themselves (`local`) all of that is one transaction.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import datetime, timedelta
from itertools import groupby
from typing import NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import F

from delivery import returns
from delivery.bookings import book_anew, parcel_of
from delivery.carriers import (
    Answer,
    Booked,
    Booking,
    Cancelled,
    Carrier,
    NoNews,
    Refused,
    Report,
    TooLate,
    Unknown,
    UnknownCarrier,
    account_for,
    carrier,
)
from delivery.holding import are_held, change_of, told
from delivery.models import Delivery
from delivery.shipments import about, by_order, end, lock, origin, shipment_of
from delivery.transitions import LEASE, MOVES, move, next_look, words_of
from fastdb.bulk import update_rows
from fastdb.clock import database_time
from sagas import Event, emit
from sagas.crash_points import crash_point
from shop.contracts.events import DeliveryCancelled, DeliveryFailed, DeliveryHeld, DeliveryStarted
from shop.contracts.reasons import REFUSED_BY_CARRIER, said_by_carrier

logger = logging.getLogger(__name__)

Status = Delivery.Status

FOLLOWED = (Status.PREPARING, Status.IN_TRANSIT)
PORTION = 800  # parcels that a timer takes at once
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=5), timedelta(minutes=10)  # between questions without an answer
TRACK = "TRACK"  # what is asked about a parcel that is followed


class Move(NamedTuple):
    """Where parcels go, why, and when their carrier is asked again."""

    to: str
    reason: str
    due_at: datetime | None


Answers = Mapping[int, Answer]  # by parcel


def advance_due() -> int:
    """Book, cancel or track one batch of due parcels with their carriers; return how many were processed."""
    return _advance_local() + _ask_others() + returns.advance_due()


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
                continue  # somebody has others of its order: the next tick finds it
            (answer,) = carrier(delivery.account).track([parcel_of(delivery)])
            if isinstance(answer, Report):
                moves[_move_to(delivery, answer.status, answer.reason, now)].append(delivery)
            else:
                delivery.due_at = next_look(delivery.account, delivery.status, now)
                quiet.append(delivery)
        events = _move_all(moves, now)
        update_rows(quiet, "due_at")
        events += end([one for one in orders.values() if len(one) == one[0].parts], now)
        if events:
            emit(*events, service="delivery")
        crash_point("advance.written")
    crash_point("advance.committed")
    return sum(map(len, moves.values())) + len(quiet)


def _with_their_others(locked: Sequence[Delivery]) -> dict[int, list[Delivery]]:
    """Locked parcels by order, with the others of orders that have several, as far as nobody else holds them: whoever
    waits for those may wait for these."""
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
        with transaction.atomic(using="delivery", durable=True):
            if events := _apply(question, deliveries, answers):
                emit(*events, service="delivery")
            crash_point("asking.written")
        crash_point("asking.committed")
        if unknown := sum(isinstance(answer, Unknown) for answer in answers.values()):
            logger.warning("%s has left %d of %d questions open", account or "no carrier", unknown, len(deliveries))
    return len(claimed)


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
    """What each carrier says, as soon as it has."""
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
    answers = ask.get(question, _track)(asked, deliveries)
    return {delivery.pk: answer for delivery, answer in zip(deliveries, answers, strict=True)}


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


# --- What follows from an answer --------------------------------------------------------------------------------------
def _apply(question: str, asked: Iterable[Delivery], answers: Answers) -> list[Event]:
    """Apply answers to parcels as they are by now; returns the events that follow."""
    now = database_time("delivery")
    keys = {delivery.pk: delivery.key for delivery in asked}
    orders = lock({delivery.order_id for delivery in asked})
    apply: Callable[..., list[Event]] = {
        str(Status.BOOKING): _booked,
        str(Status.CANCELLING): _cancelled,
        str(Status.RECALLING): _recalled,
    }.get(question, _tracked)
    locked = [delivery for shipments in orders.values() for delivery in shipments if delivery.pk in keys]
    moves: dict[Move, list[Delivery]] = defaultdict(list)
    events: list[Event] = []
    for delivery in locked:
        answer = answers[delivery.pk]
        if delivery.key != keys[delivery.pk]:
            _late(delivery, answer, now)
        elif isinstance(answer, Report) and delivery.status in MOVES[Status(answer.status)]:
            moves[_move_to(delivery, answer.status, words_of(answer.status, answer.reason), now)].append(delivery)
        else:
            events += apply(delivery, answer, now, orders[delivery.order_id])
    events += _move_all(moves, now)
    changed = [delivery for delivery in locked if delivery.updated_at == now]
    update_rows(
        changed,
        "status", "reason", "account", "tracking_number", "carrier", "reference", "label_url", "attempts", "due_at",
        "disputed_by", "held_for", "key", "updated_at",
    )  # fmt: skip
    return events + end(orders.values(), now)


def _late(delivery: Delivery, answer: Answer, now: datetime) -> None:
    """An answer about a booking that was cancelled since. One that has come true after all is for staff to see to."""
    if isinstance(answer, Booked | Report):
        delivery.disputed_by = answer.status if isinstance(answer, Report) else Status.PREPARING
        delivery.updated_at = now


def _move_to(delivery: Delivery, status: str, reason: str, now: datetime) -> Move:
    return Move(status, reason, next_look(delivery.account, status, now))


def _move_all(moves: Mapping[Move, Sequence[Delivery]], now: datetime) -> list[Event]:
    return [
        event
        for one, group in moves.items()
        for event in move(group, to=one.to, reason=one.reason, now=now, due_at=one.due_at)
    ]


def _booked(delivery: Delivery, answer: Answer, now: datetime, shipments: Sequence[Delivery]) -> list[Event]:
    if delivery.status not in (Status.BOOKING, Status.CANCELLING, Status.HELD, Status.CANCELLED):
        return []  # another process was faster
    delivery.updated_at = now
    if isinstance(answer, Booked):
        delivery.tracking_number, delivery.carrier = answer.number, answer.carrier
        delivery.reference, delivery.label_url = answer.reference, answer.label_url
        if delivery.status == Status.BOOKING:
            delivery.status, delivery.attempts = Status.PREPARING, 0
            delivery.due_at = next_look(delivery.account, Status.PREPARING, now)
            return [DeliveryStarted(**about(delivery), tracking_number=answer.number, shipment=shipment_of(delivery))]
        if delivery.status == Status.CANCELLING:
            delivery.due_at = now
        else:  # what was asked for in vain has come true after all: staff are to see to it
            delivery.disputed_by = Status.PREPARING
    elif isinstance(answer, Refused):
        if delivery.status == Status.BOOKING:
            delivery.status, delivery.due_at = Status.FAILED, None
            delivery.reason = said_by_carrier(answer.reason) if answer.reason else REFUSED_BY_CARRIER
            return [] if delivery.lines is not None else [DeliveryFailed(**about(delivery), reason=delivery.reason)]
        if delivery.status == Status.CANCELLING:
            return _stopped(delivery, now, shipments)
    elif isinstance(answer, Unknown):
        delivery.reference = answer.reference or delivery.reference
        if delivery.status == Status.BOOKING:
            delivery.account = delivery.account or account_for(delivery.order_id)  # there was none
            _ask_again(delivery, now)
    return []


def _cancelled(delivery: Delivery, answer: Answer, now: datetime, shipments: Sequence[Delivery]) -> list[Event]:
    if delivery.status != Status.CANCELLING:
        return []
    if isinstance(answer, TooLate):
        delivery.tracking_number = delivery.tracking_number or answer.number or None
        if delivery.tracking_number:
            Delivery.objects.filter(pk=delivery.pk).update(tracking_number=delivery.tracking_number)
            due_at = next_look(delivery.account, Status.IN_TRANSIT, now)
            return list(move([delivery], to=Status.IN_TRANSIT, reason="", now=now, due_at=due_at))
    delivery.updated_at = now
    if isinstance(answer, Cancelled):
        return _stopped(delivery, now, shipments)
    _ask_again(delivery, now)
    return []


def _recalled(delivery: Delivery, answer: Answer, now: datetime, _shipments: Sequence[Delivery]) -> list[Event]:
    if delivery.status != Status.RECALLING:
        return []
    if isinstance(answer, Cancelled):
        return list(move([delivery], to=Status.FAILED, reason=delivery.reason, now=now))
    delivery.updated_at = now
    if isinstance(answer, TooLate):
        delivery.status, delivery.attempts, delivery.reason = Status.IN_TRANSIT, 0, ""
        delivery.due_at = next_look(delivery.account, Status.IN_TRANSIT, now)
    else:
        _ask_again(delivery, now)
    return []


def _stopped(delivery: Delivery, now: datetime, shipments: Sequence[Delivery]) -> list[Event]:
    delivery.due_at = None
    change = change_of(delivery)
    if change and change.change_id == delivery.let_go:  # another parcel was gone, and with that the change has ended
        delivery.held_for = None
        booked = book_anew([delivery], now)
        return [
            DeliveryStarted(**about(delivery), tracking_number=one.number, shipment=shipment_of(delivery))
            for one in booked.values()
        ]
    if change:
        delivery.status = Status.HELD
        held = DeliveryHeld(**origin(delivery), change=told(change))
        return [held] if are_held(shipments) else []
    delivery.status = Status.CANCELLED
    if delivery.lines is not None:
        return []
    return [DeliveryCancelled(**origin(delivery), reason=delivery.reason)]


def _tracked(delivery: Delivery, answer: Answer, now: datetime, _shipments: Sequence[Delivery]) -> list[Event]:
    if delivery.status not in FOLLOWED:
        return []
    delivery.updated_at = now
    if isinstance(answer, Report | NoNews):
        delivery.attempts, delivery.due_at = 0, next_look(delivery.account, delivery.status, now)
    else:
        _ask_again(delivery, now)
    return []


def _ask_again(delivery: Delivery, now: datetime) -> None:
    delivery.due_at = now + pause_after(delivery.attempts)


def pause_after(attempts: int) -> timedelta:
    """How long to wait after that many questions without an answer."""
    return min(FIRST_PAUSE * 2 ** min(attempts - 1, 10), LONGEST_PAUSE)
