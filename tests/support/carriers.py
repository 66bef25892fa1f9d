"""A carrier that has to be asked, with books of its own, and every way in which an answer may not come."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

import delivery.carriers as port
from delivery.carriers import (
    Booked,
    Booking,
    Cancelled,
    Forged,
    NoNews,
    Parcel,
    Refused,
    Report,
    TooLate,
    Unknown,
)
from shop.contracts.carriers import ConfiguredCarrier

ACCOUNT = "ASKED"
NO_ANSWER, LOST_ANSWER = "it was not asked", "its answer was lost"
REFUSES = "addr_refused_by_carrier"
COMES_BACK = "addr_refused_by_recipient"


class Known(NamedTuple):
    """A booking in the carrier's books."""

    number: str
    address: str
    status: str  # BOOKED, IN_TRANSIT, DELIVERED, FAILED, CANCELLED


class AskedCarrier:
    """Books by key. `troubles` are what happens to the next questions; "" is nothing."""

    local = False

    def __init__(self) -> None:
        self.books: dict[str, Known] = {}
        self.troubles: deque[str] = deque()
        self.bookings = 0  # that were ever made
        self.recalls = False  # whether what is in transit can be cancelled

    def book(self, bookings: Sequence[Booking]) -> list[Any]:
        return [self._answer(lambda one=one: self._book(one)) for one in bookings]

    def cancel(self, parcels: Sequence[Parcel]) -> list[Any]:
        return [self._answer(lambda one=one: self._cancel(one)) for one in parcels]

    def track(self, parcels: Sequence[Parcel]) -> list[Any]:
        return [self._answer(lambda one=one: self._track(one)) for one in parcels]

    def look_after(self, status: str) -> timedelta | None:
        return timedelta(0)

    def read_reports(self, headers: Mapping[str, str], body: bytes) -> Sequence[Report]:
        if headers.get("x-secret") != "known":
            raise Forged("not signed")
        event_id, key, status = body.decode().split()
        return [Report(status, number=self.books[key].number if key in self.books else "nobody's", event_id=event_id)]

    def _answer(self, ask: Any) -> Any:
        trouble = self.troubles.popleft() if self.troubles else ""
        if trouble == NO_ANSWER:
            return Unknown(trouble)
        answer = ask()
        return Unknown(trouble) if trouble == LOST_ANSWER else answer

    def _book(self, booking: Booking) -> Booked | Refused:
        known = self.books.get(booking.key)
        if known is None and REFUSES in booking.address:
            return Refused("out of reach")
        if known is None or known.status == "CANCELLED":
            self.bookings += 1
            further = f"-{booking.shipment}" if booking.shipment > 1 else ""
            known = Known(f"A{booking.order_id:06d}{further}", booking.address, "BOOKED")
            self.books[booking.key] = known
        return Booked(known.number, "Asked Parcels", reference=f"ref-{booking.order_id}", label_url="https://label")

    def _cancel(self, parcel: Parcel) -> Cancelled | TooLate:
        known = self.books.get(parcel.key)
        if known is None:
            return Cancelled()
        if known.status in ("BOOKED", "CANCELLED") or (known.status == "IN_TRANSIT" and self.recalls):
            self.books[parcel.key] = known._replace(status="CANCELLED")
            return Cancelled()
        return TooLate(known.number)

    def _track(self, parcel: Parcel) -> Report | NoNews:
        """As in a sandbox, a parcel goes on when somebody looks."""
        known = self.books[parcel.key]
        on = {"BOOKED": "IN_TRANSIT", "IN_TRANSIT": "FAILED" if COMES_BACK in known.address else "DELIVERED"}
        if known.status not in on:
            return NoNews()
        self.books[parcel.key] = known = known._replace(status=on[known.status])
        return Report(known.status, reason="refused" if known.status == "FAILED" else "", number=known.number)


@contextmanager
def asked_carrier(settings: Any) -> Iterator[AskedCarrier]:
    """Within the block it takes all parcels."""
    carrier = AskedCarrier()
    settings.CARRIERS = {ACCOUNT: ConfiguredCarrier("numbered", {})}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(port._made, ACCOUNT, carrier)
        yield carrier
