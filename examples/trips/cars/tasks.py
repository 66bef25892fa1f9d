"""The cars' part in the saga. The company is asked outside of the transaction, as anything that may take its time."""

from collections.abc import Mapping, Sequence

from agency.events import CarCancelled, CarRefused, CarRented, RoomBooked, TripCancellationRequested

from cars import company, services
from sagas import purge_messages, step, timer


def ask(trips: Sequence[RoomBooked]) -> dict[int, bool]:
    """{trip: whether the company has rented a car}."""
    return {trip.trip_id: company.rent(trip.trip_id, trip.car) for trip in trips}


def call_off(trips: Sequence[TripCancellationRequested]) -> None:
    """Tell the company that no car is needed."""
    for trip in trips:
        company.cancel(trip.trip_id)


@step(outside=ask)
def rent_car(trips: list[RoomBooked], answers: Mapping[int, bool]) -> list[CarRented | CarRefused]:
    """A car for each trip, if the company has one."""
    new = services.book({trip.trip_id: answers[trip.trip_id] for trip in trips})
    return [CarRented(trip_id=trip_id) if answers[trip_id] else CarRefused(trip_id=trip_id) for trip_id in sorted(new)]


@step(outside=call_off)
def cancel_car(requests: list[TripCancellationRequested], _called_off: None) -> list[CarCancelled]:
    """Give a trip's car back, or see to it that none is rented later."""
    return [CarCancelled(trip_id=trip_id) for trip_id in services.cancel([event.trip_id for event in requests])]


@timer
def purge() -> int:
    """Delete old messages."""
    return purge_messages("cars")
