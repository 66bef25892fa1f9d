"""A project's sagas as one table: who hears what, at once or a moment later, and in which saga."""

import pytest

from sagas import Event, Saga, effect, record, undo
from sagas.saga import Choreography, service_of


class TripEvent(Event, frozen=True, kw_only=True):
    trip_id: int


class Booked(TripEvent, frozen=True, kw_only=True): ...


class Cancelled(TripEvent, frozen=True, kw_only=True): ...


class Invoiced(Event, frozen=True, kw_only=True):
    invoice_id: int


TRIP = Saga(
    name="trip",
    key="trip_id",
    heard_by={Booked: ["rooms.book", "mail.write"], Cancelled: ["rooms.free"]},
    steps={
        "rooms.book": effect(undone_by="rooms.free"),
        "rooms.free": undo(),
        "mail.write": record(deferrable=True),
    },
    timers={"clock.tick": 5.0},
)
INVOICE = Saga(name="invoice", key="invoice_id", heard_by={Invoiced: ["mail.bill"]}, steps={"mail.bill": record()})


@pytest.fixture
def both() -> Choreography:
    return Choreography([TRIP, INVOICE])


def test_a_saga_is_a_table_of_who_hears_what(both: Choreography):
    assert both.events == (Booked, Cancelled, Invoiced)
    assert both.heard_by[Booked] == ("rooms.book", "mail.write")
    assert both.by_name["Invoiced"] is Invoiced


def test_a_step_hears_an_event_at_once_or_deferred_and_never_both(both: Choreography):
    assert (both.prompt[Booked], both.deferrable[Booked]) == (("rooms.book",), ("mail.write",))
    assert (both.prompt[Cancelled], both.deferrable[Cancelled]) == (("rooms.free",), ())


def test_each_saga_has_a_key_of_its_own(both: Choreography):
    assert both.keys_of([Booked(trip_id=4), Invoiced(invoice_id=5)]) == [4, 5]
    assert [both.saga_of[event] for event in both.events] == [TRIP, TRIP, INVOICE]


def test_services_are_those_of_steps_and_timers(both: Choreography):
    assert both.services == ("clock", "mail", "rooms")
    assert both.timers == {"clock.tick": 5.0}
    assert service_of("rooms.book") == "rooms"
