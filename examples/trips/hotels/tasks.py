"""The hotels' part in the saga."""

from agency.events import CarCancelled, CarRefused, RoomBooked, RoomCancelled, RoomRefused, SeatBooked

from hotels import services
from sagas import purge_messages, step, timer


@step
def book_room(trips: list[SeatBooked]) -> list[RoomBooked | RoomRefused]:
    """A room for each trip, first come first served."""
    booked = services.book({trip.trip_id: trip.hotel for trip in trips})
    return [
        RoomBooked(trip_id=trip.trip_id, car=trip.car) if booked[trip.trip_id] else RoomRefused(trip_id=trip.trip_id)
        for trip in trips
        if trip.trip_id in booked
    ]


@step
def cancel_room(undone: list[CarRefused | CarCancelled]) -> list[RoomCancelled]:
    """Give a trip's room back, or see to it that none is booked later."""
    return [RoomCancelled(trip_id=trip_id) for trip_id in services.cancel([event.trip_id for event in undone])]


@timer
def purge() -> int:
    """Delete old messages."""
    return purge_messages("hotels")
