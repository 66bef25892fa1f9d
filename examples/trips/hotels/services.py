"""The rules of rooms. Each function takes a batch, inside a transaction on `hotels`."""

from collections import Counter
from collections.abc import Collection, Mapping

from django.db.models import F

from hotels.models import Hotel, Room
from sagas.db.bulk import insert_if_absent

Status = Room.Status


def book(wanted: Mapping[int, str]) -> dict[int, bool]:
    """Book a room for each trip in its hotel; {trip: whether there was one}. Trips decided before are left out."""
    rows = [{"trip_id": trip, "hotel_id": hotel, "status": Status.BOOKED} for trip, hotel in wanted.items()]
    new = insert_if_absent(Room, rows, key="trip_id")
    hotels = _locked({wanted[trip] for trip in new})
    booked = {}
    for trip in new:
        hotel = hotels[wanted[trip]]
        booked[trip] = hotel.free > 0
        hotel.free -= booked[trip]
    Hotel.objects.bulk_update(hotels.values(), ["free"])
    refused = [trip for trip, room in booked.items() if not room]
    Room.objects.filter(trip_id__in=refused).update(status=Status.REFUSED)
    return booked


def cancel(trips: Collection[int]) -> set[int]:
    """Give the trips' rooms back; returns those that are cancelled by this call.

    A trip that has none yet gets its row all the same: the booking that comes late finds it and does nothing.
    """
    tombstones = insert_if_absent(
        Room, [{"trip_id": trip, "hotel_id": None, "status": Status.CANCELLED} for trip in trips], key="trip_id"
    )
    rooms = Room.objects.select_for_update().order_by("trip_id")
    held = dict(rooms.filter(trip_id__in=trips, status=Status.BOOKED).values_list("trip_id", "hotel_id"))
    _locked(set(held.values()))
    for hotel, count in Counter(held.values()).items():
        Hotel.objects.filter(pk=hotel).update(free=F("free") + count)
    Room.objects.filter(trip_id__in=held).update(status=Status.CANCELLED)
    return {*tombstones, *held}


def _locked(names: Collection[str]) -> dict[str, Hotel]:
    """The hotels, locked in one order everywhere."""
    found = Hotel.objects.select_for_update().filter(pk__in=names).order_by("pk")
    return {hotel.pk: hotel for hotel in found}
