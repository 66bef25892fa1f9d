"""A carrier that has given us a range of tracking numbers, fetches whatever has one, and reports by our own webhook.

This is how Korean carriers work with shops that have a contract: a number is used up by printing it. Their messages are
signed as `delivery/signatures.py` says, with a secret of CARRIER_WEBHOOK_SECRETS.

Options: `title` is the carrier as customers know it, `prefix` what the numbers begin with (else the account's name).
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from delivery.carriers.base import (
    Booked,
    Booking,
    BookingAnswer,
    CancelAnswer,
    Cancelled,
    Forged,
    NoNews,
    Parcel,
    Report,
    TooLate,
    TrackAnswer,
)


class Numbered:
    """Books by giving out a number. A parcel can be cancelled while we have it."""

    local = True

    def __init__(self, name: str, options: Mapping[str, str]) -> None:
        self.title = options.get("title", name)
        self.prefix = options.get("prefix", name)

    def book(self, bookings: Sequence[Booking]) -> Sequence[BookingAnswer]:
        """A number is unique because orders and their shipments are, and the same whenever it is asked for."""
        return [Booked(self._number(booking), self.title) for booking in bookings]

    def _number(self, booking: Booking) -> str:
        further = f"-{booking.shipment}" if booking.shipment > 1 else ""
        return f"{self.prefix}{booking.order_id:010d}{further}"

    def cancel(self, parcels: Sequence[Parcel]) -> Sequence[CancelAnswer]:
        return [TooLate() if parcel.status == "IN_TRANSIT" else Cancelled() for parcel in parcels]

    def track(self, parcels: Sequence[Parcel]) -> Sequence[TrackAnswer]:
        return [NoNews()] * len(parcels)

    def look_after(self, status: str) -> timedelta | None:
        return None

    def read_reports(self, headers: Mapping[str, str], body: bytes) -> Sequence[Report]:
        raise Forged("This carrier reports to /api/v1/deliveries/carrier-events.")
