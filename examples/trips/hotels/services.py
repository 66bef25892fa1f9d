"""The rules of rooms. Each function takes a batch, inside a transaction on `hotels`."""

from collections import Counter
from collections.abc import Collection, Mapping

from django.db.models import F

from hotels.models import Hotel, Room
from sagas.db.prepared import query

Status = Room.Status


def book(wanted: Mapping[int, str]) -> dict[int, bool]:
    """Book a room for each trip in its hotel; {trip: whether there was one}. Trips decided before are left out."""
    new = _insert_if_absent(wanted, Status.BOOKED)
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
    tombstones = _insert_if_absent(dict.fromkeys(trips), Status.CANCELLED)
    rooms = Room.objects.select_for_update().order_by("trip_id")
    held = dict(rooms.filter(trip_id__in=trips, status=Status.BOOKED).values_list("trip_id", "hotel_id"))
    _locked(set(held.values()))
    for hotel, count in Counter(held.values()).items():
        Hotel.objects.filter(pk=hotel).update(free=F("free") + count)
    Room.objects.filter(trip_id__in=held).update(status=Status.CANCELLED)
    return {*tombstones, *held}


def _insert_if_absent(hotels: Mapping[int, str | None], status: Status) -> list[int]:
    """A row for each trip that has none, {trip: its hotel}; the trips whose rows are new.

    In the order of the trips, so that no two inserts wait for each other in a circle.
    """
    statement = """
        INSERT INTO hotels_room (trip_id, hotel_id, status) SELECT unnest(%s::bigint[]), unnest(%s::text[]), %s
        ON CONFLICT (trip_id) DO NOTHING RETURNING trip_id
    """
    trips = sorted(hotels)
    return [trip for (trip,) in query("hotels", statement, [trips, [hotels[trip] for trip in trips], status])]


def _locked(names: Collection[str]) -> dict[str, Hotel]:
    """The hotels, locked in one order everywhere."""
    found = Hotel.objects.select_for_update().filter(pk__in=names).order_by("pk")
    return {hotel.pk: hotel for hotel in found}
