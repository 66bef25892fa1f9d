"""What the services tell each other about a trip."""

from sagas import Event


class TripEvent(Event, frozen=True, kw_only=True):
    """An event of one trip; `trip_id` is the saga's correlation key."""

    trip_id: int


class TripRequested(TripEvent, frozen=True, kw_only=True):
    """A customer wants a seat, a room and a car, all of them or none."""

    flight: str
    hotel: str
    car: str


class SeatBooked(TripEvent, frozen=True, kw_only=True):
    """There is a seat; the other wishes travel on with the event."""

    hotel: str
    car: str


class RoomBooked(TripEvent, frozen=True, kw_only=True):
    """There is a room as well."""

    car: str


class CarRented(TripEvent, frozen=True, kw_only=True):
    """And a car: the trip is complete."""


class SeatRefused(TripEvent, frozen=True, kw_only=True):
    """The flight is full."""


class RoomRefused(TripEvent, frozen=True, kw_only=True):
    """The hotel is full."""


class CarRefused(TripEvent, frozen=True, kw_only=True):
    """The rental company has no such car."""


class TripCancellationRequested(TripEvent, frozen=True, kw_only=True):
    """The customer stays at home."""


class CarCancelled(TripEvent, frozen=True, kw_only=True):
    """No car is held for the trip, now or later."""


class RoomCancelled(TripEvent, frozen=True, kw_only=True):
    """No room is held for the trip, now or later."""


class SeatCancelled(TripEvent, frozen=True, kw_only=True):
    """No seat is held for the trip, now or later."""
