"""The rules of seats. Each function takes a batch, inside a transaction on `flights`."""

from collections import Counter
from collections.abc import Collection, Mapping

from django.db.models import F

from flights.models import Flight, Seat
from sagas.db.bulk import insert_if_absent

Status = Seat.Status


def book(wanted: Mapping[int, str]) -> dict[int, bool]:
    """Book a seat for each trip on its flight; {trip: whether there was one}. Trips decided before are left out."""
    rows = [{"trip_id": trip, "flight_id": flight, "status": Status.BOOKED} for trip, flight in wanted.items()]
    new = insert_if_absent(Seat, rows, key="trip_id")
    flights = _locked({wanted[trip] for trip in new})
    booked = {}
    for trip in new:
        flight = flights[wanted[trip]]
        booked[trip] = flight.free > 0
        flight.free -= booked[trip]
    Flight.objects.bulk_update(flights.values(), ["free"])
    refused = [trip for trip, seat in booked.items() if not seat]
    Seat.objects.filter(trip_id__in=refused).update(status=Status.REFUSED)
    return booked


def cancel(trips: Collection[int]) -> set[int]:
    """Give the trips' seats back; returns those that are cancelled by this call.

    A trip that has none yet gets its row all the same: the booking that comes late finds it and does nothing.
    """
    tombstones = insert_if_absent(
        Seat, [{"trip_id": trip, "flight_id": None, "status": Status.CANCELLED} for trip in trips], key="trip_id"
    )
    seats = Seat.objects.select_for_update().order_by("trip_id")
    held = dict(seats.filter(trip_id__in=trips, status=Status.BOOKED).values_list("trip_id", "flight_id"))
    _locked(set(held.values()))
    for flight, count in Counter(held.values()).items():
        Flight.objects.filter(pk=flight).update(free=F("free") + count)
    Seat.objects.filter(trip_id__in=held).update(status=Status.CANCELLED)
    return {*tombstones, *held}


def _locked(numbers: Collection[str]) -> dict[str, Flight]:
    """The flights, locked in one order everywhere."""
    found = Flight.objects.select_for_update().filter(pk__in=numbers).order_by("pk")
    return {flight.pk: flight for flight in found}
