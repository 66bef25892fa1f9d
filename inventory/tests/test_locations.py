"""Stock at several locations: from where orders are fulfilled, and that everything goes back to where it came from."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from hypothesis import assume, given
from hypothesis import strategies as st

from inventory import services
from inventory.fulfilment import Pieces, Places, fewest_locations, one_location, take
from inventory.models import Location, Reservation, ReservationLine, StockItem, StockMovement
from inventory.tasks import change_stock, release_stock, reserve_stock, restock_return, ship_stock
from inventory.tests.test_steps import created, refunded, shipped
from sagas.events import uuid7
from shop.contracts.events import InventoryReservationFailed, InventoryReserved, Line, OrderChanged
from shop.contracts.return_events import Inspected, ReturnInspected

pytestmark = pytest.mark.django_db(databases=["inventory"])

# Of product 1 there are 4 + 2 + 9 pieces, of product 2 0 + 5 + 5, of product 3 1 + 0 + 0.
STOCK = {"NORTH": {1: 4, 3: 1}, "WEST": {1: 2, 2: 5}, "EAST": {1: 9, 2: 5}}


@pytest.fixture(autouse=True)
def stock() -> None:
    for priority, (location, quantities) in enumerate(STOCK.items()):
        services.seed_stock(quantities, location)
        Location.objects.filter(pk=location).update(priority=priority)


def reserved_for(order_id: int) -> list[tuple[str, int, int]]:
    lines = ReservationLine.objects.filter(reservation__order_id=order_id).order_by("pk")
    return list(lines.values_list("location_id", "product_id", "quantity"))


def shelves(product_id: int = 1) -> dict[str, tuple[int, int]]:
    """Return {location: (on hand, reserved)}."""
    return {item.location_id: (item.on_hand, item.reserved) for item in StockItem.objects.filter(product_id=product_id)}


# --- The rules --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({1: 3}, {"NORTH": {1: 3}}),  # the first that has everything
        ({1: 3, 2: 1}, {"EAST": {1: 3, 2: 1}}),  # not the first that has some of it
        ({1: 2, 2: 5}, {"WEST": {1: 2, 2: 5}}),
        ({1: 10}, {"NORTH": {1: 4}, "EAST": {1: 6}}),  # two are enough, and the first two are not
        ({1: 15}, {"NORTH": {1: 4}, "WEST": {1: 2}, "EAST": {1: 9}}),
        ({1: 1, 2: 6}, {"WEST": {1: 1, 2: 5}, "EAST": {2: 1}}),
        ({3: 1, 2: 1}, {"NORTH": {3: 1}, "WEST": {2: 1}}),
    ],
)
def test_as_few_locations_as_possible(wanted: Pieces, expected: Places):
    assert fewest_locations(wanted, STOCK) == expected


def test_all_from_one_location_or_not_at_all():
    assert one_location({1: 3, 2: 1}, STOCK) == {"EAST": {1: 3, 2: 1}}
    assert one_location({3: 1, 2: 1}, STOCK) == {}


places = st.dictionaries(
    st.sampled_from("ABCDEFGHIJKLMN"), st.dictionaries(st.integers(1, 4), st.integers(0, 3)), min_size=1
)


@given(free=places, data=st.data())
def test_what_is_taken_is_what_was_wanted_and_there(free: Mapping[str, Mapping[int, int]], data: Any):
    sums = {product: sum(there.get(product, 0) for there in free.values()) for product in range(1, 5)}
    some = {product: st.integers(1, most) for product, most in sums.items() if most}
    wanted = data.draw(st.fixed_dictionaries({}, optional=some))
    assume(wanted)
    taken = fewest_locations(wanted, free)
    for product in range(1, 5):
        assert sum(there.get(product, 0) for there in taken.values()) == wanted.get(product, 0)
    for location, there in taken.items():
        assert there
        assert all(0 < pieces <= free[location].get(product, 0) for product, pieces in there.items())
    assert len(taken) <= len(take(wanted, free, free))


# --- The steps --------------------------------------------------------------------------------------------------------
def test_an_order_is_reserved_where_the_rule_says():
    (event,) = reserve_stock([created(1, (1, 10), (2, 5))])

    assert isinstance(event, InventoryReserved)
    assert reserved_for(1) == [("NORTH", 1, 4), ("EAST", 1, 6), ("EAST", 2, 5)]
    assert shelves() == {"NORTH": (4, 4), "WEST": (2, 0), "EAST": (9, 6)}


def test_what_an_order_takes_is_not_there_for_the_next_of_its_batch():
    outcome = reserve_stock([created(1, (1, 9)), created(2, (1, 5)), created(3, (1, 2)), created(4, (1, 1))])

    assert [type(event) for event in outcome] == [
        InventoryReserved, InventoryReserved, InventoryReservationFailed, InventoryReserved,
    ]  # fmt: skip
    assert reserved_for(1) == [("EAST", 1, 9)]
    assert reserved_for(2) == [("NORTH", 1, 4), ("WEST", 1, 1)]
    assert reserved_for(4) == [("WEST", 1, 1)]


def test_what_is_shipped_comes_back_to_where_it_left():
    reserve_stock([created(1, (1, 10))])
    ship_stock([shipped(1)])
    assert shelves() == {"NORTH": (0, 0), "WEST": (2, 0), "EAST": (3, 0)}

    release_stock([refunded(1)])

    assert shelves() == {"NORTH": (4, 0), "WEST": (2, 0), "EAST": (9, 0)}
    moved = StockMovement.objects.filter(order_id=1).order_by("pk").values_list("location_id", "kind", "delta")
    assert list(moved) == [
        ("NORTH", "SHIPMENT", -4), ("EAST", "SHIPMENT", -6), ("NORTH", "RETURN", 4), ("EAST", "RETURN", 6),
    ]  # fmt: skip


def test_what_was_only_reserved_is_released_everywhere():
    reserve_stock([created(1, (1, 15))])
    release_stock([refunded(1)])
    assert shelves() == {"NORTH": (4, 0), "WEST": (2, 0), "EAST": (9, 0)}


def test_cancelled_pieces_are_those_that_were_chosen_last():
    reserve_stock([created(1, (1, 10), (2, 5))])
    change = OrderChanged(
        order_id=1, user_id=7, change_id=uuid7(), lines=(Line(1, -9), Line(2, -1)), amount=0, total=0, currency="KRW"
    )

    change_stock([change])

    assert reserved_for(1) == [("NORTH", 1, 1), ("EAST", 2, 4)]
    assert (shelves(1)["EAST"], shelves(1)["NORTH"], shelves(2)["EAST"]) == ((9, 0), (4, 1), (5, 4))


def test_what_a_customer_returns_comes_to_the_first_location_that_has_the_product():
    lines = (Inspected(1, 2, 1), Inspected(2, 1, 0))

    restock_return([ReturnInspected(order_id=1, return_id=2, lines=lines)])

    assert (shelves(1)["NORTH"], shelves(2)["WEST"]) == ((6, 0), (6, 0))
    assert not StockMovement.objects.filter(return_id=2).exclude(location_id__in=["NORTH", "WEST"]).exists()


def test_an_order_from_three_locations_takes_one_statement_more_than_one_from_one():
    counts = []
    for order_id, pieces in ((1, 1), (2, 13)):
        for step in (
            partial(reserve_stock, [created(order_id, (1, pieces))]),
            partial(ship_stock, [shipped(order_id)]),
        ):
            with CaptureQueriesContext(connections["inventory"]) as captured:
                step()
            counts.append(len([one for one in captured if "SAVEPOINT" not in one["sql"]]))
    assert counts == [4, 4, 4, 5]  # and the lines' own status
    assert len(reserved_for(2)) == 3


# --- The owner's rule -------------------------------------------------------------------------------------------------
def nothing_from_the_north(wanted: Pieces, free: Places) -> Places:
    return take(wanted, free, [location for location in free if location != "NORTH"])


def more_than_there_is(wanted: Pieces, free: Places) -> Places:
    return {"NORTH": wanted}


def less_than_wanted(wanted: Pieces, free: Places) -> Places:
    return {"EAST": dict.fromkeys(wanted, 1)}


def test_the_owner_replaces_the_rule(settings: Any):
    settings.FULFILMENT_RULE = f"{__name__}.nothing_from_the_north"
    reserve_stock([created(1, (1, 3))])
    assert reserved_for(1) == [("WEST", 1, 2), ("EAST", 1, 1)]


def test_a_rule_may_refuse(settings: Any):
    settings.FULFILMENT_RULE = "inventory.fulfilment.one_location"
    (refused,) = reserve_stock([created(1, (1, 10))])
    assert isinstance(refused, InventoryReservationFailed)
    assert refused.reason == "I002: not in stock together"
    assert (reserved_for(1), Reservation.objects.get().status) == ([], "REFUSED")


@pytest.mark.parametrize("rule", [more_than_there_is, less_than_wanted])
def test_a_rule_that_does_not_add_up_reserves_nothing(settings: Any, rule: Any):
    settings.FULFILMENT_RULE = f"{__name__}.{rule.__name__}"
    with pytest.raises(ValueError, match=rule.__name__):
        reserve_stock([created(1, (1, 10))])


# --- A shop with one place --------------------------------------------------------------------------------------------
def test_the_first_booking_creates_the_first_location():
    StockMovement.objects.all().delete()
    StockItem.objects.all().delete()
    Location.objects.all().delete()

    assert services.first_location() == services.first_location() == "MAIN"

    assert list(Location.objects.values_list("code", "name")) == [("MAIN", "Main")]
