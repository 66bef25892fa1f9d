"""The flights' part in the saga."""

from agency.events import RoomCancelled, RoomRefused, SeatBooked, SeatCancelled, SeatRefused, TripRequested

from flights import services
from sagas import purge_messages, step, timer


@step
def book_seat(trips: list[TripRequested]) -> list[SeatBooked | SeatRefused]:
    """A seat for each trip, first come first served."""
    booked = services.book({trip.trip_id: trip.flight for trip in trips})
    return [
        SeatBooked(trip_id=trip.trip_id, hotel=trip.hotel, car=trip.car)
        if booked[trip.trip_id]
        else SeatRefused(trip_id=trip.trip_id)
        for trip in trips
        if trip.trip_id in booked
    ]


@step
def cancel_seat(undone: list[RoomRefused | RoomCancelled]) -> list[SeatCancelled]:
    """Give a trip's seat back, or see to it that none is booked later."""
    return [SeatCancelled(trip_id=trip_id) for trip_id in services.cancel([event.trip_id for event in undone])]


@timer
def purge() -> int:
    """Delete old messages."""
    return purge_messages("flights")
