"""The rules of seats. Each function takes a batch, inside a transaction on `flights`."""

from collections import Counter
from collections.abc import Collection, Mapping

from django.db.models import F

from flights.models import Flight, Seat
from sagas.db.prepared import query

Status = Seat.Status


def book(wanted: Mapping[int, str]) -> dict[int, bool]:
    """Book a seat for each trip on its flight; {trip: whether there was one}. Trips decided before are left out."""
    new = _insert_if_absent(wanted, Status.BOOKED)
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
    tombstones = _insert_if_absent(dict.fromkeys(trips), Status.CANCELLED)
    seats = Seat.objects.select_for_update().order_by("trip_id")
    held = dict(seats.filter(trip_id__in=trips, status=Status.BOOKED).values_list("trip_id", "flight_id"))
    _locked(set(held.values()))
    for flight, count in Counter(held.values()).items():
        Flight.objects.filter(pk=flight).update(free=F("free") + count)
    Seat.objects.filter(trip_id__in=held).update(status=Status.CANCELLED)
    return {*tombstones, *held}


def _insert_if_absent(flights: Mapping[int, str | None], status: Status) -> list[int]:
    """A row for each trip that has none, {trip: its flight}; the trips whose rows are new.

    In the order of the trips, so that no two inserts wait for each other in a circle.
    """
    statement = """
        INSERT INTO flights_seat (trip_id, flight_id, status) SELECT unnest(%s::bigint[]), unnest(%s::text[]), %s
        ON CONFLICT (trip_id) DO NOTHING RETURNING trip_id
    """
    trips = sorted(flights)
    return [trip for (trip,) in query("flights", statement, [trips, [flights[trip] for trip in trips], status])]


def _locked(numbers: Collection[str]) -> dict[str, Flight]:
    """The flights, locked in one order everywhere."""
    found = Flight.objects.select_for_update().filter(pk__in=numbers).order_by("pk")
    return {flight.pk: flight for flight in found}
