"""The saga of a trip, step by step and as a whole."""

from agency.events import (
    CarCancelled,
    CarRefused,
    CarRented,
    RoomBooked,
    RoomCancelled,
    SeatBooked,
    SeatCancelled,
    SeatRefused,
    TripCancellationRequested,
    TripRequested,
)
from cars.models import CompanyRental, Rental
from django.conf import settings
from django.test import TestCase
from flights.models import Flight, Seat
from hotels.models import Hotel, Room
from trips.models import Trip
from trips.services import request_cancellation, request_trip

from sagas.testing import Conformance, given


def open_for_booking(places: int = 1) -> None:
    """So many seats on KE901 and none on KE902, as many rooms in the Ritz and none in the Lutetia."""
    for number, free in (("KE901", places), ("KE902", 0)):
        Flight.objects.create(number=number, free=free)
    for name, free in (("Ritz", places), ("Lutetia", 0)):
        Hotel.objects.create(name=name, free=free)


def trip(flight: str = "KE901", hotel: str = "Ritz", car: str = "compact") -> int:
    return request_trip(flight=flight, hotel=hotel, car=car).pk


def cancelled_trip() -> int:
    trip_id = trip()
    request_cancellation(trip_id)
    return trip_id


class DialogueTest(TestCase):
    """What each step makes of what it hears."""

    databases = set(settings.DATABASES)

    def setUp(self) -> None:
        open_for_booking()

    def test_seat_room_and_car(self) -> None:
        (
            given(TripRequested(trip_id=1, flight="KE901", hotel="Ritz", car="compact"))
            .expect("flights.book_seat").emits(SeatBooked)
            .expect("hotels.book_room").emits(RoomBooked)
            .expect("cars.rent_car").emits(CarRented)
            .expect("trips.confirm_trip").emits_nothing()
        )  # fmt: skip

    def test_without_a_car_room_and_seat_are_given_back(self) -> None:
        (
            given(TripRequested(trip_id=1, flight="KE901", hotel="Ritz", car="hovercraft"))
            .expect("flights.book_seat").emits(SeatBooked)
            .expect("hotels.book_room").emits(RoomBooked)
            .expect("cars.rent_car").emits(CarRefused)
            .expect("hotels.cancel_room").emits(RoomCancelled)
            .expect("flights.cancel_seat").emits(SeatCancelled)
            .expect("trips.cancel_trip").emits_nothing()
        )  # fmt: skip

    def test_a_full_flight_ends_the_trip_at_once(self) -> None:
        (
            given(TripRequested(trip_id=1, flight="KE902", hotel="Ritz", car="compact"))
            .expect("flights.book_seat").emits(SeatRefused)
            .expect("trips.cancel_trip").emits_nothing()
        )  # fmt: skip

    def test_a_cancellation_overtakes_the_booking(self) -> None:
        (
            given(
                TripRequested(trip_id=1, flight="KE901", hotel="Ritz", car="compact"),
                TripCancellationRequested(trip_id=1),
            )
            .expect("cars.cancel_car").emits(CarCancelled)
            .expect("hotels.cancel_room").emits(RoomCancelled)
            .expect("flights.cancel_seat").emits(SeatCancelled)
            .expect("flights.book_seat").emits_nothing()
        )  # fmt: skip


class TripConformanceTest(Conformance, TestCase):
    """Whatever happens to its messages and processes, a trip has all or nothing."""

    databases = set(settings.DATABASES)
    scenarios = {
        "confirmed": trip,
        "no seat": lambda: trip(flight="KE902"),
        "no room": lambda: trip(hotel="Lutetia"),
        "no car": lambda: trip(car="hovercraft"),
        "cancelled": cancelled_trip,
    }
    orders, crashes = 5, 2

    def setUp(self) -> None:
        open_for_booking(self.together)

    def state(self, key: int) -> list[object]:
        return [
            Trip.objects.get(pk=key).status,
            *(
                list(model.objects.filter(trip_id=key).values_list("status", flat=True))
                for model in (Seat, Room, Rental)
            ),
            CompanyRental.objects.filter(trip_id=key, is_cancelled=False).exists(),
            Flight.objects.get(pk="KE901").free,
            Hotel.objects.get(pk="Ritz").free,
        ]

    def assert_sound(self, key: int) -> None:
        status, seat, room, car, has_car, seats, rooms = self.state(key)
        if status == "CONFIRMED":
            assert (seat, room, car, has_car) == (["BOOKED"], ["BOOKED"], ["RENTED"], True), self.state(key)
        else:
            assert status == "CANCELLED", self.state(key)
            assert {*seat, *room, *car} <= {"REFUSED", "CANCELLED"}, self.state(key)
            assert not has_car, self.state(key)
        free = self.together - Trip.objects.filter(status="CONFIRMED").count()
        assert (seats, rooms) == (free, free), self.state(key)


class TripsTogetherConformanceTest(TripConformanceTest):
    """Two at once, whose messages are merged."""

    together = 2
