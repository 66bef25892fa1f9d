"""The carrier port: what a carrier is asked, and what it can answer.

`book`, `cancel` and `track` take a batch, and answer it in its order; a carrier without batches works one off
concurrently. `key` is our name for a booking, unique per account: asking again with it never books a second parcel. An
answer that did not come is an answer too, `Unknown`: the parcel may be booked or not, and only asking again tells.

`number` is what a customer follows the parcel by, `reference` what the carrier's interface calls the booking; both are
the carrier's own, and empty as long as none was given.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from msgspec import Struct


# --- What it is asked -------------------------------------------------------------------------------------------------
class Booking(Struct, frozen=True):
    """Fetch a parcel, and bring it to `address`: lines as the customer wrote them.

    `again`: it was asked for before, so it may be booked already. `reference` is what an earlier attempt has learned.
    """

    key: str
    order_id: int
    address: str
    reference: str = ""
    again: bool = False
    shipment: int = 1  # of the order's, counted from 1


class Parcel(Struct, frozen=True):
    """A booking to be cancelled, or followed. `status` is where we believe it to be: PREPARING, IN_TRANSIT."""

    key: str
    order_id: int
    number: str
    reference: str
    status: str
    address: str = ""  # while it is kept


# --- What it answers --------------------------------------------------------------------------------------------------
class Booked(Struct, frozen=True):
    """The carrier will fetch it; also when it was booked before under the same key."""

    number: str
    carrier: str  # who brings it, as customers know them
    reference: str = ""
    label_url: str = ""  # what to print and stick on it


class Refused(Struct, frozen=True):
    """The carrier does not take this parcel, now or later. Nothing is booked under this key."""

    reason: str


class Cancelled(Struct, frozen=True):
    """Nothing is booked under this key any more, or ever was."""


class TooLate(Struct, frozen=True):
    """The carrier has the parcel, under this number: it cannot be cancelled."""

    number: str = ""


class Report(Struct, frozen=True):
    """Where a parcel is: IN_TRANSIT, DELIVERED or FAILED (for good: refused, lost, on its way back).

    By webhook with the carrier's own `event_id`; asked for, without.
    """

    status: str
    reason: str = ""
    number: str = ""
    event_id: str = ""


class NoNews(Struct, frozen=True):
    """The carrier has nothing to say about the parcel that we do not know."""


class Unknown(Struct, frozen=True):
    """No answer: ask again. `reference` is what was learned of the booking all the same."""

    reason: str
    reference: str = ""


BookingAnswer = Booked | Refused | Unknown
CancelAnswer = Cancelled | TooLate | Unknown
TrackAnswer = Report | NoNews | Unknown
Answer = BookingAnswer | CancelAnswer | TrackAnswer


class Forged(ValueError):
    """This message was not sent by the carrier, or cannot be read."""


class Carrier(Protocol):
    """Somebody who brings parcels. Answers come in the order of the questions.

    A carrier is made of its name, as the settings have it, and of its options: `Carrier(name, options)`. Its methods
    never raise for the provider's sake, and come back within some ten seconds.

    A `local` one answers by itself, without asking anybody: within the transaction that needs the answer.
    """

    local: bool

    def book(self, bookings: Sequence[Booking]) -> Sequence[BookingAnswer]:
        """Have parcels fetched."""

    def cancel(self, parcels: Sequence[Parcel]) -> Sequence[CancelAnswer]:
        """Have parcels not fetched after all, by key or reference. One that was cancelled before is `Cancelled`."""

    def track(self, parcels: Sequence[Parcel]) -> Sequence[TrackAnswer]:
        """Where parcels are."""

    def look_after(self, status: str) -> timedelta | None:
        """How long after a parcel has come to a status its carrier is asked; None: it reports by itself."""

    def read_reports(self, headers: Mapping[str, str], body: bytes) -> Sequence[Report]:
        """What the carrier tells by webhook, checked as it says; headers have lower-case names. Raises `Forged`."""
