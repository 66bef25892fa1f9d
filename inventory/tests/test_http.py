"""Stock over HTTP and in the admin."""

from typing import Any

import pytest
from django.db import transaction
from rest_framework.test import APIClient

from inventory import reservations, services
from inventory.models import StockItem, StockMovement
from shop.calls import substituting
from shop.contracts.catalog import CatalogService
from shop.contracts.events import Line
from tests.support.fakes import Caller, FakeCatalog

pytestmark = pytest.mark.django_db(databases=["inventory"])

URL = "/api/v1/inventory/1"


@pytest.fixture(autouse=True)
def stock() -> None:
    services.seed_stock({1: 10})
    StockItem.objects.update(reserved=4)


def client_of(user: Any) -> APIClient:
    client = APIClient(raise_request_exception=False)
    client.force_authenticate(user)
    return client


@pytest.fixture
def staff() -> APIClient:
    return client_of(Caller(5, staff=True))


@pytest.fixture
def customer() -> APIClient:
    return client_of(Caller(1, staff=False))


def test_anybody_sees_what_can_be_sold_now(customer: APIClient):
    assert APIClient().get(URL).json() == customer.get(URL).json() == {"productId": 1, "quantity": 6}


def test_staff_see_the_shelf(staff: APIClient):
    body = staff.get(URL).json()

    assert {name: body[name] for name in ("productId", "quantity", "onHand", "reserved")} == {
        "productId": 1,
        "quantity": 6,
        "onHand": 10,
        "reserved": 4,
    }


@pytest.mark.parametrize(
    ("path", "code"), [("99", "I001"), ("0", "C010"), ("x", "C010"), ("²", "C010"), ("9" * 30, "C010")]
)
def test_there_is_no_such_stock(path: str, code: str):
    answer = APIClient().get(f"/api/v1/inventory/{path}")

    assert (answer.status_code, answer.json()["code"]) == (404, code)


def test_staff_book_stock_in_and_out(staff: APIClient):
    came = staff.post(f"{URL}/adjustments", {"delta": 5, "reason": "delivery 17"}, format="json")
    went = staff.post(f"{URL}/adjustments", {"delta": -11, "reason": "broken"}, format="json")

    assert (came.status_code, came.json()["quantity"]) == (201, 11)
    assert (went.status_code, went.json()["quantity"]) == (201, 0)
    assert list(StockMovement.objects.order_by("pk").values_list("delta", "reason")) == [
        (10, "Opening stock"),
        (5, "delivery 17"),
        (-11, "broken"),
    ]


def test_stock_is_booked_where_it_lies(staff: APIClient):
    services.seed_stock({1: 2}, "EAST")
    answer = staff.post(f"{URL}/adjustments", {"delta": 3, "reason": "moved", "location": "EAST"}, format="json")
    nowhere = staff.post(f"{URL}/adjustments", {"delta": 3, "reason": "moved", "location": "WEST"}, format="json")
    too_many = staff.post(f"{URL}/adjustments", {"delta": -6, "reason": "lost", "location": "EAST"}, format="json")

    body = answer.json()
    assert (body["quantity"], body["onHand"], body["reserved"]) == (11, 15, 4)
    assert body["locations"] == [
        {"location": "EAST", "quantity": 5, "onHand": 5, "reserved": 0},
        {"location": "MAIN", "quantity": 6, "onHand": 10, "reserved": 4},
    ]
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "I003")
    assert (too_many.status_code, too_many.json()["code"]) == (409, "I002")
    assert APIClient().get(URL).json() == {"productId": 1, "quantity": 11}


def test_what_is_promised_cannot_be_booked_out(staff: APIClient):
    answer = staff.post(f"{URL}/adjustments", {"delta": -7, "reason": "broken"}, format="json")

    assert (answer.status_code, answer.json()["code"]) == (409, "I002")
    assert (StockItem.objects.get().on_hand, StockMovement.objects.count()) == (10, 1)


@pytest.mark.parametrize(
    "body",
    [{}, {"delta": 0, "reason": "x"}, {"delta": 1}, {"delta": "1", "reason": "x"}, {"delta": 2**40, "reason": "x"}],
)
def test_an_adjustment_that_is_none(staff: APIClient, body: Any):
    answer = staff.post(f"{URL}/adjustments", body, format="json")

    assert (answer.status_code, answer.json()["code"], StockMovement.objects.count()) == (400, "C002", 1)


def test_the_first_receipt_of_a_product_opens_its_record(staff: APIClient):
    with substituting(CatalogService, FakeCatalog()):
        opened = staff.post("/api/v1/inventory/2/adjustments", {"delta": 3, "reason": "new"}, format="json")
        unknown = staff.post("/api/v1/inventory/77/adjustments", {"delta": 3, "reason": "new"}, format="json")

    assert (opened.status_code, opened.json()["onHand"]) == (201, 3)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "I001")


def test_only_staff_book(customer: APIClient):
    body = {"delta": 5, "reason": "mine"}

    assert customer.post(f"{URL}/adjustments", body, format="json").status_code == 403
    assert APIClient().post(f"{URL}/adjustments", body, format="json").status_code == 401
    assert StockMovement.objects.count() == 1


# --- What was read ----------------------------------------------------------------------------------------------------
def test_a_booking_may_insist_on_the_stock_that_was_read(staff: APIClient):
    def book(if_match: str) -> Any:
        body = {"delta": 1, "reason": "counted"}
        return staff.post(f"{URL}/adjustments", body, format="json", headers={"If-Match": if_match})

    read = staff.get(URL).headers["ETag"]
    first = book(read)
    assert (first.status_code, first.headers["ETag"]) == (201, staff.get(URL).headers["ETag"])
    for stale in (read, '"0"', f"W/{first.headers['ETag']}", APIClient().get(URL).headers["ETag"]):
        answer = book(stale)
        assert (answer.status_code, answer.json()["code"]) == (412, "C002"), stale
    assert book(f'"0", {first.headers["ETag"]}').status_code == 201
    assert book("*").status_code == 201
    assert StockItem.objects.get().on_hand == 13


def test_a_reservation_makes_what_was_read_stale(staff: APIClient):
    read = staff.get(URL).headers["ETag"]
    reservations.reserve({1: [Line(product_id=1, quantity=1)]})
    assert staff.get(URL).headers["ETag"] != read


def test_stock_at_any_location_makes_what_was_read_stale(staff: APIClient):
    services.seed_stock({1: 2}, "EAST")
    for location in ("EAST", "MAIN"):
        read = staff.get(URL).headers["ETag"]
        services.adjust_stock(product_id=1, delta=1, reason="came", location=location)
        assert staff.get(URL).headers["ETag"] != read
    services.seed_stock({1: 2}, "WEST")
    assert staff.get(URL).headers["ETag"] != read


def test_stock_that_has_not_changed_is_not_sent_again(staff: APIClient):
    for client in (staff, APIClient()):
        read = client.get(URL)
        again = client.get(URL, headers={"If-None-Match": read.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
    services.adjust_stock(product_id=1, delta=1, reason="came")
    assert staff.get(URL, headers={"If-None-Match": read.headers["ETag"]}).status_code == 200


def test_the_shelf_keeps_room_for_what_is_out(staff: APIClient):
    def book(delta: int) -> Any:
        return staff.post(f"{URL}/adjustments", {"delta": delta, "reason": "receipt"}, format="json")

    assert book(999_999_990).status_code == 201
    answer = book(1)
    assert (answer.status_code, answer.json()["code"]) == (409, "C002")
    with transaction.atomic(using="inventory"):
        assert reservations.reserve({7: [Line(1, 3)]}) == {7: reservations.Decision("")}
        reservations.ship([(7, 0)])
    assert book(3).status_code == 201
    with transaction.atomic(using="inventory"):
        assert reservations.release({7: "refused by the recipient"}) == {7}
    assert StockItem.objects.get(product_id=1).on_hand == 1_000_000_003
    assert book(-3).status_code == 201
