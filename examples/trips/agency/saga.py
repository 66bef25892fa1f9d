"""The saga of a trip: seat, room, car, each with what takes it back.

forward   TripRequested ─► SeatBooked ─► RoomBooked ─► CarRented
               │               │             │             │
           book_seat       book_room      rent_car    confirm_trip
               │               │             │
          SeatRefused     RoomRefused    CarRefused
               ▼               ▼             ▼
backward  (cancelled) ◄─ SeatCancelled ◄─ RoomCancelled ◄─ CarCancelled ◄─ TripCancellationRequested
          cancel_trip     cancel_seat      cancel_room      cancel_car      customer
"""

from agency.events import (
    CarCancelled,
    CarRefused,
    CarRented,
    RoomBooked,
    RoomCancelled,
    RoomRefused,
    SeatBooked,
    SeatCancelled,
    SeatRefused,
    TripCancellationRequested,
    TripRequested,
)
from sagas import Saga, effect, record, undo

TRIP = Saga(
    name="trip",
    key="trip_id",
    heard_by={
        # forward
        TripRequested: ["flights.book_seat"],
        SeatBooked: ["hotels.book_room"],
        RoomBooked: ["cars.rent_car"],
        CarRented: ["trips.confirm_trip"],
        # where it turns
        SeatRefused: ["trips.cancel_trip"],
        RoomRefused: ["flights.cancel_seat"],
        CarRefused: ["hotels.cancel_room"],
        TripCancellationRequested: ["cars.cancel_car"],
        # backward
        CarCancelled: ["hotels.cancel_room"],
        RoomCancelled: ["flights.cancel_seat"],
        SeatCancelled: ["trips.cancel_trip"],
    },
    steps={
        "flights.book_seat": effect(undone_by="flights.cancel_seat"),
        "hotels.book_room": effect(undone_by="hotels.cancel_room"),
        "cars.rent_car": effect(undone_by="cars.cancel_car"),
        "flights.cancel_seat": undo(),
        "hotels.cancel_room": undo(),
        "cars.cancel_car": undo(),
        "trips.confirm_trip": record(),
        "trips.cancel_trip": record(),
    },
    timers={
        "trips.resume": 5.0,
        **{f"{service}.purge": 3600.0 for service in ("trips", "flights", "hotels", "cars")},
    },
)
