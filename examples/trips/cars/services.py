"""The rules of rentals. Each function takes a batch, inside a transaction on `cars`."""

from collections.abc import Collection, Mapping

from cars.models import Rental
from sagas.db.bulk import insert_if_absent

Status = Rental.Status


def book(answers: Mapping[int, bool]) -> set[int]:
    """Write down whether the company has rented a car for each trip. Trips decided before are not in what returns."""
    rows = [
        {"trip_id": trip, "status": Status.RENTED if rented else Status.REFUSED} for trip, rented in answers.items()
    ]
    return set(insert_if_absent(Rental, rows, key="trip_id"))


def cancel(trips: Collection[int]) -> set[int]:
    """The company has cancelled these; returns those that are cancelled by this call.

    A trip without a rental gets a row all the same: the rental that comes late finds it and does nothing.
    """
    rows = [{"trip_id": trip, "status": Status.CANCELLED} for trip in trips]
    tombstones = insert_if_absent(Rental, rows, key="trip_id")
    rentals = Rental.objects.select_for_update().filter(trip_id__in=trips, status=Status.RENTED).order_by("trip_id")
    held = list(rentals.values_list("trip_id", flat=True))
    Rental.objects.filter(trip_id__in=held).update(status=Status.CANCELLED)
    return {*tombstones, *held}
