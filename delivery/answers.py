"""What follows from what carriers answer: each answer is applied to its parcel as it is by then, under its lock.

`asking` talks to carriers, outside of any transaction; all of this is inside the caller's. An answer that did not come
leaves the parcel due again, after growing pauses.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from delivery.bookings import book_anew
from delivery.carriers import Answer, Booked, Cancelled, NoNews, Refused, Report, TooLate, Unknown, accounts_for
from delivery.holding import are_held, change_of, told
from delivery.models import Delivery
from delivery.shipments import about, end, lock, origin, shipment_of
from delivery.transitions import FOLLOWED, MOVES, move, next_look, words_of
from fastdb.bulk import update_rows
from fastdb.clock import database_time
from sagas import Event
from shop.contracts.events import DeliveryCancelled, DeliveryFailed, DeliveryHeld, DeliveryStarted
from shop.contracts.reasons import REFUSED_BY_CARRIER, said_by_carrier

Status = Delivery.Status

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=5), timedelta(minutes=10)  # between questions without an answer


class Move(NamedTuple):
    """Where parcels go, why, and when their carrier is asked again."""

    to: str
    reason: str
    due_at: datetime | None


Answers = Mapping[int, Answer]  # by parcel


def apply(question: str, asked: Iterable[Delivery], answers: Answers) -> list[Event]:
    """Apply answers to parcels as they are by now; returns the events that follow."""
    now = database_time("delivery")
    keys = {delivery.pk: delivery.key for delivery in asked}
    orders = lock({delivery.order_id for delivery in asked})
    answered: Callable[..., list[Event]] = {
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
            moves[move_to(delivery, answer.status, words_of(answer.status, answer.reason), now)].append(delivery)
        else:
            events += answered(delivery, answer, now, orders[delivery.order_id])
    events += move_all(moves, now)
    changed = [delivery for delivery in locked if delivery.updated_at == now]
    update_rows(
        changed,
        "status", "reason", "account", "tracking_number", "carrier", "reference", "label_url", "attempts", "due_at",
        "disputed_by", "held_for", "key", "updated_at",
    )  # fmt: skip
    return events + end(orders.values(), now)


def _late(delivery: Delivery, answer: Answer, now: datetime) -> None:
    """An answer about a booking that has been cancelled since. If the carrier has the parcel all the same, staff see to
    it."""
    if isinstance(answer, Booked | Report):
        delivery.disputed_by = answer.status if isinstance(answer, Report) else Status.PREPARING
        delivery.updated_at = now


def move_to(delivery: Delivery, status: str, reason: str, now: datetime) -> Move:
    """Where a parcel goes when its carrier says so now."""
    return Move(status, reason, next_look(delivery.account, status, now))


def move_all(moves: Mapping[Move, Sequence[Delivery]], now: datetime) -> list[Event]:
    """Move parcels, those that go to the same place in one statement; returns the events that follow."""
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
        else:  # booked although it was held or cancelled meanwhile: staff see to it
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
        if delivery.status == Status.BOOKING:  # without an account, if there was no carrier when it was written
            delivery.account = delivery.account or accounts_for([delivery.order_id])[delivery.order_id]
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
    if change and change.change_id == delivery.let_go:  # it has ended: another parcel had left
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


def put_off(claimed: Delivery) -> None:
    """An answer about this parcel could not be written down: ask again later, unless it has gone on since."""
    due_at = database_time("delivery") + pause_after(claimed.attempts + 1)
    Delivery.objects.filter(pk=claimed.pk, status=claimed.status, key=claimed.key).update(due_at=due_at)


def pause_after(attempts: int) -> timedelta:
    """How long to wait after that many questions without an answer."""
    return min(FIRST_PAUSE * 2 ** min(attempts - 1, 10), LONGEST_PAUSE)
