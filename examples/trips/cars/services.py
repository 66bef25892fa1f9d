"""The rules of rentals. Each function takes a batch, inside a transaction on `cars`."""

from collections.abc import Collection, Mapping

from cars.models import Rental
from sagas.db.prepared import query

Status = Rental.Status


def book(answers: Mapping[int, bool]) -> set[int]:
    """Write down whether the company has rented a car for each trip. Trips decided before are not in what returns."""
    return _insert_if_absent({trip: Status.RENTED if rented else Status.REFUSED for trip, rented in answers.items()})


def cancel(trips: Collection[int]) -> set[int]:
    """The company has cancelled these; returns those that are cancelled by this call.

    A trip without a rental gets a row all the same: the rental that comes late finds it and does nothing.
    """
    tombstones = _insert_if_absent(dict.fromkeys(trips, Status.CANCELLED))
    rentals = Rental.objects.select_for_update().filter(trip_id__in=trips, status=Status.RENTED).order_by("trip_id")
    held = list(rentals.values_list("trip_id", flat=True))
    Rental.objects.filter(trip_id__in=held).update(status=Status.CANCELLED)
    return {*tombstones, *held}


def _insert_if_absent(rows: Mapping[int, Status]) -> set[int]:
    """A row for each trip that has none, {trip: its status}; the trips whose rows are new.

    In the order of the trips, so that no two inserts wait for each other in a circle.
    """
    statement = """
        INSERT INTO cars_rental (trip_id, status) SELECT unnest(%s::bigint[]), unnest(%s::text[])
        ON CONFLICT (trip_id) DO NOTHING RETURNING trip_id
    """
    trips = sorted(rows)
    return {trip for (trip,) in query("cars", statement, [trips, [rows[trip] for trip in trips]])}
