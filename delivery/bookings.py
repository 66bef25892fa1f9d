"""How a parcel is booked with its carrier, and whether it can be kept from leaving without asking one."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from secrets import token_hex
from uuid import UUID

from delivery.carriers import Booked, Booking, Cancelled, Parcel, UnknownCarrier, accounts_for, carrier
from delivery.models import Delivery
from delivery.transitions import LEASE, next_look

Status = Delivery.Status


def new_key(order_id: int) -> str:
    """A name for a booking that has none yet. It has a random part, because other shops, or this one before its
    database was set up anew, may have booked a parcel of an order with this number at the same carrier account."""
    return f"order-{order_id}-{token_hex(5)}"


def booked_at_once(wanted: Iterable[Booking]) -> dict[str, Booked]:
    """What carriers that answer by themselves have booked, by key."""
    bookings_of: dict[str, list[Booking]] = defaultdict(list)
    every = list(wanted)
    accounts = accounts_for(booking.order_id for booking in every)
    for booking in every:
        bookings_of[accounts[booking.order_id]].append(booking)
    return {
        booking.key: answer
        for account, bookings in bookings_of.items()
        if account and carrier(account).local
        for booking, answer in zip(bookings, carrier(account).book(bookings), strict=True)
        if isinstance(answer, Booked)
    }


def book_anew(deliveries: Sequence[Delivery], now: datetime) -> dict[str, Booked]:
    """Have locked parcels fetched whose booking was cancelled; returns what is booked at once, by its new key."""
    accounts = accounts_for(delivery.order_id for delivery in deliveries)
    for delivery in deliveries:
        delivery.key, delivery.account = new_key(delivery.order_id), accounts[delivery.order_id]
        delivery.reference = delivery.label_url = delivery.carrier = ""
        delivery.status, delivery.due_at, delivery.attempts, delivery.tracking_number = Status.BOOKING, now, 0, None
    booked = booked_at_once(Booking(one.key, one.order_id, one.address, shipment=one.number) for one in deliveries)
    for delivery in deliveries:
        if answer := booked.get(delivery.key):
            delivery.status, delivery.tracking_number, delivery.carrier = (
                Status.PREPARING,
                answer.number,
                answer.carrier,
            )
            delivery.due_at = next_look(delivery.account, Status.PREPARING, now)
    return booked


def can_be_stopped_at_once(delivery: Delivery) -> bool:
    """Whether no carrier has heard of a parcel, or the carrier answers by itself."""
    if delivery.status == Status.HELD:
        return True
    if delivery.status == Status.BOOKING:
        return delivery.attempts == 0
    return is_local(delivery) and isinstance(carrier(delivery.account).cancel([parcel_of(delivery)])[0], Cancelled)


def is_local(delivery: Delivery) -> bool:
    """Whether a parcel's carrier answers by itself."""
    try:
        return carrier(delivery.account).local
    except UnknownCarrier:
        return False


def stop_with_carrier(delivery: Delivery, caused_by: UUID, trace: str, now: datetime) -> None:
    """Have a parcel's carrier asked not to fetch it, because of that event."""
    # A booking that is being asked for just now is waited for: it may be on its way to the carrier.
    asked_until = delivery.due_at if delivery.status == Status.BOOKING else None
    delivery.due_at = min(asked_until, now + LEASE) if asked_until else now
    delivery.status, delivery.attempts = Status.CANCELLING, 0
    delivery.caused_by, delivery.trace = caused_by, trace


def parcel_of(delivery: Delivery) -> Parcel:
    """What a carrier has to know of a delivery."""
    return Parcel(
        key=delivery.key,
        order_id=delivery.order_id,
        number=delivery.tracking_number or "",
        reference=delivery.reference,
        status=Status.IN_TRANSIT if delivery.status == Status.RECALLING else delivery.status,
        address=delivery.address,
    )
